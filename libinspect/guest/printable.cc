// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/printable.h"

#include <cstdint>

namespace inspect {

namespace {

// The length of the well-formed UTF-8 sequence that `bytes` begins with (Unicode 15, table 3-7), or 0. The
// code point goes to `code`.
size_t utf8_sequence(std::string_view bytes, uint32_t& code) {
    auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
    uint8_t first = at(0);
    size_t length = first < 0x80   ? 1
                    : first < 0xc2 ? 0
                    : first < 0xe0 ? 2
                    : first < 0xf0 ? 3
                    : first < 0xf5 ? 4
                                   : 0;
    if (length == 0 || bytes.size() < length) return 0;
    code = length == 1 ? first : first & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; ++i) {
        if ((at(i) & 0xc0) != 0x80) return 0;
        code = code << 6 | (at(i) & 0x3fu);
    }
    bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return overlong || surrogate || code > 0x10ffff ? 0 : length;
}

// C0, DEL, C1, line and paragraph separators, and the characters that reorder text on a terminal.
bool is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

void append_escaped(std::string& out, uint8_t byte) {
    static constexpr char kHex[] = "0123456789abcdef";
    switch (byte) {
        case '\n':
            out += "\\n";
            break;
        case '\t':
            out += "\\t";
            break;
        default:
            out += "\\x";
            out += kHex[byte >> 4];
            out += kHex[byte & 15];
    }
}

}  // namespace

std::string printable(std::string_view bytes, size_t limit) {
    std::string out;
    while (!bytes.empty()) {
        if (out.size() >= limit) return out + "...";
        uint32_t code = 0;
        size_t length = utf8_sequence(bytes, code);
        if (length == 0) {
            append_escaped(out, static_cast<uint8_t>(bytes[0]));
            length = 1;
        } else if (is_control(code)) {
            for (char c : bytes.substr(0, length)) append_escaped(out, static_cast<uint8_t>(c));
        } else {
            out += bytes.substr(0, length);
        }
        bytes.remove_prefix(length);
    }
    return out;
}

std::string quoted(std::string_view path) { return "'" + printable(path) + "'"; }

}  // namespace inspect
