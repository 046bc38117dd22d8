// SPDX-License-Identifier: GPL-2.0-or-later
#include "mode_expression.h"

#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "failure.h"

namespace inspect::agent {

namespace {

// Where nobody is named, chmod(1) leaves alone what the umask masks; a root shell's is 022.
constexpr mode_t kUmask = 022;
constexpr mode_t kUser = S_ISUID | 0700;
constexpr mode_t kGroup = S_ISGID | 0070;
constexpr mode_t kOther = S_ISVTX | 0007;

[[noreturn]] void bad(std::string_view text) {
    throw Failure(proto::USAGE, "'" + std::string(text) + "' is not a mode as chmod takes it", EINVAL);
}

bool is_octal(char c) { return c >= '0' && c <= '7'; }

}  // namespace

ModeExpression::ModeExpression(std::string_view text) {
    if (text.empty()) bad(text);
    if (is_octal(text[0])) {
        absolute_ = true;
        for (char c : text) {
            if (!is_octal(c) || absolute_bits_ > 07777) bad(text);
            absolute_bits_ = absolute_bits_ * 8 + static_cast<mode_t>(c - '0');
        }
        if (absolute_bits_ > 07777) bad(text);
        clears_directory_bits_ = text.size() > 4;
        return;
    }
    size_t i = 0;
    while (true) {
        mode_t who = 0;
        for (; i < text.size() && std::string_view("ugoa").find(text[i]) != std::string_view::npos; ++i)
            who |= text[i] == 'u'   ? kUser
                   : text[i] == 'g' ? kGroup
                   : text[i] == 'o' ? kOther
                                    : kUser | kGroup | kOther;
        if (i == text.size()) bad(text);
        while (i < text.size() && text[i] != ',') {
            Change change{text[i++], who, 0, false, 0};
            if (change.action != '+' && change.action != '-' && change.action != '=') bad(text);
            if (i < text.size() && (text[i] == 'u' || text[i] == 'g' || text[i] == 'o')) {
                change.copy = text[i++];
            } else {
                for (; i < text.size(); ++i) {
                    if (text[i] == 'r') {
                        change.bits |= 0444;
                    } else if (text[i] == 'w') {
                        change.bits |= 0222;
                    } else if (text[i] == 'x') {
                        change.bits |= 0111;
                    } else if (text[i] == 'X') {
                        change.execute_if = true;
                    } else if (text[i] == 's') {
                        change.bits |= S_ISUID | S_ISGID;
                    } else if (text[i] == 't') {
                        change.bits |= S_ISVTX;
                    } else {
                        break;
                    }
                }
            }
            changes_.push_back(change);
        }
        if (i == text.size()) return;
        if (++i == text.size()) bad(text);  // a comma at the end
    }
}

mode_t ModeExpression::apply(mode_t mode) const {
    bool directory = S_ISDIR(mode);
    mode_t bits = mode & 07777;
    if (absolute_) {
        mode_t kept = directory && !clears_directory_bits_ ? bits & (S_ISUID | S_ISGID) : 0;
        return absolute_bits_ | kept;
    }
    for (const Change& change : changes_) {
        // A directory's set-id bits change only where they are named.
        mode_t mentioned = change.who ? change.who & change.bits : change.bits;
        mode_t untouched = directory ? (S_ISUID | S_ISGID) & ~mentioned : 0;
        mode_t value = change.bits;
        if (change.execute_if && (directory || (bits & 0111))) value |= 0111;
        if (change.copy) {
            mode_t one = (change.copy == 'u' ? bits >> 6 : change.copy == 'g' ? bits >> 3 : bits) & 7;
            value |= one << 6 | one << 3 | one;
        }
        value &= (change.who ? change.who : ~kUmask) & ~untouched;
        if (change.action == '+') {
            bits |= value;
        } else if (change.action == '-') {
            bits &= ~value;
        } else {
            mode_t preserved = (change.who ? ~change.who : 0) | untouched;
            bits = (bits & preserved) | value;
        }
    }
    return bits;
}

}  // namespace inspect::agent
