// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/host_paths.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <inspect/error.h>

#include "base/temp_dir_for_test.h"

namespace inspect {
namespace {

TEST(HostPaths, Directories) {
    EXPECT_EQ(directory_of("/a/b"), "/a");
    EXPECT_EQ(directory_of("/b"), "/");
    EXPECT_EQ(directory_of("b"), ".");
    EXPECT_EQ(directory_of("a/b/"), "a/b");
}

TEST(HostPaths, MakesDirectoriesThatAreTheUsersAlone) {
    const TempDir dir;
    const std::string path = dir.file("a/b/c");
    make_directories(path, "a test");
    make_directories(path, "a test");
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0700U);
    ASSERT_EQ(::close(::creat(dir.file("file").c_str(), 0600)), 0);
    EXPECT_THROW(make_directories(dir.file("file/d"), "a test"), Error);
}

TEST(HostPaths, EmptyVariablesAreNone) {
    ::setenv("INSP_TEST_VARIABLE", "x", 1);
    EXPECT_EQ(environment("INSP_TEST_VARIABLE"), "x");
    ::setenv("INSP_TEST_VARIABLE", "", 1);
    EXPECT_EQ(environment("INSP_TEST_VARIABLE"), "");
    ::unsetenv("INSP_TEST_VARIABLE");
    EXPECT_EQ(environment("INSP_TEST_VARIABLE"), "");
}

}  // namespace
}  // namespace inspect
