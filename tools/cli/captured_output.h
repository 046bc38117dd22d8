// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests: an Output whose bytes can be looked at.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "cli/output.h"

namespace inspect::cli {

class CapturedOutput {
  public:
    CapturedOutput() : fd_(memfd_create("output", MFD_CLOEXEC)), out_(fd_) { EXPECT_GE(fd_, 0); }
    ~CapturedOutput() { ::close(fd_); }
    CapturedOutput(const CapturedOutput&) = delete;
    CapturedOutput& operator=(const CapturedOutput&) = delete;

    Output& out() { return out_; }
    std::string text() {
        out_.flush();
        std::string all;
        char buffer[4096];
        ssize_t got;
        off_t at = 0;
        while ((got = pread(fd_, buffer, sizeof buffer, at)) > 0) {
            all.append(buffer, static_cast<size_t>(got));
            at += got;
        }
        return all;
    }

  private:
    int fd_;
    Output out_;
};

}  // namespace inspect::cli
