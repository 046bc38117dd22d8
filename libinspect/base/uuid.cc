// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/uuid.h"

#include <sys/random.h>

#include <array>
#include <cerrno>

#include <inspect/error.h>

namespace inspect {

void draw_random(std::span<std::byte> out) {
    while (!out.empty()) {
        const ssize_t n = ::getrandom(out.data(), out.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) throw Error::from_errno("cannot draw random bytes", errno);
        out = out.subspan(static_cast<size_t>(n));
    }
}

std::string random_uuid() {
    constexpr char kDigits[] = "0123456789abcdef";
    std::array<std::byte, 16> bytes;
    draw_random(bytes);
    bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
    bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
    std::string text;
    for (size_t i = 0; i < bytes.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += kDigits[std::to_integer<unsigned>(bytes[i]) >> 4];
        text += kDigits[std::to_integer<unsigned>(bytes[i]) & 15];
    }
    return text;
}

}  // namespace inspect
