// SPDX-License-Identifier: GPL-2.0-or-later
//
// A program of this host whose output is read while it runs: tar, gzip.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace inspect::cli {

// Not thread-safe.
class HostProgram {
  public:
    // Finds arguments[0] in PATH. `input`: a file for its stdin; empty: none. Its stderr is ours. Throws
    // Error.
    HostProgram(const std::vector<std::string>& arguments, const std::string& input = {});
    ~HostProgram();  // ends it, if it still runs
    HostProgram(const HostProgram&) = delete;
    HostProgram& operator=(const HostProgram&) = delete;

    int output_fd() const { return output_; }
    // 0 at the end. Throws Error(kCancelled) when a signal comes while it waits.
    size_t read(std::span<std::byte> buffer);
    // After the end of its output. Throws Error when it failed.
    void finish();

  private:
    std::string name_;
    pid_t pid_ = -1;
    int output_ = -1;
};

}  // namespace inspect::cli
