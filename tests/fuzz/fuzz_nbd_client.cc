// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arbitrary bytes as an NBD server's. The client refuses or believes; it never crashes, hangs or writes
// outside of the caller's memory. The first byte of the input says whether they are an answer to a
// negotiation (0) or to requests (which one is next).
#include <sys/socket.h>

#include <cstdlib>
#include <vector>

#include <inspect/error.h>

#include "block/nbd_device.h"

using namespace inspect;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 1 || size > 32'000) return 0;
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) std::abort();
    const Fd server(ends[0]);
    if (::send(server.get(), data + 1, size - 1, MSG_DONTWAIT) != static_cast<ssize_t>(size - 1))
        std::abort();
    ::shutdown(server.get(), SHUT_WR);
    const NbdTerms terms{.size = 1 << 16,
                         .transmission_flags = nbd::kHasFlags | nbd::kSendFlush | nbd::kSendWriteZeroes,
                         .minimum_block = data[0] >= 0x80 ? 512u : 1u,
                         .structured_replies = (data[0] & 0x40) == 0,
                         .base_allocation = true,
                         .allocation_context = 1};
    std::vector<std::byte> memory(5000);
    try {
        if (data[0] == 0) {
            NbdDevice device(Fd(ends[1]), "name", {.name = "fuzz", .read_only = true});
            if (device.size() >= memory.size()) device.read(0, memory);
            device.extents(0, device.size());
        } else {
            NbdDevice device(Fd(ends[1]), terms, {.name = "fuzz"});
            for (unsigned what = data[0] & 0x3f; what > 0; what >>= 1) {
                if ((what & 1) != 0) device.read(what, memory);
                if ((what & 2) != 0) device.write(what * 512, memory);
                uint64_t covered = 0;
                for (const Extent& extent : device.extents(what, 10'000)) {
                    if (extent.offset != what + covered || extent.length == 0) std::abort();
                    covered += extent.length;
                }
                if (covered != 10'000) std::abort();
                if ((what & 4) != 0) device.write_zeroes(1, 3000, true);
                device.flush();
            }
        }
    } catch (const Error&) {
    }
    return 0;
}
