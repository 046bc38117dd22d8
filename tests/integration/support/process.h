// SPDX-License-Identifier: GPL-2.0-or-later
//
// Running programs from tests: with a time limit, everything they say captured, and nothing left of them. The
// test program makes itself the reaper of its descendants (prctl PR_SET_CHILD_SUBREAPER), so whatever a
// program leaves behind, a virtual machine's process for example, is found among its children. One thread
// only.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace inspect::test {

struct Options {
    std::string input{};                       // stdin
    std::map<std::string, std::string> env{};  // added to the test's own; an empty value unsets
    std::string directory{};                   // to run in; empty: the test's own
    std::optional<uid_t> user{};               // run as, without any capability
    std::vector<gid_t> groups{};               // with `user`: its supplementary groups
    std::chrono::milliseconds timeout{120'000};
    std::optional<uint64_t> file_size_limit{};  // RLIMIT_FSIZE
};

struct Outcome {
    int code = -1;   // exit code; -1: ended by a signal
    int signal = 0;  // that ended it
    bool timed_out = false;
    std::string out;
    std::string err;
    double seconds = 0;           // wall clock
    uint64_t peak_rss_bytes = 0;  // of it or of any of its children that it waited for, the biggest

    bool ok() const { return code == 0; }
    // All of it in words, for a failed expectation.
    std::string describe() const;
};

// A program that runs beside the test. Its output is kept in unlinked files, so that it never waits for us.
class Child {
  public:
    // Throws std::runtime_error where it can't be started.
    Child(const std::vector<std::string>& argv, const Options& options = {});
    ~Child();  // kills its process group, if it still runs
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    pid_t pid() const { return pid_; }
    void kill(int signal) const;        // the program alone
    void kill_group(int signal) const;  // its whole process group, as the terminal's ^C does
    bool running();
    Outcome wait();  // until it ends, or the time-out: then it is killed

  private:
    pid_t pid_ = -1;
    int out_ = -1;
    int err_ = -1;
    std::chrono::steady_clock::time_point started_;
    std::chrono::milliseconds timeout_;
    std::optional<Outcome> outcome_;

    bool reap(bool block);
};

Outcome run(const std::vector<std::string>& argv, const Options& options = {});

// The processes that ended programs left behind, after a grace in which they may still go: "PID name", and
// they are killed. Children that are still owned by a Child don't count.
std::vector<std::string> strays(std::chrono::milliseconds grace = std::chrono::milliseconds(3000));

// True if PATH has it. Judges that aren't installed are a reason to skip.
bool have_program(const std::string& name);

}  // namespace inspect::test
