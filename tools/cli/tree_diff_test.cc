// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/tree_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace inspect::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

DirectoryEntry entry(const std::string& path, uint32_t mode, uint64_t size) {
    DirectoryEntry result;
    result.path = path;
    result.stat.mode = mode;
    result.stat.size = size;
    return result;
}

TEST(TreeDiff, FieldsThatDiffer) {
    FileStat a;
    a.mode = S_IFREG | 0644;
    a.size = 1;
    FileStat b = a;
    EXPECT_THAT(changed_fields(a, b, true), IsEmpty());
    b.mode = S_IFREG | 0600;
    b.uid = 7;
    b.size = 2;
    b.mtime_ns = 5;
    EXPECT_THAT(changed_fields(a, b, false), ElementsAre("mode", "uid", "size"));
    EXPECT_THAT(changed_fields(a, b, true), ElementsAre("mode", "uid", "size", "mtime"));
    a.mode = b.mode = S_IFDIR | 0755;
    EXPECT_THAT(changed_fields(a, b, true), ElementsAre("uid"));
    a.mode = b.mode = S_IFLNK | 0777;
    b = a;
    b.link_target = "x";
    EXPECT_THAT(changed_fields(a, b, true), ElementsAre("target"));
}

TEST(TreeDiff, InTheOrderOfThePaths) {
    std::vector<DirectoryEntry> before = {entry("z", S_IFREG, 1), entry("a", S_IFREG, 1),
                                          entry("m", S_IFREG, 1)};
    std::vector<DirectoryEntry> after = {entry("m", S_IFREG, 2), entry("b", S_IFREG, 1),
                                         entry("a", S_IFREG, 1)};
    std::string seen;
    compare_trees(before, after, false, [&](const TreeChange& change) {
        seen += change.kind + (change.after ? change.after : change.before)->path + " ";
    });
    EXPECT_EQ(seen, "+b =m -z ");
}

}  // namespace
}  // namespace inspect::cli
