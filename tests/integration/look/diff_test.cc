// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp diff and insp backup diff: what debugfs changed is what they tell.
#include "support/insp.h"

namespace inspect::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class Diff : public InspTest {
  protected:
    // A file less, one more, one with other permissions.
    static void change(const std::string& image) {
        run({"/usr/sbin/debugfs", "-w", "-f", "-", image},
            {.input = "rm /empty\nsymlink /new hello.txt\nset_inode_field /hello.txt mode 0100600\n"});
    }
};

TEST_F(Diff, TellsWhatWasChanged) {
    std::string before = guest("ext4"), after = copy_of("ext4");
    change(after);
    Args both{"diff", "-a", before, "-A", after, "-m", "/dev/sda"};
    EXPECT_EQ(insp_ok(both),
              "- - 0644          0 /empty\n"
              "- - 0644         13 /hello.txt\n"
              "+ - 0600         13 /hello.txt\n"
              "# changed: mode\n"
              "+ l 0777          9 /new -> hello.txt\n");
    both.emplace_back("--json");
    json changes = insp_json(both)["changes"];
    ASSERT_EQ(changes.size(), 3U);
    EXPECT_EQ(changes[1]["change"], "changed");
    EXPECT_EQ(changes[1]["fields"], json::array({"mode"}));
    EXPECT_EQ(insp_ok({"diff", "-a", before, "-A", before, "-m", "/dev/sda", "--times"}), "");
    Outcome one = insp({"diff", "-a", before, "-m", "/dev/sda"});
    EXPECT_EQ(one.code, kUsage);
    EXPECT_THAT(one.err, HasSubstr("-A"));
}

TEST_F(Diff, GenerationsOfABackup) {
    std::string image = copy_of("debian12-small");
    Options options = {.env = {{"RESTIC_REPOSITORY", scratch() / "repository"}, {"RESTIC_PASSWORD", "x"}}};
    insp_ok({"backup", "init"}, options);
    insp_ok({"backup", "create", "--name", "g", image}, options);
    insp_ok({"touch", "-a", image, "/new"}, options);
    insp_ok({"backup", "create", "--name", "g", image}, options);
    json snapshots = insp_json({"backup", "list", "--json"}, options);
    if (snapshots.is_object()) snapshots = snapshots["snapshots"];
    ASSERT_EQ(snapshots.size(), 2U) << snapshots;
    std::string first = snapshots[0]["id"], second = snapshots[1]["id"];
    EXPECT_THAT(insp_ok({"backup", "diff", first, second}, options), HasSubstr("/new\n"));
    EXPECT_EQ(insp_ok({"backup", "diff", second, second}, options), "");
}

}  // namespace
}  // namespace inspect::test
