// SPDX-License-Identifier: GPL-2.0-or-later
//
// The engine qemu: the same appliance without KVM, the same answers and the same care for images. And how an
// engine is chosen.
#include <signal.h>
#include <unistd.h>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uid_t kNobody = 65534;

class Engine : public InspTest {
  protected:
    void SetUp() override {
        InspTest::SetUp();
        if (!INSP_APPLIANCE_BUILT) GTEST_SKIP() << "the appliance is not built (INSP_APPLIANCE=OFF)";
        if (!have_program("qemu-system-x86_64")) GTEST_SKIP() << "qemu-system-x86_64 is not installed";
    }
    static Options qemu(Options options = {}) {
        options.env.try_emplace("INSP_ENGINE", "qemu");
        return options;
    }
    // The engine that a successful command's --stats=json names.
    static std::string engine_of(const Outcome& outcome) {
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        const size_t at = outcome.err.find("{\"warm\"");
        if (at == std::string::npos) return "no statistics: " + outcome.describe();
        return json::parse(outcome.err.substr(at)).at("engine");
    }
    static Args cat(const Args& extra = {}, const std::string& image = guest("ext4")) {
        Args args{"cat", "--stats=json", "-a", image, "-m", "/dev/sda", "/hello.txt"};
        args.insert(args.begin() + 1, extra.begin(), extra.end());
        return args;
    }
};

TEST_F(Engine, IsTheOneThatIsAskedFor) {
    Outcome outcome = insp(cat({"--engine=qemu"}));
    EXPECT_EQ(outcome.out, "hello, guest\n");
    EXPECT_EQ(engine_of(outcome), "qemu");
    EXPECT_EQ(engine_of(insp(cat(), qemu())), "qemu");
    EXPECT_EQ(engine_of(insp(cat({"--engine", "qemu"}), {.env = {{"INSP_ENGINE", "kvm"}}})), "qemu");
    if (!kvm_is_usable()) GTEST_SKIP() << "/dev/kvm is missing or not permitted";
    EXPECT_EQ(engine_of(insp(cat({"--engine=kvm"}), qemu())), "kvm");
}

TEST_F(Engine, NonsenseIsWrongUsage) {
    EXPECT_TRUE(refused(insp(cat({"--engine=nonsense"})), kUsage, "nonsense"));
    EXPECT_TRUE(refused(insp(cat(), {.env = {{"INSP_ENGINE", "nonsense"}}}), kUsage, "INSP_ENGINE"));
    EXPECT_TRUE(refused(insp({"appliance", "info", "--engine=nonsense"}), kUsage, "nonsense"));
}

TEST_F(Engine, MissingQemuNamesThePackage) {
    const Options without = qemu({.env = {{"INSP_QEMU", scratch() / "nothing"}}});
    const Args plain = {"cat", "-a", guest("ext4"), "-m", "/dev/sda", "/hello.txt"};
    EXPECT_TRUE(refused(insp(plain, without), kFailed, "qemu-system-x86"));
    EXPECT_EQ(insp({"doctor"}, without).code, kFailed);
    // A program that isn't QEMU is one that failed, with what it said.
    const fs::path other = scratch() / "other";
    write_host_file(other, "#!/bin/sh\necho 'I am no QEMU' >&2\nexit 1\n");
    fs::permissions(other, fs::perms::owner_all);
    EXPECT_TRUE(refused(insp(plain, qemu({.env = {{"INSP_QEMU", other}}})), kFailed, "I am no QEMU"));
}

TEST_F(Engine, WithoutKvmItIsQemu) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can run insp as somebody else";
    fs::permissions(scratch(), fs::perms::all);
    fs::permissions(scratch() / "tmp", fs::perms::all);
    const Options nobody{.env = {{"INSP_CACHE_DIR", scratch() / "cache"}, {"INSP_ENGINE", ""}},
                         .user = kNobody};
    const std::string image = copy_of("ext4");  // where everybody may read it
    fs::permissions(image, fs::perms::all);
    Outcome outcome = insp(cat({}, image), nobody);
    if (outcome.code == 127) GTEST_SKIP() << "the build directory is not readable for everybody";
    EXPECT_EQ(outcome.out, "hello, guest\n");
    EXPECT_EQ(engine_of(outcome), "qemu");
    EXPECT_THAT(insp({"doctor"}, nobody).out, HasSubstr("qemu, because"));
}

// A restored appliance is one like any other; a snapshot that is torn is noticed and made anew.
TEST_F(Engine, StartsWarm) {
    const Options own = qemu({.env = {{"INSP_CACHE_DIR", scratch() / "cache"}}});
    auto is_warm = [&](const Args& extra = {}) {
        Outcome outcome = insp(cat(extra), own);
        EXPECT_EQ(outcome.out, "hello, guest\n");
        EXPECT_EQ(engine_of(outcome), "qemu");
        return json::parse(outcome.err.substr(outcome.err.find("{\"warm\""))).at("warm").get<bool>();
    };
    EXPECT_TRUE(is_warm());  // made by itself
    EXPECT_FALSE(is_warm({"--no-snapshot"}));
    const json info = insp_json({"appliance", "info", "--json"}, own);
    ASSERT_EQ(info.at("snapshots").size(), 1U);
    EXPECT_EQ(info.at("snapshots")[0].at("current"), true);
    EXPECT_THAT(insp_ok({"appliance", "warm"}, own), HasSubstr("already"));
    for (const char* name : {"state", "memory"}) {
        for (const auto& entry : fs::recursive_directory_iterator(scratch() / "cache")) {
            if (entry.path().filename() == name) fs::resize_file(entry.path(), entry.file_size() / 2);
        }
        EXPECT_TRUE(is_warm()) << "made anew after its " << name << " was cut";
    }
    EXPECT_TRUE(is_warm());
}

