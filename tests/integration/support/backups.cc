// SPDX-License-Identifier: GPL-2.0-or-later
#include "support/backups.h"

#include <cstdlib>
#include <fstream>
#include <random>

namespace inspect::test {

void BackupTest::SetUp() {
    InspTest::SetUp();
    insp_ok({"backup", "init"}, repository());
}

Options BackupTest::repository() const {
    Options options;
    options.env = {{"RESTIC_REPOSITORY", path()}, {"RESTIC_PASSWORD", "correct horse"}};
    return options;
}

std::string BackupTest::create(const Args& more) const {
    Args args{"backup", "create", "-q"};
    args.insert(args.end(), more.begin(), more.end());
    return insp_ok(args, repository());
}

Outcome BackupTest::restic(Args args) const {
    args.insert(args.begin(), {"restic", "--no-cache"});
    return run(args, repository());
}

::testing::AssertionResult BackupTest::sound() const {
    if (!have_program("restic")) return ::testing::AssertionSuccess();
    const Outcome checked = restic({"check", "--read-data"});
    if (checked.ok()) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << checked.describe();
}

std::string BackupTest::restore(const std::string& snapshot, const Args& more) const {
    const std::string target = scratch() / ("restored-" + std::to_string(::rand()));
    Args args{"backup", "restore", "-q", snapshot, "--target", target};
    args.insert(args.end(), more.begin(), more.end());
    insp_ok(args, repository());
    return target;
}

std::string BackupTest::random_disk(const std::string& name, size_t size, unsigned seed) const {
    std::mt19937_64 random(seed);
    std::string bytes(size, '\0');
    for (size_t at = 0; at + (1 << 16) <= size; at += 1 << 18)
        for (size_t i = 0; i < 1 << 16; i += 8) {
            const uint64_t word = random();
            bytes.replace(at + i, 8, reinterpret_cast<const char*>(&word), 8);
        }
    write_host_file(scratch() / name, bytes);
    return scratch() / name;
}

void BackupTest::change(const std::string& disk, uint64_t offset, const std::string& bytes) {
    std::fstream file(disk, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

size_t BackupTest::snapshots(const Options& options) const {
    return insp_json({"backup", "list", "--json"}, options)["snapshots"].size();
}

}  // namespace inspect::test
