// SPDX-License-Identifier: GPL-2.0-or-later
//
// For the tests of what insp mounts on a directory of the host.
#pragma once

#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>

#include "support/insp.h"

namespace inspect::test {

// Skipped where there is no FUSE.
class HostMountTest : public InspTest {
  protected:
    void SetUp() override {
        InspTest::SetUp();
        if (access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/fuse is missing or not permitted";
        if (geteuid() != 0 && !have_program("fusermount3")) GTEST_SKIP() << "fusermount3 is not installed";
        directory_ = scratch() / "mnt";
        std::filesystem::create_directory(directory_);
        std::filesystem::create_directory(scratch() / "run");
        std::filesystem::permissions(scratch() / "run", std::filesystem::perms::owner_all);
    }
    void TearDown() override {
        umount2(directory_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);  // of a test that failed
        InspTest::TearDown();
    }

    std::filesystem::path directory_;  // empty; "run" beside it is for XDG_RUNTIME_DIR
};

}  // namespace inspect::test
