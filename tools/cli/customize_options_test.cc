// SPDX-License-Identifier: GPL-2.0-or-later
//
// The options of customize are the same on all commands that have them, and their order is kept.
#include "cli/customize_options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "cli/help.h"
#include "commands.h"

namespace inspect::cli {
namespace {

Arguments parse(const Command& command, std::vector<std::string> words) {
    words.insert(words.begin(), "insp");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    return Arguments::parse(command, static_cast<int>(words.size()), argv.data());
}

std::string text_of(const CustomizeSteps& steps) {
    std::string text;
    for (const CustomizeStep& step : steps.steps) text += step.operation + "(" + step.argument + ") ";
    return text;
}

TEST(CustomizeOptions, AreOfferedByThreeCommands) {
    for (const Command* command : {&kCustomizeCommand, &kSysprepCommand, &kCloneCommand}) {
        std::set<const Option*> offered;
        for (const OptionGroup& group : option_groups(*command))
            for (const Option& option : group.options) offered.insert(&option);
        std::set<std::string> replaced;
        for (const Option& option : customize_options()) {
            EXPECT_TRUE(offered.contains(&option)) << command->name << " --" << option.name;
            if (is_replaced(*command, option)) replaced.insert(option.name);
        }
        // Clones have these each for themselves.
        if (command == &kCloneCommand)
            EXPECT_EQ(replaced, (std::set<std::string>{"cloud-init-iso", "hostname"}));
        else
            EXPECT_TRUE(replaced.empty()) << command->name;
        // What is replaced is shown once.
        const std::string help = command_help(*command);
        EXPECT_EQ(help.find("--hostname"), help.rfind("--hostname=") == std::string::npos
                                               ? help.rfind("--hostname[")
                                               : help.rfind("--hostname="));
    }
    for (const CustomizeOperation& operation : customize_operations()) {
        const auto named = [&](const Option& option) {
            return std::string_view(option.name) == operation.name;
        };
        EXPECT_EQ(std::ranges::count_if(customize_options(), named), 1) << operation.name;
    }
}

TEST(CustomizeOptions, KeepTheirOrder) {
    const std::string file = ::testing::TempDir() + "customize-commands";
    std::ofstream(file) << "# a secret\nroot-password password:x\nhostname in-a-file\n";
    const std::vector<std::string> words = {
        "-a", "x",        "--write", "/f:1", "--touch", "/g", "--commands-from-file",
        file, "--update", "--write", "/f:2"};
    for (const Command* command : {&kCustomizeCommand, &kSysprepCommand, &kCloneCommand}) {
        const CustomizeSteps steps = customize_steps(parse(*command, words), nullptr);
        EXPECT_EQ(
            text_of(steps),
            "write(/f:1) touch(/g) root-password(password:x) hostname(in-a-file) update() write(/f:2) ");
        EXPECT_TRUE(steps.plain_passwords);
        EXPECT_EQ(host_name_of(steps), "in-a-file");
    }
    std::filesystem::remove(file);
}

TEST(CustomizeOptions, AreRefusedWhenTheyMakeNoSense) {
    for (const Command* command : {&kCustomizeCommand, &kSysprepCommand, &kCloneCommand}) {
        const auto steps = [&](std::vector<std::string> words) {
            words.insert(words.begin(), {"-a", "x"});
            return customize_steps(parse(*command, words), nullptr);
        };
        EXPECT_THROW(steps({"--write", ""}), UsageError);
        EXPECT_THROW(steps({"--root-password", "locked:password:x"}), UsageError);
        EXPECT_THROW(steps({"--password", "bob:password:x"}), UsageError);
        EXPECT_FALSE(steps({"--root-password", "file:/x"}).plain_passwords);
    }
    // A clone's host name may be left out: it is the clone's name.
    EXPECT_EQ(text_of(customize_steps(parse(kCloneCommand, {"-a", "x", "--hostname"}), nullptr)),
              "hostname() ");
    EXPECT_THROW(parse(kSysprepCommand, {"-a", "x", "--hostname"}), UsageError);
}

TEST(CustomizeOptions, SeedsTakeWhatIsTheirs) {
    CloudInitSeed seed;
    const Arguments args =
        parse(kCloneCommand, {"-a", "x", "--cloud-init", "/dev/null:user-data", "--touch", "/g"});
    EXPECT_EQ(text_of(customize_steps(args, &seed)), "touch(/g) ");
    EXPECT_TRUE(seed.contains("user-data"));
    EXPECT_EQ(text_of(customize_steps(args, nullptr)), "cloud-init(/dev/null:user-data) touch(/g) ");
    CloudInitSeed other;
    EXPECT_THROW(customize_steps(parse(kSysprepCommand, {"--cloud-init", "/dev/null:x"}), &other),
                 UsageError);
}

}  // namespace
}  // namespace inspect::cli
