// SPDX-License-Identifier: GPL-2.0-or-later
//
// Stat, ListDirectory, ReadFile, through the protocol.
#include <dirent.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "agent_harness.h"

namespace inspect::agent {
namespace {

class ReadOperations : public testing::Test {
  protected:
    TemporaryDirectory root_;
    AgentHarness agent_{root_.path()};

    Answer read(const std::string& path, uint64_t offset = 0, uint64_t length = 0) {
        proto::Request request;
        request.mutable_read_file()->set_path(path);
        request.mutable_read_file()->set_offset(offset);
        request.mutable_read_file()->set_length(length);
        return agent_.call(request);
    }
    Answer list(const std::string& path, bool recursive, bool with_stat) {
        proto::Request request;
        request.mutable_list_directory()->set_path(path);
        request.mutable_list_directory()->set_recursive(recursive);
        request.mutable_list_directory()->set_with_stat(with_stat);
        return agent_.call(request);
    }
    Answer stat(const std::string& path, bool follow) {
        proto::Request request;
        request.mutable_stat()->set_path(path);
        request.mutable_stat()->set_follow(follow);
        return agent_.call(request);
    }
};

TEST_F(ReadOperations, ReadsPartsOfAFile) {
    write_text(root_ / "f", "0123456789");
    write_text(root_ / "empty", "");
    EXPECT_EQ(read("/f").data, "0123456789");
    EXPECT_EQ(read("/f", 3).data, "3456789");
    EXPECT_EQ(read("/f", 3, 4).data, "3456");
    EXPECT_EQ(read("/f", 8, 100).data, "89");
    EXPECT_EQ(read("/f", 10).data, "");
    EXPECT_EQ(read("/f", UINT64_MAX, UINT64_MAX).data, "");
    EXPECT_TRUE(read("/empty").ok());
    EXPECT_EQ(read("/empty").data, "");
}

TEST_F(ReadOperations, ErrorsNameThePath) {
    std::filesystem::create_directory(root_ / "d");
    EXPECT_EQ(read("/d").error(), "/d is not a regular file: it is a directory");
    EXPECT_EQ(read("/d").response.failure().errnum(), static_cast<uint32_t>(EISDIR));
    EXPECT_EQ(read("/x/y").error(), "cannot open /x/y: No such file or directory");
    EXPECT_EQ(list("/x", false, false).error(), "cannot list /x: No such file or directory");
    EXPECT_EQ(stat("/x", false).error(), "cannot open /x: No such file or directory");
    std::string odd = "/na\nme\xff";
    EXPECT_EQ(read(odd).error(), "cannot open " + odd + ": No such file or directory");
    EXPECT_EQ(read(std::string("/a\0b", 4)).response.failure().kind(), proto::USAGE);
}

TEST_F(ReadOperations, StatFollowsWhenAsked) {
    write_text(root_ / "f", "four");
    std::filesystem::create_symlink("f", root_ / "link");
    proto::FileStat link = stat("/link", false).response.stat();
    EXPECT_TRUE(S_ISLNK(link.mode()));
    EXPECT_EQ(link.link_target(), "f");
    proto::FileStat file = stat("/link", true).response.stat();
    EXPECT_TRUE(S_ISREG(file.mode()));
    EXPECT_EQ(file.size(), 4u);
    EXPECT_TRUE(S_ISDIR(stat("/", false).response.stat().mode()));
}

TEST_F(ReadOperations, ListsSortedAndRecursively) {
    std::filesystem::create_directories(root_ / "d/sub");
    write_text(root_ / "d/b", "12345");
    write_text(root_ / "d/sub/z", "");
    write_text(root_ / "d/\xff\n", "");
    std::filesystem::create_symlink("nowhere", root_ / "d/a");
    Answer flat = list("/d", false, true);
    ASSERT_EQ(flat.items.size(), 4u);
    EXPECT_EQ(flat.items[0].entry().path(), "a");
    EXPECT_EQ(flat.items[0].entry().type(), static_cast<uint32_t>(DT_LNK));
    EXPECT_EQ(flat.items[0].entry().stat().link_target(), "nowhere");
    EXPECT_EQ(flat.items[1].entry().stat().size(), 5u);
    EXPECT_EQ(flat.items[2].entry().type(), static_cast<uint32_t>(DT_DIR));
    EXPECT_EQ(flat.items[3].entry().path(), "\xff\n");
    Answer deep = list("/d", true, false);
    std::vector<std::string> paths;
    for (const proto::Item& item : deep.items) paths.push_back(item.entry().path());
    EXPECT_EQ(paths, (std::vector<std::string>{"a", "b", "sub", "sub/z", "\xff\n"}));
    EXPECT_FALSE(deep.items[0].entry().has_stat());
}

TEST_F(ReadOperations, AListingLargerThanTheCreditArrives) {
    // Long paths make it large with few files.
    std::string path = root_.path();
    std::string component(250, 'd');
    for (int i = 0; i < 12; ++i) path += "/" + component;
    std::filesystem::create_directories(path);
    constexpr int kCount = 1500;
    Fd directory = open_file(path, O_PATH | O_DIRECTORY);
    for (int i = 0; i < kCount; ++i)
        ASSERT_EQ(::symlinkat("x", directory.get(), (std::to_string(i) + component).c_str()), 0);
    Answer answer = list("/", true, false);
    ASSERT_EQ(answer.items.size(), static_cast<size_t>(kCount + 12));
    EXPECT_TRUE(std::is_sorted(answer.items.begin(), answer.items.end(), [](const auto& a, const auto& b) {
        return a.entry().path() < b.entry().path();
    }));
}

}  // namespace
}  // namespace inspect::agent
