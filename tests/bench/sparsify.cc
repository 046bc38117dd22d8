// SPDX-License-Identifier: GPL-2.0-or-later
//
// A real guest with large files that were removed, made sparse in place: insp sparsify, and virt-sparsify
// --in-place. What is left of the image, and how long it takes.
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "bench.h"

namespace inspect::bench {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMiB = 1 << 20;
constexpr int kGarbageFiles = 8;
constexpr uint64_t kGarbageFile = 50 * kMiB;

// The engine that is chosen for such a command.
test::Options with_engine() {
    test::Options options = environment();
    options.env["INSP_ENGINE"] = "auto";
    options.timeout = std::chrono::minutes(10);
    return options;
}

double allocated_mib(const std::string& path) {
    struct stat status = {};
    if (::stat(path.c_str(), &status) < 0) throw std::runtime_error("cannot stat " + path);
    return static_cast<double>(status.st_blocks) * 512 / static_cast<double>(kMiB);
}

// Random files go in and out again.
void make_garbage(const Scratch& scratch, const std::string& image) {
    const std::string folder = scratch / "garbage";
    fs::create_directories(folder);
    std::ifstream random("/dev/urandom", std::ios::binary);
    std::vector<char> bytes(kMiB);
    for (int i = 0; i < kGarbageFiles; ++i) {
        std::ofstream file(folder + "/" + std::to_string(i), std::ios::binary);
        for (uint64_t done = 0; done < kGarbageFile; done += kMiB) {
            random.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
            file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        }
    }
    must({INSP_PROGRAM, "copy-in", "-q", "-a", image, folder, "/var"}, with_engine());
    must({INSP_PROGRAM, "rm", "-q", "-r", "-a", image, "/var/garbage"}, with_engine());
    fs::remove_all(folder);
}

void compare(const Scratch& scratch, const std::string& full, const std::string& format, int runs,
             bool peer) {
    const std::string work = scratch / "work.img";
    const test::Options theirs_need{
        .env = {{"LIBGUESTFS_BACKEND", "direct"}, {"LIBGUESTFS_BACKEND_SETTINGS", "force_tcg"}},
        .timeout = std::chrono::minutes(20)};
    std::vector<double> seconds;
    double left = 0;
    for (int i = 0; i < runs; ++i) {
        must({"cp", "--sparse=auto", full, work}, {});
        seconds.push_back(
            must({INSP_PROGRAM, "sparsify", "-q", "--format=" + format, "-a", work}, with_engine()).seconds);
        left = allocated_mib(work);
    }
    const double ours = test::median(seconds);
    printf("%-6s before                       %8.1f MiB\n", format.c_str(), allocated_mib(full));
    printf("%-6s insp sparsify     %8.3f s  %8.1f MiB\n", format.c_str(), ours, left);
    if (!peer) return;
    must({"cp", "--sparse=auto", full, work}, {});
    const double theirs =
        must({"virt-sparsify", "-q", "--in-place", "--format", format, work}, theirs_need).seconds;
    const double their_left = allocated_mib(work);
    printf("%-6s virt-sparsify     %8.3f s  %8.1f MiB   insp is %.1f times as fast, and leaves %+.1f %%\n",
           format.c_str(), theirs, their_left, theirs / ours, (left / their_left - 1) * 100);
}

}  // namespace

int bench_sparsify(const BenchOptions& options) {
    const Scratch scratch("bench-sparsify");
    const std::string guest = options.image.empty() ? test::guest("debian12") : options.image;
    const std::string raw = scratch / "full.img", qcow2 = scratch / "full.qcow2";
    must({"cp", "--sparse=always", guest, raw}, {});
    must({"chmod", "u+w", raw}, {});
    make_garbage(scratch, raw);
    const bool peer = options.peer && test::have_program("virt-sparsify");
    printf("a Debian guest in which %d files of %d MiB were removed, medians of %d runs\n", kGarbageFiles,
           static_cast<int>(kGarbageFile / kMiB), options.runs);
    compare(scratch, raw, "raw", options.runs, peer);
    must({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2}, {});
    compare(scratch, qcow2, "qcow2", options.runs, peer);
    if (!peer)
        printf("virt-sparsify                 not measured%s\n",
               options.peer ? ": libguestfs is not installed" : "");
    return 0;
}

}  // namespace inspect::bench
