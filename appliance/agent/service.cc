// SPDX-License-Identifier: GPL-2.0-or-later
#include "service.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "failure.h"

namespace inspect::agent {

namespace {

constexpr uint32_t kMaxPort = 65535;

Fd listen_on_loopback(uint32_t port) {
    if (port > kMaxPort) throw Failure(proto::USAGE, "there is no port " + std::to_string(port), EINVAL);
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int yes = 1;  // a program before this one may have left its connections behind
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ||
        ::listen(socket.get(), SOMAXCONN) < 0)
        throw Failure(proto::ENGINE,
                      "cannot listen at port " + std::to_string(port) + ": " + errno_text(errno), errno);
    return socket;
}

}  // namespace

Service::Service(uint32_t port) : listener_(listen_on_loopback(port)) {}

void Service::work(Connection& connection) {
    const auto send = [&](const proto::Forwarded& piece) {
        proto::Item item;
        *item.mutable_forwarded() = piece;
        connection.send_item(item);
        return true;
    };
    while (forwarding_.room()) {
        Fd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!accepted) break;
        forwarding_.accepted(std::move(accepted), send);
    }
    forwarding_.work(send);
}

}  // namespace inspect::agent
