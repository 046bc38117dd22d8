// SPDX-License-Identifier: GPL-2.0-or-later
//
// Keys that are for us and not for the program in the terminal: an escape key and the one after it, as in
// virt-rescue and telnet(1).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace inspect::cli {

enum class EscapeAction { kNone, kHelp, kQuit, kDiscard, kSuspend };

class EscapeKeys {
  public:
    // nullopt: there is no escape key.
    explicit EscapeKeys(std::optional<char> key) : key_(key) {}

    // "^]" or "^x" for a control key, "none". Throws UsageError.
    static EscapeKeys parse(std::string_view text);

    // Takes the escapes out of what was typed. Returns how many bytes at the start of `typed` are left for
    // the program; `action` is what was asked for (the first; what was typed after it is dropped).
    size_t filter(std::span<std::byte> typed, EscapeAction& action);

  private:
    std::optional<char> key_;
    bool escaped_ = false;  // the last byte was the escape key
};

}  // namespace inspect::cli
