// SPDX-License-Identifier: GPL-2.0-or-later
//
// Backups: insp against restic and borg, the first one, and one after 10 MB were written; restoring against
// qemu-img convert from a compressed qcow2; what insp cat reads of a backup; and which size of chunks is
// best.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>

#include <inspect/backup.h>

#include "bench.h"

namespace inspect::bench {

namespace {

namespace fs = std::filesystem;

constexpr size_t kChange = 10'000'000;
constexpr const char* kPassword = "bench";

uint64_t bytes_in(const std::string& directory) {
    uint64_t total = 0;
    for (const auto& entry : fs::recursive_directory_iterator(directory))
        if (entry.is_regular_file()) total += entry.file_size();
    return total;
}

// The guest's image, and the same after a file was written in it (by debugfs, in its second partition).
void make_images(const BenchOptions& options, const Scratch& scratch) {
    const std::string source = options.image.empty() ? test::guest("debian12") : options.image;
    must({"cp", "--sparse=always", source, scratch / "before.img"}, {});
    must({"cp", "--sparse=always", source, scratch / "after.img"}, {});
    fs::permissions(scratch / "after.img", fs::perms::owner_write, fs::perm_options::add);
    std::mt19937_64 random(1);
    std::string noise;
    while (noise.size() < kChange) noise += std::to_string(random());
    test::write_host_file(scratch / "noise", noise);
    const test::Outcome table = test::run({"sfdisk", "-J", scratch / "after.img"});
    const auto partitions = nlohmann::json::parse(table.out)["partitiontable"]["partitions"];
    const uint64_t offset = partitions.back()["start"].get<uint64_t>() * 512;
    must({"debugfs", "-w", "-R", "write " + (scratch / "noise") + " /root/noise",
          (scratch / "after.img") + "?offset=" + std::to_string(offset)},
         {});
}

struct Peer {
    const char* name;
    test::Args init, create, again;
    std::string repository;
};

// Backs up before.img, then after.img in its place, into a new repository.
void measure(const Peer& peer, const Scratch& scratch, const test::Options& environment, int runs) {
    std::vector<double> first, second;
    uint64_t size = 0;
    const std::string disk = scratch / "disk.img";
    for (int i = 0; i < runs; ++i) {
        fs::remove_all(peer.repository);
        must(peer.init, environment);
        fs::remove(disk);
        must({"cp", "--sparse=always", scratch / "before.img", disk}, {});
        first.push_back(must(peer.create, environment).seconds);
        size = bytes_in(peer.repository);
        must({"cp", "--sparse=always", scratch / "after.img", disk}, {});
        second.push_back(must(peer.again, environment).seconds);
    }
    std::printf("%-8s %8.2f s %10.1f MB %14.2f s\n", peer.name, test::median(first),
                static_cast<double>(size) / 1e6, test::median(second));
}

void compare_restoring(const Scratch& scratch, const test::Options& environment, int runs) {
    const std::string qcow2 = scratch / "compressed.qcow2", out = scratch / "out.img";
    must({"qemu-img", "convert", "-c", "-O", "qcow2", scratch / "before.img", qcow2}, {});
    std::vector<double> ours, theirs;
    for (int i = 0; i < runs; ++i) {
        fs::remove(out);
        theirs.push_back(must({"qemu-img", "convert", "-O", "raw", qcow2, out}, {}).seconds);
        fs::remove(out);
        ours.push_back(
            must({INSP_PROGRAM, "backup", "restore", "-q", "disk", "--target", out}, environment).seconds);
    }
    std::printf("restore %.2f s; qemu-img convert from a compressed qcow2 %.2f s\n", test::median(ours),
                test::median(theirs));
}

void compare_chunk_sizes(const Scratch& scratch, int runs) {
    std::printf("\n%-8s %10s %12s %14s\n", "chunks", "first", "stored", "after 10 MB");
    for (uint64_t size = 64 << 10; size <= 4 << 20; size *= 2) {
        std::vector<double> seconds;
        uint64_t first = 0, second = 0;
        for (int i = 0; i < runs; ++i) {
            const std::string repository = scratch / "chunks";
            fs::remove_all(repository);
            create_backup_repository({.location = repository});
            BackupRepository opened({.location = repository});
            BackupOptions options;
            options.chunk_size = size;
            const auto start = std::chrono::steady_clock::now();
            first =
                opened.create({.name = "disk", .disks = {{.path = scratch / "before.img"}}}, options).stored;
            seconds.push_back(
                std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
            second =
                opened.create({.name = "disk", .disks = {{.path = scratch / "after.img"}}}, options).stored;
        }
        std::printf("%5llu K %8.2f s %9.1f MB %11.1f MB\n", static_cast<unsigned long long>(size >> 10),
                    test::median(seconds), static_cast<double>(first) / 1e6,
                    static_cast<double>(second) / 1e6);
    }
}

}  // namespace

int bench_backup(const BenchOptions& options) {
    const Scratch scratch("bench-backup");
    make_images(options, scratch);
    ::setenv("RESTIC_PASSWORD", kPassword, 1);
    test::Options env;
    env.timeout = std::chrono::minutes(10);
    env.env = {{"RESTIC_REPOSITORY", scratch / "insp"},
               {"RESTIC_PASSWORD", kPassword},
               {"BORG_PASSPHRASE", kPassword},
               {"BORG_BASE_DIR", scratch / "borg-base"},
               {"XDG_CACHE_HOME", scratch / "cache"}};
    const std::string disk = scratch / "disk.img";
    std::printf("%-8s %10s %13s %16s\n", "", "first", "repository", "after 10 MB");
    measure({"insp",
             {INSP_PROGRAM, "backup", "init", "-q"},
             {INSP_PROGRAM, "backup", "create", "-q", disk},
             {INSP_PROGRAM, "backup", "create", "-q", disk},
             scratch / "insp"},
            scratch, env, options.runs);
    if (options.peer && test::have_program("restic")) {
        const std::string repository = scratch / "restic";
        measure({"restic",
                 {"restic", "-q", "-r", repository, "init", "--repository-version", "2"},
                 {"restic", "-q", "-r", repository, "backup", disk},
                 {"restic", "-q", "-r", repository, "backup", disk},
                 repository},
                scratch, env, options.runs);
    }
    if (options.peer && test::have_program("borg")) {
        const std::string repository = scratch / "borg";
        measure({"borg",
                 {"borg", "init", "-e", "repokey-blake2", repository},
                 {"borg", "create", repository + "::one", disk},
                 {"borg", "create", repository + "::two", disk},
                 repository},
                scratch, env, options.runs);
    }
    compare_restoring(scratch, env, options.runs);
    compare_chunk_sizes(scratch, options.runs);
    return 0;
}

}  // namespace inspect::bench
