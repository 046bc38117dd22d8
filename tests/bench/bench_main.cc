// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp-bench: see README.md beside this file.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "bench.h"

namespace inspect::bench {

test::Options environment() {
    return {
        .env = {{"INSP_CACHE_DIR", std::string(INSP_BUILD_DIR) + "/tests/cache"}, {"INSP_ENGINE", "kvm"}}};
}

test::Outcome must(const test::Args& args, const test::Options& options) {
    test::Outcome outcome = test::run(args, options);
    if (!outcome.ok()) throw std::runtime_error(args.at(0) + ": " + outcome.describe());
    return outcome;
}

test::Outcome insp(const test::Args& args) {
    test::Args all{INSP_PROGRAM};
    all.insert(all.end(), args.begin(), args.end());
    return must(all, environment());
}

void copy_image(const std::string& from, const std::string& to) {
    must({"cp", "--sparse=always", "--reflink=auto", from, to});
    must({"chmod", "u+w", to});
}

Scratch::Scratch(const std::string& name)
    : path_(std::filesystem::path(INSP_BUILD_DIR) / "tests" / "scratch" / name) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
}

Scratch::~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string fixed(double value, int digits) {
    char text[64];
    snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

}  // namespace inspect::bench

namespace {

constexpr const char* kUsage =
    "Usage: insp-bench cat|read|storage|uring|mount|resize|sparsify|clone|backup|soak [OPTION...]\n"
    "  cat   insp cat of a small file, warm and cold, and virt-cat of the same\n"
    "  read  sequential and random reads through virtio-blk\n"
    "  storage  qcow2 against raw, and our NBD server against qemu-storage-daemon's\n"
    "  uring  raw images by pread and pwrite, and by io_uring (built where liburing-dev is)\n"
    "  mount  find, tar and fio on a mounted guest, and on guestmount's\n"
    "  resize  growing a guest by half, one ten times as large, and virt-resize\n"
    "  sparsify  a guest with removed files, and virt-sparsify --in-place\n"
    "  clone  overlays against an edit; one with --sysprep, and cp with virt-sysprep\n"
    "  backup  against restic and borg; restoring; sizes of chunks\n"
    "  soak  many warm starts, several at a time; fails when one fails or leaves something behind\n"
    "  --runs=N     of each measurement; the median counts (5)\n"
    "  --image=IMG  a guest with /etc/hostname (the test guest debian12)\n"
    "  --no-peer    without libguestfs\n"
    "  --starts=N --jobs=N   of the soak (500, 2)\n";

}  // namespace

int main(int argc, char* argv[]) {
    using namespace inspect::bench;
    BenchOptions options;
    std::string what = argc > 1 ? argv[1] : "";
    for (int i = 2; i < argc; i++) {
        std::string arg = argv[i];
        std::string value = arg.substr(std::min(arg.size(), arg.find('=') + 1));
        if (arg.rfind("--runs=", 0) == 0) {
            options.runs = std::max(1, atoi(value.c_str()));
        } else if (arg.rfind("--image=", 0) == 0) {
            options.image = value;
        } else if (arg.rfind("--starts=", 0) == 0) {
            options.starts = std::max(1, atoi(value.c_str()));
        } else if (arg.rfind("--jobs=", 0) == 0) {
            options.jobs = std::max(1, atoi(value.c_str()));
        } else if (arg == "--no-peer") {
            options.peer = false;
        } else {
            what.clear();
        }
    }
    try {
        if (what == "cat") return bench_cat(options);
        if (what == "read") return bench_read(options);
        if (what == "storage") return bench_storage(options);
#ifdef INSP_BENCH_URING
        if (what == "uring") return bench_uring(options);
#endif
        if (what == "mount") return bench_mount(options);
        if (what == "resize") return bench_resize(options);
        if (what == "clone") return bench_clone(options);
        if (what == "sparsify") return bench_sparsify(options);
        if (what == "backup") return bench_backup(options);
        if (what == "soak") return soak(options);
    } catch (const std::exception& error) {
        fprintf(stderr, "insp-bench: %s\n", error.what());
        return 1;
    }
    fputs(kUsage, stderr);
    return 2;
}
