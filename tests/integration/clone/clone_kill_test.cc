// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp clone --new-ids --sysprep, killed at any moment: under the clone's name there is nothing, or all of
// it; the source is unharmed; and what else is left has the names that the manual tells. INSP_TEST_KILLS: how
// often.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <regex>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class CloneKill : public ApplianceTest {
  protected:
    static int kills() {
        const char* text = getenv("INSP_TEST_KILLS");
        return text ? atoi(text) : 6;
    }
    Args clone() const {
        return command({"clone", "-q", "--format=raw", "--new-ids", "--sysprep", "--hostname", "--touch",
                        "/etc/customized", "-a", source_, "-o", target_});
    }
    fs::path folder() const { return scratch() / "clones"; }

    // Another program's opinion of a clone: whole, with identifiers and a name of its own.
    void expect_whole(const std::string& image) const {
        const json table = json::parse(run({"sfdisk", "-J", image}).out)["partitiontable"];
        EXPECT_NE(table["id"], source_id_);
        const std::string root = cut_out(image, 1);
        EXPECT_TRUE(ext_is_clean(root));
        EXPECT_EQ(debugfs(root, "cat /etc/hostname"), "clone\n");
        EXPECT_THAT(debugfs(root, "stat /etc/customized"), ::testing::HasSubstr("Type: regular"));
    }

    std::string source_, target_;
    json source_id_;
};

TEST_F(CloneKill, BySigkill) {
    source_ = copy_of("fake-debian", "source.img");
    target_ = folder() / "clone.img";
    source_id_ = json::parse(run({"sfdisk", "-J", source_}).out)["partitiontable"]["id"];
    const std::string before = sha256(source_);
    fs::create_directory(folder());
    const Outcome warmed = run(command({"appliance", "warm"}), environment());
    ASSERT_TRUE(warmed.ok()) << warmed.describe();
    const Outcome first = run(clone(), environment());
    ASSERT_TRUE(first.ok()) << first.describe();
    expect_whole(target_);

    const auto whole = static_cast<uint64_t>(first.seconds * 1e6);
    const std::regex told(R"(clone\.img\.insp-[0-9a-f]{8}(\.insp-journal)?)");
    std::mt19937_64 random(std::random_device{}());
    int complete = 0, left = 0;
    for (int i = 0; i < kills(); ++i) {
        fs::remove_all(folder());
        fs::create_directory(folder());
        // Every second time near the end, where the clone is changed and gets its name.
        const uint64_t from = i % 2 ? whole * 8 / 10 : 0;
        const uint64_t delay = from + random() % (whole * 105 / 100 - from);
        SCOPED_TRACE("after " + std::to_string(delay) + " of " + std::to_string(whole) + " us");
        Child child(clone(), environment());
        usleep(static_cast<useconds_t>(delay));
        child.kill(SIGKILL);
        const Outcome outcome = child.wait();
        EXPECT_TRUE(outcome.ok() || outcome.signal == SIGKILL) << outcome.describe();
        EXPECT_THAT(strays(), ::testing::IsEmpty());
        bool others = false;
        for (const auto& entry : fs::directory_iterator(folder())) {
            const std::string name = entry.path().filename();
            if (name == "clone.img") continue;
            others = true;
            EXPECT_TRUE(std::regex_match(name, told)) << name;
        }
        left += others;
        if (fs::exists(target_)) {
            EXPECT_FALSE(others);
            ++complete;
            expect_whole(target_);
        } else {
            EXPECT_FALSE(outcome.ok());
        }
        ASSERT_EQ(sha256(source_), before);
        // Neither the source nor the name is locked.
        if (i % 10 != 0) continue;
        fs::remove(target_);
        const Outcome again = run(clone(), environment());
        ASSERT_TRUE(again.ok()) << again.describe();
        expect_whole(target_);
    }
    printf("%d of %d clones were made; %d left something under another name\n", complete, kills(), left);
    fs::remove_all(folder());
}

}  // namespace
}  // namespace inspect::test
