// SPDX-License-Identifier: GPL-2.0-or-later
//
// File systems that mkfs.xfs made, made again as mkfs_xfs_like() says; xfs_db compares the superblocks.
#include "xfs_recreate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "agent_harness.h"
#include "base/units.h"
#include "failure.h"

namespace inspect::agent {
namespace {

using Superblock = std::array<uint8_t, kXfsSuperblockSize>;

class XfsRecreate : public testing::Test {
  protected:
    void SetUp() override {
        if (std::system("command -v mkfs.xfs >/dev/null 2>&1") != 0)
            GTEST_SKIP() << "mkfs.xfs is not installed";
    }
    static void run(const std::string& command) { EXPECT_EQ(std::system(command.c_str()), 0) << command; }
    static Superblock superblock_of(const std::string& image) {
        const std::string text = read_text(image).substr(0, kXfsSuperblockSize);
        Superblock superblock;
        std::copy(text.begin(), text.end(), superblock.begin());
        return superblock;
    }
    // What stays: all but sizes, places and counts.
    std::string features(const std::string& image) {
        const std::string out = directory_ / "out";
        run("xfs_db -r -c 'sb 0' -c 'p uuid fname versionnum features2 features_compat features_ro_compat "
            "features_incompat blocksize sectsize inodesize dirblklog unit width' " +
            image + " >" + out);
        return read_text(out);
    }
    void expect_same(const std::string& options) {
        const std::string old = directory_ / "old", made = directory_ / "made";
        for (const std::string& image : {old, made}) {
            write_text(image, "");
            std::filesystem::resize_file(image, 320 * kMiB);
        }
        run("mkfs.xfs -q " + options + " " + old);
        std::string command;
        for (const std::string& argument : mkfs_xfs_like(superblock_of(old), made, 310 * kMiB))
            command += "'" + argument + "' ";
        run(command + "2>/dev/null");  // of version 4 it says that it is old
        EXPECT_EQ(features(made), features(old)) << options;
        run("xfs_db -r -c 'sb 0' -c 'p dblocks' " + made + " | grep -q " +
            std::to_string(310 * kMiB / (options.find("size=1024") == options.npos ? 4096 : 1024)));
    }
    TemporaryDirectory directory_;
};

TEST_F(XfsRecreate, KeepsWhatItIs) {
    expect_same("-m uuid=00000007-0007-4007-8007-000000000007,reflink=0,bigtime=0 -i sparse=0");
    expect_same("-m rmapbt=1 -b size=1024 -n size=8192 -L 'with blank'");
    expect_same("-m crc=0,finobt=0 -n ftype=0 2>/dev/null");
}

TEST_F(XfsRecreate, RefusesWhatWouldBeLost) {
    const std::string image = directory_ / "image";
    write_text(image, "");
    std::filesystem::resize_file(image, 320 * kMiB);
    run("mkfs.xfs -q " + image);
    auto refused = [&](size_t offset, std::initializer_list<uint8_t> bytes) {
        Superblock superblock = superblock_of(image);
        std::copy(bytes.begin(), bytes.end(), superblock.begin() + static_cast<long>(offset));
        EXPECT_THROW(mkfs_xfs_like(superblock, "/dev/x", 310 * kMiB), Failure) << offset;
    };
    EXPECT_NO_THROW(mkfs_xfs_like(superblock_of(image), "/dev/x", 310 * kMiB));
    refused(0, {'x'});
    refused(16, {1});                       // realtime blocks
    refused(48, {0, 0, 0, 0, 0, 0, 0, 0});  // the log's start
    refused(176, {0, 1});                   // quotas
    refused(4, {0, 0, 0, 0});               // the block's size
    refused(216, {0xff, 0, 0, 1});          // features
    refused(192, {200});                    // the directory block's size
}

}  // namespace
}  // namespace inspect::agent
