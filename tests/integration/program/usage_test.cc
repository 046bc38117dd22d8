// SPDX-License-Identifier: GPL-2.0-or-later
//
// What is decided before anything starts: wrong usage, help, versions. Needs no KVM.
#include "support/insp.h"

namespace inspect::test {
namespace {

using ::testing::HasSubstr;

class Usage : public InspTest {
  protected:
    void SetUp() override {
        InspTest::SetUp();
        if (!std::filesystem::exists(INSP_PROGRAM)) GTEST_SKIP() << "insp is not built";
    }
};

TEST_F(Usage, HelpOfEveryCommand) {
    std::string help = insp_ok({"--help"});
    for (const char* name : {"filesystems", "inspect", "ls", "cat", "edit", "write", "copy-out", "copy-in",
                             "mkdir", "rm", "mv", "chmod", "chown", "ln", "touch", "appliance", "doctor"}) {
        EXPECT_THAT(help, HasSubstr(std::string("  ") + name));
        EXPECT_THAT(insp_ok({name, "--help"}), HasSubstr(std::string("insp ") + name));
        // What is documented is installed: a manual page for each.
        EXPECT_TRUE(std::filesystem::exists(std::string(INSP_SOURCE_DIR) + "/man/insp-" + name + ".1.scd"))
            << name;
    }
    EXPECT_EQ(insp_ok({"--version"}), "insp " INSP_VERSION "\n");
}

TEST_F(Usage, WrongUsageIsTwo) {
    EXPECT_EQ(insp({}).code, kUsage);
    EXPECT_TRUE(refused(insp({"catt"}), kUsage, "cat"));
    EXPECT_TRUE(refused(insp({"virt-cat"}), kUsage, "cat"));
    EXPECT_TRUE(refused(insp({"cat", "/etc/fstab"}), kUsage, "-a"));
    EXPECT_TRUE(refused(insp({"cat", "-a", "x"}), kUsage, "operands"));
    EXPECT_TRUE(refused(insp({"cat", "--nonsense"}), kUsage, "--nonsense"));
    EXPECT_TRUE(refused(insp({"cat", "-a"}), kUsage, "-a"));
    EXPECT_TRUE(refused(insp({"cat", "-a", "x", "--format=raw", "/x"}), kUsage, "--format"));
    EXPECT_TRUE(refused(insp({"cat", "--blocksize=1000", "-a", "x", "/x"}), kUsage, "--blocksize"));
    EXPECT_TRUE(
        refused(insp({"cat", "-a", "x", "-m", "/dev/sda", "--root", "/dev/sda", "/x"}), kUsage, "--root"));
    EXPECT_TRUE(refused(insp({"ls", "-a", "x", "--csv", "-h", "/"}), kUsage, "--csv"));
    EXPECT_TRUE(refused(insp({"edit", "-a", "x", "-e", "", "/x"}), kUsage, "expression"));
    EXPECT_TRUE(refused(insp({"edit", "--ro", "-a", "x", "-e", "s/a/b/", "/x"}), kUsage, "--ro"));
    EXPECT_TRUE(refused(insp({"write", "-a", "x", "--mode", "rw", "/x"}), kUsage, "--mode"));
    EXPECT_TRUE(refused(insp({"touch", "-a", "x", "--date", "someday", "/x"}), kUsage, "--date"));
    EXPECT_TRUE(refused(insp({"appliance", "burn"}), kUsage, "burn"));
    EXPECT_TRUE(refused(insp({"doctor", "operand"}), kUsage, "operand"));
}

// The error is also what a program can read.
TEST_F(Usage, ErrorsAsJson) {
    Outcome outcome = insp({"ls", "--json", "-a", "/nonexistent/image", "/"});
    EXPECT_TRUE(refused(outcome, kFailed, "/nonexistent/image"));
    nlohmann::json answer = nlohmann::json::parse(outcome.out, nullptr, false);
    ASSERT_FALSE(answer.is_discarded()) << outcome.describe();
    EXPECT_EQ(answer.at("error").at("kind"), "not-found");
}

TEST_F(Usage, FormatsThatAreNotKnown) {
    write_host_file(scratch() / "disk", std::string(65536, '\0'));
    EXPECT_TRUE(
        refused(insp({"cat", "--format=nonsense", "-a", scratch() / "disk", "/x"}), kUsage, "nonsense"));
}

}  // namespace
}  // namespace inspect::test
