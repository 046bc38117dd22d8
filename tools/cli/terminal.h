// SPDX-License-Identifier: GPL-2.0-or-later
//
// The user's terminal while a program in the appliance has it: raw, so that every key goes there, and as it
// was again however that ends.
#pragma once

#include <inspect/session.h>

namespace inspect::cli {

// One at a time. Standard input must be a terminal. Not thread-safe.
class RawTerminal {
  public:
    // Throws Error.
    RawTerminal();
    ~RawTerminal();
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;

    // Readable when something was typed, or the window has another size.
    int ready_fd() const { return ready_; }
    TerminalSize size() const;
    // What was typed; 0: the terminal is gone; nullopt: nothing.
    std::optional<size_t> read(std::span<std::byte> buffer);

    // Stops this process as ^Z does, with the terminal as it was, and goes on when the shell says so.
    void suspend();

  private:
    int ready_ = -1;
};

}  // namespace inspect::cli
