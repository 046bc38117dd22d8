// SPDX-License-Identifier: GPL-2.0-or-later
//
// A mounted guest: find, tar and random reads by fio, through insp mount and through guestmount, in turns.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "bench.h"

namespace inspect::bench {
namespace {

namespace fs = std::filesystem;

// What is measured, each on a tree that has just been mounted: nothing is in the host's caches of it.
struct Task {
    const char* name;
    std::string command;  // with the tree as $TREE
};

const std::vector<Task>& tasks() {
    static const std::vector<Task> all = {
        {"find", "find \"$TREE\" | wc -l"},
        {"find -ls", "find \"$TREE\" -ls | wc -l"},
        {"tar c usr", "tar -C \"$TREE\" -cf - usr | cat > /dev/null"},
    };
    return all;
}

class MountPoint {
  public:
    MountPoint() {
        std::string pattern = (fs::temp_directory_path() / "insp-bench-XXXXXX").string();
        if (!mkdtemp(pattern.data())) throw std::runtime_error("cannot make " + pattern);
        path_ = pattern;
        fs::create_directory(tree());
    }
    ~MountPoint() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    fs::path tree() const { return path_ / "tree"; }
    fs::path path() const { return path_; }

  private:
    fs::path path_;
};

test::Options peer_environment() {
    return {.env = {{"LIBGUESTFS_BACKEND", "direct"}, {"LIBGUESTFS_BACKEND_SETTINGS", "force_tcg"}},
            .timeout = std::chrono::minutes(10)};
}

// Seconds that the command takes in a fresh mount.
double measure(bool ours, const std::string& image, const test::Args& what, const std::string& command) {
    MountPoint mount_point;
    std::string tree = mount_point.tree();
    test::Options options = ours ? environment() : peer_environment();
    options.env["INSP_ENGINE"] = "auto";
    options.env["XDG_RUNTIME_DIR"] = mount_point.path();
    options.env["TREE"] = tree;
    options.timeout = std::chrono::minutes(10);
    test::Args mount = ours ? test::Args{INSP_PROGRAM, "mount"} : test::Args{"guestmount"};
    mount.insert(mount.end(), {"-a", image, "--ro"});
    mount.insert(mount.end(), what.begin(), what.end());
    mount.push_back(tree);
    test::Outcome mounted = test::run(mount, options);
    if (!mounted.ok()) throw std::runtime_error(mount[0] + ": " + mounted.describe());
    test::Outcome outcome = test::run({"/bin/sh", "-ec", command}, options);
    test::Outcome ended = test::run(
        ours ? test::Args{INSP_PROGRAM, "umount", tree} : test::Args{"guestunmount", tree}, options);
    if (!outcome.ok() || !ended.ok()) throw std::runtime_error(command + ": " + outcome.describe());
    return outcome.seconds;
}

void compare(const BenchOptions& options, const char* name, const std::string& image, const test::Args& what,
             const std::string& command) {
    std::vector<double> ours;
    std::vector<double> peers;
    bool peer = options.peer && test::have_program("guestmount");
    for (int i = 0; i < options.runs; i++) {
        ours.push_back(measure(true, image, what, command));
        if (peer) peers.push_back(measure(false, image, what, command));
    }
    printf("%-28s insp mount %8.3f s", name, test::median(ours));
    if (peer)
        printf("   guestmount (TCG) %8.3f s   %5.1f times as fast", test::median(peers),
               test::median(peers) / test::median(ours));
    printf("\n");
    fflush(stdout);  // the next one takes a while
}

}  // namespace

int bench_mount(const BenchOptions& options) {
    std::string image = options.image.empty() ? test::guest("debian12") : options.image;
    insp({"cat", "-a", image, "/etc/hostname"});
    printf("a tree just mounted, medians of %d runs\n", options.runs);
    for (const Task& task : tasks()) compare(options, task.name, image, {"-i"}, task.command);
    if (!test::have_program("fio")) {
        printf("fio is not installed: no random reads\n");
        return 0;
    }
    // The file of 32 MiB in the guest "large", each page read once.
    compare(options, "fio randread 4k, 4 jobs", test::guest("large"), {"-m", "/dev/sda"},
            "fio --name=r --filename=\"$(find \"$TREE\" -type f -size +16M | head -n 1)\" --readonly "
            "--rw=randread "
            "--bs=4k --numjobs=4 --randrepeat=1 --output-format=terse > /dev/null");
    return 0;
}

}  // namespace inspect::bench
