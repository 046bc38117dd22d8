// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/escape_keys.h"

#include <string>

#include "cli/command.h"

namespace inspect::cli {
namespace {

constexpr char kControlBits = 0x1f;

EscapeAction action_of(char key) {
    switch (key) {
        case '?':
        case 'h':
            return EscapeAction::kHelp;
        case 'q':
        case 'x':
            return EscapeAction::kQuit;
        case 'd':
            return EscapeAction::kDiscard;
        case 'z':
            return EscapeAction::kSuspend;
        default:
            return EscapeAction::kNone;
    }
}

}  // namespace

EscapeKeys EscapeKeys::parse(std::string_view text) {
    if (text == "none") return EscapeKeys(std::nullopt);
    // '@' to '_' and the small letters have control keys.
    bool valid = text.size() == 2 && text[0] == '^' &&
                 ((text[1] >= '@' && text[1] <= '_') || (text[1] >= 'a' && text[1] <= 'z'));
    if (!valid) throw UsageError("the escape key is 'none' or like '^]', not '" + std::string(text) + "'");
    return EscapeKeys(static_cast<char>(text[1] & kControlBits));
}

size_t EscapeKeys::filter(std::span<std::byte> typed, EscapeAction& action) {
    action = EscapeAction::kNone;
    if (!key_) return typed.size();
    size_t kept = 0;
    for (std::byte byte : typed) {
        const char key = static_cast<char>(byte);
        if (!escaped_ && key == *key_) {
            escaped_ = true;
            continue;
        }
        if (escaped_ && key != *key_) {  // typed twice it means itself
            escaped_ = false;
            action = action_of(key);
            if (action != EscapeAction::kNone) break;
            continue;
        }
        escaped_ = false;
        typed[kept++] = byte;
    }
    return kept;
}

}  // namespace inspect::cli
