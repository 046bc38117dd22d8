// SPDX-License-Identifier: GPL-2.0-or-later
//
// A line on the terminal that says how far a long copy has come. Nothing where stderr is not a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace inspect::cli {

class Progress {
  public:
    explicit Progress(bool wanted);
    ~Progress();  // wipes the line
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    // One more entry is done.
    void step(const std::string& path);
    // How far it is, in words.
    void show(const std::string& line);
    // Before something else is printed.
    void wipe();

  private:
    // True when it is time for a new line, of so many columns.
    bool due(size_t& columns);

    bool enabled_;
    bool shown_ = false;
    uint64_t count_ = 0;
    std::chrono::steady_clock::time_point next_;
};

// "COUNT PATH" in at most `columns` columns; the front of a long path is cut.
std::string progress_line(uint64_t count, const std::string& path, size_t columns);

}  // namespace inspect::cli