TEST_F(Engine, EditsAsTheOtherOneDoes) {
    std::string image = copy_of("metadata");
    insp_ok({"edit", "-a", image, "-m", "/dev/sda", "-b", ".orig", "-e", "s/first/changed/", "/dir/file"},
            qemu());
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(debugfs(image, "cat /dir/file"), "changed line\nsecond line\n");
    EXPECT_EQ(debugfs(image, "cat /dir/file.orig"), "first line\nsecond line\n");
    // What fails changes nothing.
    const std::string before = sha256(image);
    EXPECT_TRUE(refused(insp({"edit", "-a", image, "-m", "/dev/sda", "-e", "s/a/b/", "/missing"}, qemu()),
                        kFailed, "/missing"));
    EXPECT_EQ(sha256(image), before);
}

TEST_F(Engine, CopiesBothWays) {
    std::string image = copy_of("large");
    fs::create_directory(scratch() / "out");
    std::string contents(9 << 20, '\0');
    for (size_t i = 0; i < contents.size(); ++i) contents[i] = static_cast<char>(i * 2654435761U >> 13);
    write_host_file(scratch() / "new", contents);
    insp_ok({"copy-in", "-a", image, "-m", "/dev/sda", scratch() / "new", "/"}, qemu());
    EXPECT_TRUE(ext_is_clean(image));
    const fs::path dumped = scratch() / "dumped";
    debugfs(image, "dump /new " + dumped.string());
    EXPECT_TRUE(read_host_file(dumped) == contents);
    insp_ok({"copy-out", "-a", image, "-m", "/dev/sda", "/new", scratch() / "out"}, qemu());
    EXPECT_TRUE(same_bytes(scratch() / "out/new", scratch() / "new"));
}

TEST_F(Engine, SixDisksEachInItsPlace) {
    Args args{"filesystems", "--long", "--no-title"};
    for (const char* name : {"ext4", "xfs", "vfat", "ext2", "odd-size"})
        args.insert(args.end(), {"-a", guest(name)});
    args.insert(args.end(), {"--blocksize=4096", "-a", guest("gpt-4k")});
    std::istringstream rows(insp_ok(args, qemu()));
    std::vector<std::string> found;
    for (std::string device, kind, type, rest; rows >> device >> kind >> type && std::getline(rows, rest);)
        found.push_back(device + " " + type);
    EXPECT_THAT(found,
                ::testing::ElementsAre("/dev/sda ext4", "/dev/sdb xfs", "/dev/sdc vfat", "/dev/sdd ext2",
                                       "/dev/sde ext4", "/dev/sdf1 ext4", "/dev/sdf2 vfat"));
    args.insert(args.end(), {"-a", guest("ext3")});
    EXPECT_TRUE(refused(insp(args, qemu()), kUsage, "at most 6"));
}

TEST_F(Engine, TheTailOfAnOddImage) {
    std::string image = copy_of("odd-size");
    insp_ok({"write", "-a", image, "-m", "/dev/sda", "/new"}, qemu({.input = "x"}));
    EXPECT_EQ(fs::file_size(image), (8U << 20) + 100);
    EXPECT_EQ(read_host_file(image).substr(8 << 20), std::string(100, 't'));
    EXPECT_TRUE(ext_is_clean(image));
}

TEST_F(Engine, TheGuestsKernelPanics) {
    std::string image = copy_of("panics");
    Outcome outcome =
        insp({"write", "-a", image, "-m", "/dev/sda:/:errors=panic", "/dir/new"}, qemu({.input = "x"}));
    EXPECT_TRUE(refused(outcome, kFailed, "kernel panicked"));
    EXPECT_THAT(outcome.err, HasSubstr("Kernel panic")) << "the kernel's last lines are shown";
    EXPECT_LT(outcome.seconds, 30);
    EXPECT_TRUE(same_bytes(image, guest("panics")));
}

// QEMU is killed in the middle of an edit: an error, the image as before, nothing left.
TEST_F(Engine, QemuDies) {
    std::string image = copy_of("large");
    const fs::path killer = scratch() / "mortal";
    write_host_file(killer,
                    "#!/bin/sh\n(sleep 0.2; kill -9 $$) >/dev/null 2>&1 &\nexec qemu-system-x86_64 \"$@\"\n");
    fs::permissions(killer, fs::perms::owner_all);
    EXPECT_TRUE(refused(insp({"write", "-a", image, "-m", "/dev/sda", "/new"},
                             qemu({.input = "x", .env = {{"INSP_QEMU", killer}}})),
                        kFailed, "signal 9"));
    EXPECT_TRUE(same_bytes(image, guest("large")));
}

// insp itself is killed: TearDown() finds whatever it would leave behind.
TEST_F(Engine, NothingOutlivesAKilledInsp) {
    std::string image = copy_of("ext4");
    for (int delay_ms : {50, 150, 300, 600}) {
        Child child(command({"edit", "-a", image, "-m", "/dev/sda", "-e", "s/hello/bye/", "/hello.txt"}),
                    environment(qemu()));
        usleep(static_cast<useconds_t>(delay_ms) * 1000);
        child.kill(SIGKILL);
        child.wait();
        EXPECT_TRUE(ext_is_clean(image));
    }
}

TEST_F(Engine, MemoryIsWhatIsAskedFor) { EXPECT_EQ(engine_of(insp(cat({"--memory=256"}), qemu())), "qemu"); }

}  // namespace
}  // namespace inspect::test
