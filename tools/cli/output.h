// SPDX-License-Identifier: GPL-2.0-or-later
//
// Standard output: buffered, whole, and honest about errors. A full disk is an error, a closed pipe ends the
// program the way it ends cat(1).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace inspect::cli {

// Thrown when the reader of our pipe has gone. Not an Error: there is nothing to say about it.
struct BrokenPipe {};

class Output {
  public:
    explicit Output(int fd) : fd_(fd) {}
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;

    // All throw Error(kNoSpace, kDenied, ...), BrokenPipe, or Error(kCancelled) when a signal came meanwhile.
    // What is not flushed when the Output is destroyed is lost.
    void write(std::string_view text);
    void write(std::span<const std::byte> bytes);
    void put(char c) { write(std::string_view(&c, 1)); }
    void flush();
    // Flushes and closes the descriptor: some file systems report a full disk only then.
    void close();

    bool is_terminal() const;

  private:
    void write_through(std::string_view text);

    static constexpr size_t kBufferSize = 64 * 1024;
    int fd_;
    std::string buffer_;
};

}  // namespace inspect::cli
