// SPDX-License-Identifier: GPL-2.0-or-later
//
// Random file operations, in the manner of fsx, on a mounted tree and on a local directory: every result must
// be the same, and in the end the trees.
//
//     tree_differential [--operations N] [--seed N] [--directory DIR] [--local DIR]
//
// DIR is an empty directory of a mounted guest; without it a tree of our own is mounted, whose agent works on
// a directory of the host; when it is unmounted, that directory must be the same as well, because what the
// mount shows may be what the kernel remembers. For a guest that takes two runs: with an empty --local DIR,
// which is kept, and, when it has been unmounted and mounted again, with both and --operations 0. Else the
// local one is in $TMPDIR. Exit code 1 at the first difference, with the operations that led to it; 77 where
// FUSE can't be used.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>

#include "mounted_tree.h"
#include "tree_operations.h"

namespace {

namespace fs = std::filesystem;
using namespace inspect::test;

int run(const fs::path& mounted, const fs::path& local, uint64_t operations, uint64_t seed) {
    TreePair pair(mounted, local, seed);
    constexpr uint64_t kCompareEvery = 500;
    for (uint64_t i = 1; i <= operations; ++i) {
        std::string difference = pair.step();
        if (difference.empty() && i % kCompareEvery == 0) difference = pair.compare_all();
        if (difference.empty()) continue;
        std::printf("seed %llu, operation %llu: %s\nthe last operations:\n%s",
                    static_cast<unsigned long long>(seed), static_cast<unsigned long long>(i),
                    difference.c_str(), pair.history().c_str());
        return 1;
    }
    if (std::string difference = pair.compare_all(); !difference.empty()) {
        std::printf("seed %llu, after %llu operations: %s\n", static_cast<unsigned long long>(seed),
                    static_cast<unsigned long long>(operations), difference.c_str());
        return 1;
    }
    std::printf("%llu operations, seed %llu: no difference (%s)\n",
                static_cast<unsigned long long>(operations), static_cast<unsigned long long>(seed),
                pair.summary().c_str());
    return 0;
}

}  // namespace

int main(int argc, char* argv[]) {
    uint64_t operations = 100'000;
    uint64_t seed = 1;
    std::string directory;
    std::string local;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--operations") == 0) operations = std::strtoull(argv[i + 1], nullptr, 10);
        if (std::strcmp(argv[i], "--seed") == 0) seed = std::strtoull(argv[i + 1], nullptr, 10);
        if (std::strcmp(argv[i], "--directory") == 0) directory = argv[i + 1];
        if (std::strcmp(argv[i], "--local") == 0) local = argv[i + 1];
    }
    std::string base = (fs::temp_directory_path() / "insp-tree-XXXXXX").string();
    if (!mkdtemp(base.data())) return 2;
    int result = 2;
    try {
        if (local.empty()) {
            local = fs::path(base) / "local";
            fs::create_directory(local);
        }
        if (!directory.empty()) {
            result = run(directory, local, operations, seed);
        } else if (std::string reason = inspect::why_no_fuse(); !reason.empty()) {
            std::printf("skipped: %s\n", reason.c_str());
            result = 77;
        } else {
            inspect::MountedTree tree(fs::path(base) / "tree");
            result = run(tree.mount_point(), local, operations, seed);
            tree.unmount();
            if (result == 0) result = run(fs::path(base) / "tree" / "guest", local, 0, seed);
        }
    } catch (const std::exception& error) {
        std::printf("%s\n", error.what());
    }
    std::error_code ignored;
    fs::remove_all(base, ignored);
    return result;
}
