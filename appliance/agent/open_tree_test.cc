// SPDX-License-Identifier: GPL-2.0-or-later
//
// OpenTree's reads that were seen ahead: what is opened for them is what they would have opened themselves.
#include "open_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "agent_harness.h"
#include "failure.h"

namespace inspect::agent {
namespace {

proto::TreeRead read_of(const std::string& path, uint32_t keep = 0, uint32_t slot = 0) {
    proto::TreeRead read;
    read.mutable_place()->set_slot(slot);
    read.mutable_place()->set_path(path);
    read.mutable_place()->set_keep(keep);
    read.set_length(4096);
    return read;
}

class ReadAhead : public testing::Test {
  protected:
    void SetUp() override {
        for (const char* name : {"a", "b", "c"}) write_text(root_ / name, std::string("contents of ") + name);
        guest_ = GuestTree(open_file(root_.path(), O_PATH | O_DIRECTORY));
        tree_.open(guest_, "/", true);
    }
    std::string contents(const proto::TreeRead& read) {
        OpenTree::Handle file = tree_.file(read.place());
        char text[64];
        ssize_t size = ::pread(file.get(), text, sizeof text, 0);
        return std::string(text, size > 0 ? static_cast<size_t>(size) : 0);
    }

    TemporaryDirectory root_;
    GuestTree guest_;
    OpenTree tree_;
};

TEST_F(ReadAhead, InTheirOrder) {
    for (const proto::TreeRead& read : {read_of("a", 3), read_of("missing"), read_of("", 0, 3), read_of("b")})
        EXPECT_TRUE(tree_.read_ahead(read));
    // Opened already: this is what shows that it was.
    std::filesystem::rename(root_ / "c", root_ / "b");
    EXPECT_EQ(contents(read_of("a", 3)), "contents of a");
    EXPECT_THROW(tree_.file(read_of("missing").place()), Failure);
    EXPECT_EQ(contents(read_of("", 0, 3)), "contents of a");
    EXPECT_TRUE(tree_.is_ahead());
    EXPECT_EQ(contents(read_of("b")), "contents of b");
    EXPECT_FALSE(tree_.is_ahead());
    EXPECT_EQ(contents(read_of("b")), "contents of c");
}

TEST_F(ReadAhead, AnotherReadThanWasSeen) {
    EXPECT_TRUE(tree_.read_ahead(read_of("a")));
    EXPECT_TRUE(tree_.read_ahead(read_of("b")));
    EXPECT_EQ(contents(read_of("c")), "contents of c");
    EXPECT_FALSE(tree_.is_ahead());
    EXPECT_EQ(contents(read_of("b")), "contents of b");
}

TEST_F(ReadAhead, ASlotThatIsFilledOnTheWay) {
    EXPECT_EQ(contents(read_of("a", 5)), "contents of a");
    EXPECT_TRUE(tree_.read_ahead(read_of("b", 5)));
    EXPECT_TRUE(tree_.read_ahead(read_of("", 0, 5)));
    EXPECT_EQ(contents(read_of("b", 5)), "contents of b");
    EXPECT_EQ(contents(read_of("", 0, 5)), "contents of b");
}

TEST_F(ReadAhead, NotWithoutBounds) {
    int files = 0;
    while (tree_.read_ahead(read_of("a")) && files < 1000) ++files;
    EXPECT_EQ(files, 64);
    tree_.forget_ahead();
    proto::TreeRead large = read_of("a");
    large.set_length(6 << 20);
    EXPECT_TRUE(tree_.read_ahead(large));
    EXPECT_TRUE(tree_.read_ahead(large));
    EXPECT_FALSE(tree_.read_ahead(large));
}

// Another file system than that of the directory it is in.
TEST(OpenTree, TheRoomOfAMountPointIsThatOfWhatIsMounted) {
    AgentHarness agent("/");
    proto::Request open, above, mounted;
    open.mutable_tree_open()->set_directory("/");
    above.mutable_tree_statfs();
    mounted.mutable_tree_statfs()->mutable_place()->set_path("proc");
    EXPECT_TRUE(agent.call(open).ok());
    EXPECT_GT(agent.call(above).response.filesystem_stat().blocks(), 0u);
    EXPECT_EQ(agent.call(mounted).response.filesystem_stat().blocks(), 0u);
}

// Through the protocol: what comes between two reads is done between them.
TEST_F(ReadAhead, AChangeBetweenTwoReads) {
    AgentHarness agent(root_.path());
    proto::Request open, read, rename;
    open.mutable_tree_open()->set_directory("/");
    open.mutable_tree_open()->set_writable(true);
    *read.mutable_tree_read() = read_of("a");
    rename.mutable_tree_rename()->set_from("b");
    rename.mutable_tree_rename()->set_to("a");
    std::vector<uint32_t> streams;
    for (const proto::Request* request : {&open, &read, &read, &rename, &read, &read})
        streams.push_back(agent.start(*request));
    std::vector<std::string> read_data;
    for (uint32_t stream : streams) read_data.push_back(agent.finish(stream).data);
    EXPECT_EQ(read_data, (std::vector<std::string>{"", "contents of a", "contents of a", "", "contents of b",
                                                   "contents of b"}));
}

}  // namespace
}  // namespace inspect::agent
