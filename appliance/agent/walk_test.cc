// SPDX-License-Identifier: GPL-2.0-or-later
#include "walk.h"

#include <dirent.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "agent_harness.h"

namespace inspect::agent {
namespace {

Fd open_directory(const std::string& path) { return open_file(path, O_RDONLY | O_DIRECTORY); }

TEST(SortedDirectory, GivesAllNamesInOrderWhateverItMayHold) {
    TemporaryDirectory directory;
    std::vector<std::string> expected;
    for (int i = 0; i < 100; ++i) {
        expected.push_back("name-" + std::to_string(i * 7919 % 10007));
        write_text(directory / expected.back(), "");
    }
    expected.push_back("\xff\xfe");  // bytes, not characters
    write_text(directory / expected.back(), "");
    std::sort(expected.begin(), expected.end());
    for (size_t budget : {1u, 200u, 2000u, 1000000u}) {
        SortedDirectory names(open_directory(directory.path()), directory.path(), budget);
        std::vector<std::string> seen;
        while (std::optional<DirectoryName> name = names.next()) seen.push_back(name->name);
        EXPECT_EQ(seen, expected) << "budget " << budget;
    }
}

TEST(Walk, IsDepthFirstAndSorted) {
    TemporaryDirectory top;
    for (const char* path : {"b/x/deep", "a", "b/a"}) std::filesystem::create_directories(top / path);
    write_text(top / "b/file", "");
    write_text(top / "a.txt", "");
    std::filesystem::create_directory_symlink("b", top / "link");
    std::vector<std::string> seen;
    walk(open_directory(top.path()), top.path(),
         {[&](const WalkEntry& entry) {
              seen.push_back("+" + entry.path);
              return true;
          },
          [&](const WalkEntry& entry) { seen.push_back("-" + entry.path); },
          [&](const std::string& path, const std::string& why, int) { seen.push_back("!" + path + why); }});
    EXPECT_EQ(seen, (std::vector<std::string>{"+a", "-a", "+a.txt", "+b", "+b/a", "-b/a", "+b/file", "+b/x",
                                              "+b/x/deep", "-b/x/deep", "-b/x", "-b", "+link"}));
}

TEST(Walk, ReportsWhatIsTooDeepAndGoesOn) {
    TemporaryDirectory top;
    Fd at = open_directory(top.path());
    constexpr int kDepth = 1100;
    for (int i = 0; i < kDepth; ++i) {
        ASSERT_EQ(::mkdirat(at.get(), "d", 0700), 0);
        at = Fd(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        ASSERT_TRUE(at);
    }
    at.reset();
    write_text(top / "e", "");
    int entered = 0;
    std::vector<std::string> errors;
    bool saw_e = false;
    walk(open_directory(top.path()), top.path(),
         {[&](const WalkEntry& entry) {
              ++entered;
              saw_e = saw_e || entry.path == "e";
              return true;
          },
          {},
          [&](const std::string&, const std::string& why, int) { errors.push_back(why); }});
    EXPECT_EQ(entered, 1001);
    EXPECT_TRUE(saw_e);
    ASSERT_EQ(errors.size(), 1u);
    EXPECT_NE(errors[0].find("nested too deeply"), std::string::npos);
    // The same walk, emptied from below, takes the tree away again.
    std::filesystem::remove_all(top / "d");
}

}  // namespace
}  // namespace inspect::agent
