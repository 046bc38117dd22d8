// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/backup_options.h"

#include <gtest/gtest.h>

#include <functional>

#include "cli/values.h"
#include "commands.h"

namespace inspect::cli {
namespace {

Arguments parsed(std::vector<std::string> words) {
    words.insert(words.begin(), "backup");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    return Arguments::parse(kBackupCommand, static_cast<int>(words.size()), argv.data());
}

std::string refusal(const std::function<void()>& what) {
    try {
        what();
    } catch (const UsageError& error) {
        return error.message();
    }
    return "accepted";
}

TEST(BackupOptions, ForgetIsByNamesOrByAPolicy) {
    const ForgetOptions policy = forget_options(parsed(
        {"forget", "--tag", "nightly", "--tag", "a", "--guest=web", "--keep-last=3", "--keep-within=1d12h"}));
    EXPECT_EQ(policy.tags, (std::vector<std::string>{"nightly", "a"}));
    EXPECT_EQ(policy.guest, "web");
    EXPECT_EQ(policy.policy.last, 3U);
    EXPECT_EQ(policy.policy.within_seconds, 36U * 3600);
    EXPECT_TRUE(policy.snapshots.empty());
    EXPECT_EQ(forget_options(parsed({"forget", "web", "db"})).snapshots.size(), 2U);
    for (const char* more : {"--keep-daily=7", "--keep-tag=x", "--guest=web", "--host=x", "--tag=nightly"})
        EXPECT_NE(refusal([&] {
                      forget_options(parsed({"forget", "web", more}));
                  }).find("--guest web"),
                  std::string::npos)
            << more;
    EXPECT_NE(refusal([] { forget_options(parsed({"forget"})); }).find("forget what"), std::string::npos);
    EXPECT_NE(refusal([] {
                  forget_options(parsed({"forget", "--keep-last=-1"}));
              }).find("is a number"),
              std::string::npos);
}

TEST(BackupOptions, OperandsAreImagesAsTheOptionsSay) {
    const auto guests = backup_guests(parsed({"create", "--cache=none", "--format=qcow2", "-a", "a.qcow2",
                                              "--disk-snapshot=then", "b.qcow2", "--repair=leaks"}));
    ASSERT_EQ(guests.size(), 2U);
    ASSERT_EQ(guests[0].disks.size(), 1U);
    EXPECT_EQ(guests[0].disks[0].path, "a.qcow2");
    EXPECT_EQ(guests[0].disks[0].snapshot, "");
    const DiskSpec& operand = guests[1].disks.at(0);
    EXPECT_EQ(operand.path, "b.qcow2");
    EXPECT_EQ(operand.snapshot, "then");
    EXPECT_EQ(operand.format, "qcow2");
    EXPECT_EQ(operand.cache, CacheMode::kNone);
    EXPECT_EQ(operand.repair, Repair::kLeaks);
    EXPECT_NE(refusal([] {
                  backup_guests(parsed({"create", "x/web.img", "y/web.qcow2"}));
              }).find("'web'"),
              std::string::npos);
}

TEST(Values, WordsAndNumbers) {
    const Arguments args = parsed({"create", "--compression=max", "--keep-last=12", "--keep-daily=1k"});
    EXPECT_EQ(one_of(args, "compression", {"off", "auto", "max"}, "auto"), "max");
    EXPECT_EQ(one_of(args, "ask-appliance", {"auto", "never"}, "auto"), "auto");
    EXPECT_EQ(refusal([&] {
                  one_of(args, "compression", {"off", "auto", "none"}, "auto");
              }),
              "--compression is 'off', 'auto' or 'none', not 'max'");
    EXPECT_EQ(number_of(args, "keep-last", 12), 12U);
    EXPECT_EQ(number_of(args, "keep-weekly", 12), std::nullopt);
    EXPECT_EQ(refusal([&] { number_of(args, "keep-last", 11); }),
              "--keep-last is a number up to 11, not '12'");
    EXPECT_NE(refusal([&] { number_of(args, "keep-daily", 12); }), "accepted");
}

}  // namespace
}  // namespace inspect::cli
