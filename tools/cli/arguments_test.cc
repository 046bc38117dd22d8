// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "cli/guest.h"

namespace inspect::cli {
namespace {

constexpr Option kOptions[] = {
    {'R', "recursive", Takes::kNothing, "", "and all below"},
    {'r', "remove", Takes::kNothing, "", "takes the letter of --ro"},
    {'e', "expr", Takes::kValue, "EXPR", "an expression", "edit"},
};

constexpr Command kCommand = {
    .name = "try",
    .summary = "for tests",
    .operands = "PATH...",
    .description = "",
    .examples = "",
    .options = kOptions,
    .shared_options = kDiskOptions | kMountOptions | kJsonOption,
    .min_operands = 1,
    .max_operands = 3,
};

Arguments parse(std::vector<std::string> words) {
    words.insert(words.begin(), "insp");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    return Arguments::parse(kCommand, static_cast<int>(words.size()), argv.data());
}

std::string parse_error(std::vector<std::string> words) {
    try {
        parse(std::move(words));
    } catch (const UsageError& error) {
        return error.message();
    }
    return "no error";
}

TEST(Arguments, OptionsAndOperandsComeInAnyOrder) {
    Arguments args = parse({"/a", "-R", "-a", "x.img", "/b", "--expr=s/a/b/", "--", "-c"});
    EXPECT_TRUE(args.has("recursive"));
    EXPECT_FALSE(args.has("remove"));
    EXPECT_EQ(args.values("add"), std::vector<std::string>{"x.img"});
    EXPECT_EQ(args.value("expr"), "s/a/b/");
    EXPECT_EQ(args.operands(), (std::vector<std::string>{"/a", "/b", "-c"}));
}

TEST(Arguments, OperandsAreTakenLiterally) {
    // Each of these means something to some parser of command lines.
    Arguments args = parse({"-a", "[a,b]", "[x,y]", "{}", ""});
    EXPECT_EQ(args.values("add"), std::vector<std::string>{"[a,b]"});
    EXPECT_EQ(args.operands(), (std::vector<std::string>{"[x,y]", "{}", ""}));
}

TEST(Arguments, LettersJoinAndLongNamesShorten) {
    Arguments args = parse({"-Rax.img", "--rem", "--edit", "-n", "/a"});
    EXPECT_TRUE(args.has("recursive"));
    EXPECT_TRUE(args.has("remove"));
    EXPECT_EQ(args.value("expr"), "-n");  // a value may look like an option
    EXPECT_EQ(args.value("add"), "x.img");
}

TEST(Arguments, ACommandsOwnLetterWins) {
    Arguments args = parse({"-r", "-a", "x", "/a"});
    EXPECT_TRUE(args.has("remove"));
    EXPECT_FALSE(args.has("ro"));
    EXPECT_TRUE(parse({"--ro", "-a", "x", "/a"}).has("ro"));
}

TEST(Arguments, RepeatedOptionsAreAllThereAndTheLastCounts) {
    Arguments args = parse({"-e", "1", "-e", "2", "-a", "x", "/a"});
    EXPECT_EQ(args.values("expr"), (std::vector<std::string>{"1", "2"}));
    EXPECT_EQ(args.value("expr"), "2");
}

TEST(Arguments, OptionalValuesNeedTheEqualsSign) {
    Arguments args = parse({"--stats", "/a", "-a", "x"});
    EXPECT_TRUE(args.has("stats"));
    EXPECT_EQ(args.value("stats"), std::nullopt);
    EXPECT_EQ(stats_format(args), StatsFormat::kTable);
    EXPECT_EQ(stats_format(parse({"--stats=json", "/a", "-a", "x"})), StatsFormat::kJson);
    EXPECT_THROW(stats_format(parse({"--stats=xml", "/a", "-a", "x"})), UsageError);
}

TEST(Arguments, ErrorsNameTheMistake) {
    EXPECT_EQ(parse_error({"--foo"}), "unknown option --foo");
    EXPECT_EQ(parse_error({"--foo=bar"}), "unknown option --foo");
    EXPECT_EQ(parse_error({"-RZ"}), "unknown option -Z");
    EXPECT_EQ(parse_error({"--add"}), "option --add needs a value");
    EXPECT_EQ(parse_error({"-a"}), "option --add needs a value");
    EXPECT_EQ(parse_error({"--recursive=yes"}), "option --recursive takes no value");
    EXPECT_EQ(parse_error({"--m", "x"}), "option --m may mean several: --memory, --memsize, --mount");
    EXPECT_EQ(parse_error({"/a"}), "no disk image was given; write: insp try -a IMAGE PATH...");
    EXPECT_EQ(parse_error({"-a", "x"}), "operands are missing; write: insp try -a IMAGE PATH...");
    EXPECT_EQ(parse_error({"-a", "x", "1", "2", "3", "4\n"}),
              "unexpected operand '4\\n'; write: insp try -a IMAGE PATH...");
    EXPECT_EQ(parse_error({"-a", "x", "1", "2", "3", "--stats", "json"}),
              "unexpected operand 'json'; write: insp try -a IMAGE PATH... (is it the value of --stats? That "
              "wants a '=')");
}

TEST(Arguments, HelpIsGivenWhateverElseIsWrong) {
    EXPECT_TRUE(parse({"--help"}).has("help"));
    EXPECT_TRUE(parse({"-V", "--nonsense"}).has("version"));
}

TEST(Arguments, AskingForAnUnknownOptionIsABug) {
    EXPECT_THROW(parse({"-a", "x", "/a"}).has("no-such"), Error);
}

TEST(SessionOptionsFromArguments, FormatAndBlocksizeActOnWhatFollows) {
    SessionOptions options =
        session_options(parse({"-a", "one", "--format=raw", "--blocksize=4096", "-a", "two", "-a", "three",
                               "--format", "--blocksize", "-a", "four", "/p"}),
                        Access::kRead);
    ASSERT_EQ(options.disks.size(), 4u);
    const std::string formats[] = {"", "raw", "raw", ""};
    const uint32_t sizes[] = {512, 4096, 4096, 512};
    for (size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(options.disks[i].format, formats[i]) << i;
        EXPECT_EQ(options.disks[i].sector_size, sizes[i]) << i;
    }
    EXPECT_EQ(options.disks[3].path, "four");
    EXPECT_FALSE(options.writable);
    EXPECT_TRUE(options.use_snapshot);
    EXPECT_EQ(options.memory_bytes, 0u);
}

TEST(SessionOptionsFromArguments, AFormatThatNothingFollowsIsRefused) {
    EXPECT_THROW(session_options(parse({"-a", "one", "--format=raw", "/p"}), Access::kRead), UsageError);
    EXPECT_THROW(session_options(parse({"-a", "one", "--blocksize=4096", "/p"}), Access::kRead), UsageError);
}

TEST(SessionOptionsFromArguments, MemorySnapshotsAndAccess) {
    SessionOptions options =
        session_options(parse({"-a", "x", "--memory", "512", "--no-snapshot", "-v", "/p"}), Access::kChange);
    EXPECT_EQ(options.memory_bytes, UINT64_C(512) << 20);
    EXPECT_FALSE(options.use_snapshot);
    EXPECT_TRUE(options.verbose);
    EXPECT_TRUE(options.writable);
    for (const char* bad : {"0", "63", "4G", "lots", "-5", "99999999999G"})
        EXPECT_THROW(session_options(parse({"-a", "x", "--memory", bad, "/p"}), Access::kRead), UsageError)
            << bad;
    EXPECT_THROW(session_options(parse({"-a", "x", "--blocksize=1024", "-a", "y", "/p"}), Access::kRead),
                 UsageError);
    EXPECT_THROW(session_options(parse({"-a", "x", "--ro", "/p"}), Access::kChange), UsageError);
    EXPECT_FALSE(session_options(parse({"-a", "x", "--rw", "/p"}), Access::kRead).writable);
}

}  // namespace
}  // namespace inspect::cli
