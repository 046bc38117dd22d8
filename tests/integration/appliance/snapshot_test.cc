// SPDX-License-Identifier: GPL-2.0-or-later
//
// The warm start: made once, by whoever is first; distrusted when torn; without it a cold boot, always.
#include <sys/stat.h>

#include <fstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

class Snapshot : public KvmTest {
  protected:
    void SetUp() override {
        KvmTest::SetUp();
        cache_ = scratch() / "cache";
    }
    Options own_cache() const { return environment({.env = {{"INSP_CACHE_DIR", cache_}}}); }
    Args cat() const { return {"cat", "--stats=json", "-a", guest("ext4"), "-m", "/dev/sda", "/hello.txt"}; }
    // Runs cat with the test's own cache; true if it was a warm start.
    bool cat_is_warm(const Args& extra = {}) const {
        Args args = cat();
        args.insert(args.begin() + 1, extra.begin(), extra.end());
        Outcome outcome = insp(args, own_cache());
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        EXPECT_EQ(outcome.out, "hello, guest\n");
        size_t at = outcome.err.find("{\"warm\"");
        if (at == std::string::npos) {
            ADD_FAILURE() << "no statistics: " << outcome.describe();
            return false;
        }
        return json::parse(outcome.err.substr(at)).at("warm");
    }
    json snapshots() const { return insp_json({"appliance", "info", "--json"}, own_cache()).at("snapshots"); }
    // The warm snapshot that the tests share, in this test's own cache.
    void take_shared_snapshot() {
        insp_ok({"appliance", "warm"});
        fs::copy(fs::path(INSP_BUILD_DIR) / "tests/cache", cache_, fs::copy_options::recursive);
        fs::permissions(cache_, fs::perms::owner_all);
    }
    // The directory of the one that cat() starts from.
    fs::path current_snapshot() const {
        for (const json& snapshot : snapshots())
            if (snapshot.at("current")) return snapshot.at("path").get<std::string>();
        ADD_FAILURE() << "no snapshot is current";
        return {};
    }
    std::vector<fs::path> snapshot_files() const {
        std::vector<fs::path> found;
        for (const auto& entry : fs::recursive_directory_iterator(cache_)) {
            if (entry.is_regular_file() && entry.file_size() > 0) found.push_back(entry.path());
        }
        return found;
    }
    fs::path cache_;
};

TEST_F(Snapshot, ConcurrentFirstRunsMakeOne) {
    std::vector<std::unique_ptr<Child>> children;
    for (int i = 0; i < 3; i++) children.push_back(std::make_unique<Child>(command(cat()), own_cache()));
    for (auto& child : children) {
        Outcome outcome = child->wait();
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        EXPECT_EQ(outcome.out, "hello, guest\n");
    }
    json made = snapshots();
    ASSERT_EQ(made.size(), 1U) << made.dump();
    EXPECT_EQ(made[0].at("current"), true);
    EXPECT_EQ(fs::status(cache_).permissions() & fs::perms::all, fs::perms::owner_all);
    EXPECT_TRUE(cat_is_warm());

    EXPECT_THAT(insp_ok({"appliance", "clear"}, own_cache()), HasSubstr("Freed"));
    EXPECT_TRUE(snapshots().empty());
    for (const fs::path& file : snapshot_files()) EXPECT_LT(fs::file_size(file), 4096U) << file << " is left";
}

// With another size of memory it would be a snapshot of its own. (All that is done to the files is the same
// for both engines, and the other one boots sooner.)
TEST_F(Snapshot, NoSnapshotIsMadeWhenNotWanted) {
    engine_ = "auto";
    EXPECT_FALSE(cat_is_warm({"--memory", "384", "--no-snapshot"}));
    EXPECT_TRUE(!fs::exists(cache_) || snapshots().empty());
}

// Whoever reads it must neither crash (SIGBUS) nor hang, and makes it anew.
TEST_F(Snapshot, TornFilesAreNoticed) {
    engine_ = "auto";
    take_shared_snapshot();
    ASSERT_TRUE(cat_is_warm());
    const fs::path memory = current_snapshot() / "memory";
    const uintmax_t size = fs::file_size(memory);
    fs::resize_file(memory, size / 2);
    cat_is_warm();
    EXPECT_EQ(fs::file_size(memory), size) << "made anew by the one who found it";
    EXPECT_TRUE(cat_is_warm());
}

// (By the same code for both engines, and what "auto" takes boots sooner.)
TEST_F(Snapshot, DamagedStateIsNoticed) {
    engine_ = "auto";
    for (const std::string name : {"state", "key", "sum"}) {
        SCOPED_TRACE(name);
        fs::remove_all(cache_);
        take_shared_snapshot();
        ASSERT_TRUE(cat_is_warm());
        const fs::path file = current_snapshot() / name;
        constexpr std::string_view kGarbage = "garbage!garbage!";
        std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(static_cast<std::streamoff>(fs::file_size(file) / 2));
        stream << kGarbage;
        stream.close();
        ASSERT_NE(read_host_file(file).find(kGarbage), std::string::npos);
        cat_is_warm();
        EXPECT_EQ(read_host_file(file).find(kGarbage), std::string::npos)
            << "made anew by the one who found it";
        EXPECT_TRUE(cat_is_warm());
    }
}

TEST_F(Snapshot, ApplianceAndDoctor) {
    insp_ok({"appliance", "warm"});
    json info = insp_json({"appliance", "info", "--json"});
    EXPECT_FALSE(info.at("kernel").get<std::string>().empty());
    EXPECT_GT(info.at("size_bytes"), 1 << 20);
    EXPECT_TRUE(info.at("manifest").is_object());
    EXPECT_THAT(info.at("manifest").dump(), HasSubstr("e2fsprogs"));
    EXPECT_THAT(insp_ok({"appliance", "info"}), HasSubstr("current)"));

    Outcome doctor = insp({"doctor", "--json"});
    EXPECT_TRUE(doctor.ok()) << doctor.describe();
    json checks = json::parse(doctor.out).at("checks");
    std::vector<std::string> names;
    for (const json& check : checks) {
        names.push_back(check.at("name"));
        EXPECT_NE(check.at("status"), "failed") << check.dump();
    }
    EXPECT_THAT(names, ::testing::Contains("kvm"));
}

// The promise of the README: little memory, little time outside of the guest.
TEST_F(Snapshot, Statistics) {
    Outcome outcome = insp(cat());
    ASSERT_TRUE(outcome.ok()) << outcome.describe();
    json stats = json::parse(outcome.err);
    EXPECT_LT(stats.at("peak_rss_bytes"), 64U << 20);
    EXPECT_LT(outcome.peak_rss_bytes, 64U << 20);
    EXPECT_GT(stats.at("run_ns"), 0);
    EXPECT_GT(stats.at("block_requests"), 0);
    EXPECT_GT(stats.at("pages_touched"), 0);
    EXPECT_THAT(insp({"cat", "--stats", "-a", guest("ext4"), "-m", "/dev/sda", "/hello.txt"}).err,
                HasSubstr("KVM_RUN"));
}

TEST_F(Snapshot, TooLittleMemory) {
    EXPECT_TRUE(refused(insp({"cat", "--memory", "1", "-a", guest("ext4"), "-m", "/dev/sda", "/x"}), kUsage,
                        "memory"));
}

}  // namespace
}  // namespace inspect::test
