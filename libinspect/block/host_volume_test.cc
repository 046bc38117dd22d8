// SPDX-License-Identifier: LGPL-2.1-or-later
//
// lvm by programs that were made up: what they are told, and what is made of what they say.
#include "block/host_volume.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdlib>

#include "base/temp_dir_for_test.h"
#include "base/units.h"
#include "block/journal_file.h"

namespace inspect {
namespace {

using ::testing::HasSubstr;

class HostVolumeTest : public ::testing::Test {
  protected:
    void SetUp() override {
        path_ = std::getenv("PATH");
        ::setenv("PATH", (dir_.path() + ":" + path_).c_str(), 1);
        program("lvs", "cat '" + dir_.path() + "/report'");
        for (const char* name : {"lvextend", "lvreduce"}) program(name, "");
    }
    void TearDown() override { ::setenv("PATH", path_.c_str(), 1); }

    // One that writes down what it was told.
    void program(const std::string& name, const std::string& commands) {
        std::ofstream(dir_.file(name))
            << "#!/bin/sh\necho \"" << name << " $*\" >>'" << dir_.file("told") << "'\n"
            << commands << "\n";
        ASSERT_EQ(::chmod(dir_.file(name).c_str(), 0755), 0);
    }
    static std::string row(const std::string& layout, const std::string& role, const std::string& pool = "",
                           const std::string& stripes = "1") {
        return R"({"vg_name":"vg","lv_name":"lv","lv_layout":")" + layout + R"(","lv_role":")" + role +
               R"(","lv_size":"104857600","pool_lv":")" + pool + R"(","stripes":")" + stripes +
               R"(","vg_extent_size":"4194304","vg_free":"41943040"})";
    }
    void report(const std::string& rows) const {
        std::ofstream(dir_.file("report")) << R"({"report":[{"seg":[)" << rows << "]}]}";
    }
    std::optional<HostVolume> find() const { return find_host_volume(makedev(253, 7), "/dev/vg/lv"); }
    std::string told() const {
        std::ifstream in(dir_.file("told"));
        return {std::istreambuf_iterator<char>(in), {}};
    }

    TempDir dir_;
    std::string path_;
};

TEST_F(HostVolumeTest, FindsOneByItsNumber) {
    report(row("linear", "public"));
    const auto volume = find();
    ASSERT_TRUE(volume);
    EXPECT_EQ(volume->full_name(), "vg/lv");
    EXPECT_EQ(volume->size, 100 * kMiB);
    EXPECT_EQ(volume->unit, 4 * kMiB);
    EXPECT_EQ(volume->room, 40 * kMiB);
    EXPECT_FALSE(volume->thin);
    EXPECT_EQ(volume->obstacle, "");
    EXPECT_THAT(told(), HasSubstr("--select lv_kernel_major=253 && lv_kernel_minor=7\n"));
    report("");
    EXPECT_FALSE(find());
}

TEST_F(HostVolumeTest, RefusesWhatItCannotResize) {
    const auto refused = [&](const std::string& text, const std::string& why) {
        report(text);
        expect_error(ErrorKind::kUnsupported, why, [&] { require_resizable(*find(), 104 * kMiB); });
    };
    refused(row("linear", "public,origin,thickorigin"), "has snapshots");
    refused(row("linear", "public,snapshot,thicksnapshot"), "is a snapshot");
    refused(row("raid,raid1", "public"), "'raid,raid1'");
    report(row("linear", "public"));
    expect_error(ErrorKind::kUnsupported, "multiple of 4194304",
                 [&] { require_resizable(*find(), 101 * kMiB); });
    expect_error(ErrorKind::kNoSpace, "40 MiB free", [&] { require_resizable(*find(), 144 * kMiB); });
    require_resizable(*find(), 140 * kMiB);
    require_resizable(*find(), 4 * kMiB);
}

TEST_F(HostVolumeTest, StripesGrowTogether) {
    report(row("striped", "public", "", "1") + "," + row("striped", "public", "", "3"));
    EXPECT_EQ(find()->unit, 12 * kMiB);
}

TEST_F(HostVolumeTest, AThinPoolPromisesNoMoreThanItHas) {
    // One report for both questions: this volume and another of 100 MiB each in a pool of 256.
    const std::string pool = R"({"lv_name":"pool","lv_size":"268435456","pool_lv":""},)"
                             R"({"lv_name":"other","lv_size":"104857600","pool_lv":"pool"})";
    report(row("thin,sparse", "public,snapshot,thinsnapshot", "pool", "0") + "," + pool);
    const auto volume = find();
    ASSERT_TRUE(volume && volume->thin);
    require_resizable(*volume, 156 * kMiB);
    expect_error(ErrorKind::kNoSpace, "lvextend -L +5M vg/pool",
                 [&] { require_resizable(*volume, 160 * kMiB); });
}

TEST_F(HostVolumeTest, TellsLvmTheSize) {
    report(row("linear", "public"));
    const auto resize = [](uint64_t size) { resize_host_volume(makedev(253, 7), "/dev/vg/lv", size); };
    resize(104 * kMiB);
    EXPECT_THAT(told(), HasSubstr("\nlvextend --quiet --yes --size 109051904b vg/lv\n"));
    resize(96 * kMiB);
    EXPECT_THAT(told(), HasSubstr("\nlvreduce --fs ignore --quiet --yes --size 100663296b vg/lv\n"));
    // An lvm before 2.03.17.
    program("lvreduce", "[ \"$1\" != --fs ] || exit 3");
    resize(92 * kMiB);
    EXPECT_THAT(told(), HasSubstr("\nlvreduce --quiet --yes --size 96468992b vg/lv\n"));
    const std::string before = told();
    resize(100 * kMiB);
    EXPECT_EQ(told().find("lvextend", before.size()), std::string::npos) << "it has that size";
}

TEST_F(HostVolumeTest, SaysWhatLvmSaid) {
    report(row("linear", "public"));
    const auto grow = [] { resize_host_volume(makedev(253, 7), "/dev/vg/lv", 104 << 20); };
    program("lvextend", "echo '  Insufficient free space: 1 extents needed' >&2; exit 5");
    expect_error(ErrorKind::kNoSpace, "vg/lv 109051904 bytes large: Insufficient free space", grow);
    program("lvextend", "exit 5");
    expect_error(ErrorKind::kInternal, "ended with status 5", grow);
    report("");
    expect_error(ErrorKind::kUnsupported, "no logical volume", grow);
    std::ofstream(dir_.file("report")) << "nonsense";
    expect_error(ErrorKind::kInternal, "no report", grow);
    report(R"({"vg_name":"vg","lv_name":"lv","lv_size":"-1"})");
    expect_error(ErrorKind::kInternal, "'-1'", grow);
    ::setenv("PATH", "/nowhere", 1);
    expect_error(ErrorKind::kNotFound, "package lvm2", grow);
}

// Numbers of the device mapper's devices are given out anew at each boot.
TEST_F(HostVolumeTest, AJournalFindsItsVolumeAfterABoot) {
    std::filesystem::create_directories(dir_.file("253:7/dm"));
    std::ofstream(dir_.file("253:7/dm/uuid")) << "LVM-AbCd/../x\n";
    EXPECT_EQ(lasting_device_name(makedev(253, 7), dir_.path()), "LVM-AbCd____x");
    EXPECT_EQ(lasting_device_name(makedev(8, 1), dir_.path()), "8-1");
}

}  // namespace
}  // namespace inspect
