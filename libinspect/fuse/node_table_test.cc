// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/node_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/frame.h"

namespace inspect::fuse {
namespace {

using testing::Contains;
using testing::IsEmpty;

NodeStat stat_of(uint64_t inode, mode_t mode, nlink_t links = 1, uint64_t device = 1) {
    NodeStat stat;
    stat.device = device;
    stat.inode = inode;
    stat.attributes.st_mode = mode;
    stat.attributes.st_nlink = links;
    return stat;
}

class NodeTableTest : public testing::Test {
  protected:
    // As the kernel does: what it is told of it has looked up.
    Node& add(Node& parent, const std::string& name, uint64_t inode, mode_t mode = S_IFREG | 0644,
              nlink_t links = 1) {
        Node& node = table.remember(parent, name, stat_of(inode, mode, links));
        ++node.lookups;
        return node;
    }
    Node& add_directory(Node& parent, const std::string& name, uint64_t inode) {
        return add(parent, name, inode, S_IFDIR | 0755, 2);
    }
    // "SLOT:PATH", or "nowhere".
    std::string where(Node& node) {
        proto::Place place;
        if (!table.place(node, place)) return "nowhere";
        return std::to_string(place.slot()) + ":" + place.path();
    }

    NodeTable table{stat_of(2, S_IFDIR | 0755)};
};

TEST_F(NodeTableTest, PlacesAreNamesFromTheNearestOpenDirectory) {
    Node& a = add_directory(table.root(), "a", 10);
    Node& b = add_directory(a, "b", 11);
    Node& file = add(b, "file", 12);
    EXPECT_EQ(where(table.root()), "0:");
    EXPECT_EQ(where(file), "0:a/b/file");
    proto::Place place;
    bool fresh = false;
    ASSERT_TRUE(table.open_place(b, place, fresh));
    EXPECT_TRUE(fresh);
    EXPECT_EQ(place.path(), "a/b");
    EXPECT_EQ(place.keep(), b.slot);
    EXPECT_EQ(where(file), std::to_string(b.slot) + ":file");
    ASSERT_TRUE(table.open_place(b, place, fresh));
    EXPECT_FALSE(fresh);
}

TEST_F(NodeTableTest, ARenamedDirectoryTakesAlongWhatIsBelow) {
    Node& a = add_directory(table.root(), "a", 10);
    Node& b = add_directory(table.root(), "b", 11);
    Node& file = add(a, "file", 12);
    table.renamed(table.root(), "a", b, "new", false);
    EXPECT_EQ(where(file), "0:b/new/file");
    EXPECT_EQ(table.child(table.root(), "a"), nullptr);
    EXPECT_EQ(table.child(b, "new"), &a);
}

TEST_F(NodeTableTest, ExchangedNamesAreExchanged) {
    Node& a = add_directory(table.root(), "a", 10);
    Node& file = add(a, "file", 12);
    Node& other = add(table.root(), "other", 13);
    table.renamed(table.root(), "other", a, "file", true);
    EXPECT_EQ(where(file), "0:other");
    EXPECT_EQ(where(other), "0:a/file");
}

TEST_F(NodeTableTest, HardLinksAreOneNodeThatLivesAsLongAsAName) {
    Node& one = add(table.root(), "one", 20, S_IFREG, 2);
    Node& two = add(table.root(), "two", 20, S_IFREG, 2);
    EXPECT_EQ(&one, &two);
    table.removed(table.root(), "two");
    EXPECT_EQ(where(one), "0:one");
    table.removed(table.root(), "one");
    EXPECT_EQ(where(one), "nowhere");
}

TEST_F(NodeTableTest, ANumberThatIsGivenAgainIsAnotherFile) {
    Node& old = add(table.root(), "old", 20);
    table.removed(table.root(), "old");
    Node& fresh = add(table.root(), "fresh", 20);
    EXPECT_NE(&old, &fresh);
    EXPECT_NE(old.id, fresh.id);
}

TEST_F(NodeTableTest, APinnedFileIsReachedWithoutAName) {
    Node& file = add(table.root(), "file", 20);
    ASSERT_NE(table.take_slot(file), 0u);
    table.pin(file);
    table.removed(table.root(), "file");
    EXPECT_EQ(where(file), std::to_string(file.slot) + ":");
    uint32_t slot = file.slot;
    table.forget(file.id, 1);
    EXPECT_THAT(table.take_dropped(), Contains(slot));
}

TEST_F(NodeTableTest, APinThatWasForNothingIsTakenBack) {
    Node& file = add(table.root(), "file", 20);
    ASSERT_NE(table.take_slot(file), 0u);
    table.pin(file);
    table.unpin(file);
    for (uint64_t i = 0; i + 1 < protocol::kMaxTreeSlots; ++i)
        table.take_slot(add(table.root(), "f" + std::to_string(i), 100 + i));
    EXPECT_EQ(file.slot, 0u) << "its slot could be given to another";
}

TEST_F(NodeTableTest, WhatLosesItsNameIsNotKeptOpen) {
    Node& file = add(table.root(), "file", 20);
    uint32_t slot = table.take_slot(file);
    table.removed(table.root(), "file");
    EXPECT_THAT(table.take_dropped(), Contains(slot));
    EXPECT_EQ(where(file), "nowhere");
}

TEST_F(NodeTableTest, ReplacedByARenameIsAsRemoved) {
    Node& file = add(table.root(), "file", 20);
    Node& other = add(table.root(), "other", 21);
    table.renamed(table.root(), "other", table.root(), "file", false);
    EXPECT_EQ(where(other), "0:file");
    EXPECT_EQ(where(file), "nowhere");
}

TEST_F(NodeTableTest, SlotsAreTakenFromWhatWasUsedLongestAgoButNotFromPinnedOnes) {
    Node& pinned = add(table.root(), "pinned", 19);
    table.take_slot(pinned);
    table.pin(pinned);
    std::vector<Node*> nodes;
    for (uint64_t i = 0; i + 2 < protocol::kMaxTreeSlots; ++i) {
        nodes.push_back(&add(table.root(), "f" + std::to_string(i), 100 + i));
        ASSERT_NE(table.take_slot(*nodes.back()), 0u);
    }
    where(*nodes[0]);  // used again
    Node& last = add(table.root(), "last", 20);
    EXPECT_NE(table.take_slot(last), 0u);
    EXPECT_NE(nodes[0]->slot, 0u);
    EXPECT_EQ(nodes[1]->slot, 0u);
    EXPECT_NE(pinned.slot, 0u);
}

TEST_F(NodeTableTest, AReusedSlotIsNotClosed) {
    Node& file = add(table.root(), "file", 20);
    uint32_t slot = table.take_slot(file);
    table.drop_slot(file);
    Node& other = add(table.root(), "other", 21);
    EXPECT_EQ(table.take_slot(other), slot);
    EXPECT_THAT(table.take_dropped(), IsEmpty());
}

TEST_F(NodeTableTest, ForgottenNodesGoWithParentsThatNobodyElseNeeds) {
    Node& a = add_directory(table.root(), "a", 10);
    Node& b = add_directory(a, "b", 11);
    Node& file = add(b, "file", 12);
    table.forget(a.id, 1);
    table.forget(b.id, 1);
    EXPECT_EQ(where(file), "0:a/b/file");
    EXPECT_EQ(table.size(), 4u);
    table.forget(file.id, 1);
    EXPECT_EQ(table.size(), 1u);
}

// As SUSE's root is, which is a snapshot below itself.
TEST_F(NodeTableTest, ADirectoryInTwoPlacesIsTwo) {
    Node& snapshot = add_directory(table.root(), "snapshot", 2);
    EXPECT_NE(&snapshot, &table.root());
    EXPECT_NE(snapshot.shown_inode, table.root().shown_inode) << "who goes through the tree would see a loop";
    Node& etc = add_directory(table.root(), "etc", 10);
    Node& other = add_directory(snapshot, "etc", 10);
    EXPECT_NE(&etc, &other);
    EXPECT_EQ(&add_directory(snapshot, "etc", 10), &other);
    EXPECT_EQ(where(other), "0:snapshot/etc");
    // A file is one: what is written in one place is read in the other.
    EXPECT_EQ(&add(etc, "fstab", 20), &add(other, "fstab", 20));
    table.removed(etc, "fstab");
    EXPECT_EQ(table.child(other, "fstab"), nullptr);
}

TEST(NodeTable, WithoutCaseADirectoryIsKnownByItsLastSpelling) {
    NodeTable table(stat_of(2, S_IFDIR | 0755), {1});
    Node& a = table.remember(table.root(), "a", stat_of(10, S_IFDIR));
    ++a.lookups;
    EXPECT_EQ(&table.remember(table.root(), "A", stat_of(10, S_IFDIR)), &a);
    EXPECT_EQ(table.child(table.root(), "a"), nullptr);
    EXPECT_EQ(table.child(table.root(), "A"), &a);
    // A file has all of them until it is renamed.
    Node& file = table.remember(table.root(), "file", stat_of(20, S_IFREG));
    ++file.lookups;
    EXPECT_EQ(&table.remember(table.root(), "FILE", stat_of(20, S_IFREG)), &file);
    table.renamed(table.root(), "file", table.root(), "other", false);
    EXPECT_EQ(table.child(table.root(), "FILE"), nullptr);
    EXPECT_EQ(table.child(table.root(), "other"), &file);
}

TEST_F(NodeTableTest, ANodeOfAnotherTypeIsAnotherNode) {
    Node& file = add(table.root(), "file", 20);
    EXPECT_NE(&table.remember(table.root(), "other", stat_of(20, S_IFLNK)), &file);
}

TEST_F(NodeTableTest, FileSystemsAreToldApartByInodeNumbers) {
    EXPECT_EQ(table.shown_inode(1, 77), 77u);
    EXPECT_NE(table.shown_inode(2, 77), 77u);
    EXPECT_NE(table.shown_inode(2, 77), table.shown_inode(3, 77));
}

TEST(NodeStat, WhatNoFileHasIsRefused) {
    proto::FileStat wire;
    wire.set_inode(5);
    wire.set_mode(S_IFREG | 0644);
    EXPECT_TRUE(checked_stat(wire));
    wire.set_size(uint64_t{1} << 63);
    EXPECT_FALSE(checked_stat(wire));
    wire.set_size(0);
    wire.set_mode(0644);
    EXPECT_FALSE(checked_stat(wire));
    wire.set_mode(S_IFREG | 0x10000);
    EXPECT_FALSE(checked_stat(wire));
    wire.set_mode(S_IFLNK | 0777);
    // A target that is none isn't told; the rest is.
    for (const std::string& target : {std::string("a\0b", 3), std::string(5000, 'a')}) {
        wire.set_link_target(target);
        std::optional<NodeStat> stat = checked_stat(wire);
        ASSERT_TRUE(stat);
        EXPECT_EQ(stat->link_target, "");
    }
    wire.set_link_target("../x");
    EXPECT_EQ(checked_stat(wire)->link_target, "../x");
    wire.set_inode(0);
    EXPECT_FALSE(checked_stat(wire));
}

TEST(NodeStat, TimesBeforeTheEpochAreNormal) {
    proto::FileStat wire;
    wire.set_inode(5);
    wire.set_mode(S_IFREG);
    wire.set_mtime_ns(-1);
    std::optional<NodeStat> stat = checked_stat(wire);
    ASSERT_TRUE(stat);
    EXPECT_EQ(stat->attributes.st_mtim.tv_sec, -1);
    EXPECT_EQ(stat->attributes.st_mtim.tv_nsec, 999'999'999);
}

TEST(NodeStat, ErrorsOfTheAgentAreOnesThatASystemCallMayHave) {
    proto::Response::Failure failure;
    EXPECT_EQ(errno_of(failure), EIO);
    failure.set_errnum(ENOENT);
    EXPECT_EQ(errno_of(failure), ENOENT);
    failure.set_errnum(ENOSYS);
    EXPECT_EQ(errno_of(failure), EOPNOTSUPP);
    failure.set_errnum(512);
    EXPECT_EQ(errno_of(failure), EIO);
}

}  // namespace
}  // namespace inspect::fuse
