// SPDX-License-Identifier: GPL-2.0-or-later
//
// The tables of all commands: they are data, and these are their rules.
#include "commands.h"

#include <gtest/gtest.h>

#include <set>

#include "cli/guest.h"
#include "cli/guest_path.h"
#include "cli/help.h"
#include "cli/progress.h"

namespace inspect::cli {
namespace {

// No line of a text is wider.
bool fits(std::string_view text, size_t columns) {
    while (!text.empty()) {
        size_t end = std::min(text.find('\n'), text.size());
        if (end > columns) return false;
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return true;
}

TEST(Commands, AreComplete) {
    std::set<std::string_view> names;
    for (const Command* command : all_commands()) {
        EXPECT_TRUE(names.insert(command->name).second) << command->name;
        EXPECT_EQ(find_command(command->name), command);
        EXPECT_NE(command->run, nullptr);
        EXPECT_NE(*command->summary, 0);
        EXPECT_TRUE(std::string_view(command->examples).starts_with("insp ") ||
                    std::string_view(command->examples).find("| insp ") != std::string_view::npos)
            << command->name;
        EXPECT_TRUE(fits(command->description, 92)) << command->name;
        EXPECT_TRUE(fits(command_help(*command), 100)) << command->name;
    }
    EXPECT_EQ(find_command("virt-cat"), nullptr);
}

TEST(Commands, SpellingsAreUnambiguous) {
    for (const Command* command : all_commands()) {
        std::set<std::string_view> names;
        std::set<char> letters;
        for (const OptionGroup& group : option_groups(*command)) {
            bool own = group.options.data() == command->options.data();
            for (const Option& option : group.options) {
                EXPECT_TRUE(option.letter != 0 || *option.name != 0);
                if (is_replaced(*command, option)) continue;
                if (*option.name != 0) {
                    EXPECT_TRUE(names.insert(option.name).second) << option.name;
                }
                if (*option.also != 0) {
                    EXPECT_TRUE(names.insert(option.also).second) << option.also;
                }
                if (own && option.letter != 0) {
                    EXPECT_TRUE(letters.insert(option.letter).second)
                        << command->name << " -" << option.letter;
                }
                // The image, the mount and libvirt's domain are the same letters everywhere.
                if (own) {
                    EXPECT_EQ(std::string_view("amd").find(option.letter), std::string_view::npos);
                }
                EXPECT_EQ(option.takes == Takes::kNothing, *option.value_name == 0) << option.name;
            }
        }
    }
}

TEST(MachineHelp, HasNoEmptyFieldAndTheRightNumberOfThem) {
    std::string text = machine_help(all_commands());
    size_t lines = 0;
    for (size_t at = 0; at < text.size(); ++lines) {
        size_t end = text.find('\n', at);
        ASSERT_NE(end, std::string::npos);
        std::string line = text.substr(at, end - at);
        auto tabs = std::count(line.begin(), line.end(), '\t');
        EXPECT_EQ(tabs, line.starts_with("command\t") ? 4 : 6) << line;
        EXPECT_EQ(line.find("\t\t"), std::string::npos) << line;
        EXPECT_NE(line.back(), '\t') << line;
        at = end + 1;
    }
    EXPECT_GT(lines, 200u);
}

TEST(GuestPath, BaseNamesAndJoins) {
    EXPECT_EQ(base_name("/a/b//"), "b");
    EXPECT_EQ(base_name("b"), "b");
    EXPECT_EQ(base_name("/"), "");
    EXPECT_EQ(base_name(""), "");
    EXPECT_EQ(join_path("/", "b"), "/b");
    EXPECT_EQ(join_path("/a", "b"), "/a/b");
}

TEST(Progress, LineFitsTheTerminal) {
    EXPECT_EQ(progress_line(7, "/etc/fstab", 40), "7 /etc/fstab");
    EXPECT_EQ(progress_line(7, "/a/very/long/path/to/fstab", 16), "7 ...th/to/fstab");
    EXPECT_EQ(progress_line(7, "/x\x1b[2J", 40), "7 /x\\x1b[2J");
    for (size_t columns = 0; columns < 12; ++columns)
        EXPECT_LE(progress_line(7, "/\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", columns).size(),
                  std::max<size_t>(columns, 2));
}

TEST(Stats, BothFormatsHaveTheNumbers) {
    SessionStats stats;
    stats.engine = "kvm";
    stats.warm = true;
    stats.run_ns = 2'000'000;
    stats.exits["mmio"] = 41;
    stats.exits["io"] = 1;
    std::string table = format_stats(stats, 5'000'000, StatsFormat::kTable);
    EXPECT_NE(table.find("outside KVM_RUN"), std::string::npos);
    EXPECT_NE(table.find("3.000 ms"), std::string::npos);
    std::string json = format_stats(stats, 5'000'000, StatsFormat::kJson);
    EXPECT_TRUE(
        json.starts_with("{\"warm\": true, \"engine\": \"kvm\", \"total_ns\": 5000000, \"run_ns\": 2000000, "
                         "\"outside_run_ns\": 3000000,"))
        << json;
    EXPECT_NE(json.find("\"exits\": {\"io\": 1, \"mmio\": 41}"), std::string::npos) << json;
    EXPECT_EQ(std::count(json.begin(), json.end(), '\n'), 1);
}

}  // namespace
}  // namespace inspect::cli
