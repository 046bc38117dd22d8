// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the measurements share. Each prints a table of medians and returns an exit code.
#pragma once

#include <filesystem>
#include <string>

#include "support/insp.h"

namespace inspect::bench {

struct BenchOptions {
    int runs = 5;
    std::string image;  // empty: the test guest debian12
    int starts = 500;   // of the soak
    int jobs = 2;       // of the soak, at a time
    bool peer = true;   // compare with libguestfs, where it is installed
};

int bench_cat(const BenchOptions& options);
int bench_read(const BenchOptions& options);
int bench_mount(const BenchOptions& options);
int bench_storage(const BenchOptions& options);
int bench_uring(const BenchOptions& options);  // where liburing was there to build it with
int bench_resize(const BenchOptions& options);
int bench_sparsify(const BenchOptions& options);
int bench_clone(const BenchOptions& options);
int bench_backup(const BenchOptions& options);
int soak(const BenchOptions& options);

// The environment of every insp here: the tests' warm snapshot, and the engine kvm.
test::Options environment();
// Runs a program; throws std::runtime_error where it fails.
test::Outcome must(const test::Args& args, const test::Options& options = {});
// The same of insp, in environment().
test::Outcome insp(const test::Args& args);
// A copy of an image that may be changed.
void copy_image(const std::string& from, const std::string& to);
// "12.3" with this many digits.
std::string fixed(double value, int digits = 1);

// A directory for the files of a measurement, empty at first and gone afterwards.
class Scratch {
  public:
    explicit Scratch(const std::string& name);
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    std::string operator/(const std::string& file) const { return path_ / file; }

  private:
    std::filesystem::path path_;
};

}  // namespace inspect::bench
