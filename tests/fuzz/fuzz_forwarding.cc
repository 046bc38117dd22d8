// SPDX-License-Identifier: GPL-2.0-or-later
//
// The appliance against the host's end of a forwarding: the input says what arrives, and what the service
// does. Rules may be broken and must be noticed; memory stays within the windows, and nothing waits.
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <string>

#include "base/fd.h"
#include "protocol/forwarding.h"

using namespace inspect;
using protocol::Forwarding;

namespace {

// Takes the input apart; 0 when there is no more.
struct Input {
    const uint8_t* data;
    size_t left;
    uint32_t next() {
        if (left == 0) return 0;
        --left;
        return *data++;
    }
};

// Mostly a number that may be in use, and now and then a piece that breaks a rule.
proto::Forwarded piece_of(Input& input) {
    proto::Forwarded piece;
    piece.set_connection(input.next() % 40);
    const uint32_t what = input.next();
    piece.set_opened(what % 8 == 0);
    piece.set_end(what % 8 == 1);
    piece.set_reset(what % 8 == 2);
    if (what % 8 == 3) piece.set_passed_on(input.next() << (what >> 4));
    if (what % 8 >= 4) piece.set_data(std::string(input.next() << (what >> 4), 'x'));
    return piece;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::deque<Fd> services;
    Forwarding host([&] {
        if (services.size() % 5 == 4) {
            services.emplace_back();
            return Fd();
        }
        auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
        services.push_back(std::move(ours));
        return std::move(theirs);
    });
    Input input{data, size};
    while (input.left > 0) {
        const uint32_t choice = input.next();
        Fd* service = services.empty() ? nullptr : &services[choice % services.size()];
        if (choice < 128) {
            if (!host.receive(piece_of(input))) return 0;  // as a ProtocolError: the end of the session
        } else if (choice < 160 && service && *service) {
            char bytes[4096] = {};
            (void)::send(service->get(), bytes, input.next() * 16, MSG_DONTWAIT | MSG_NOSIGNAL);
        } else if (choice < 192 && service && *service) {
            char bytes[65536];
            (void)::recv(service->get(), bytes, sizeof bytes, MSG_DONTWAIT);
        } else if (choice < 200 && service) {
            service->reset();
        } else {
            host.work([&](const proto::Forwarded& piece) {
                if (piece.data().size() > Forwarding::kWindow) std::abort();
                return choice != 255;
            });
        }
    }
    return 0;
}
