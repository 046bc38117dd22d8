// SPDX-License-Identifier: GPL-2.0-or-later
//
// MakeDirectory, Remove, Rename, Link, Chmod, Chown, Touch, through the protocol.
#include <gtest/gtest.h>

#include "agent_harness.h"

namespace inspect::agent {
namespace {

class NameOperations : public testing::Test {
  protected:
    TemporaryDirectory root_;
    AgentHarness agent_{root_.path()};

    Answer mkdir(const std::string& path, bool parents, std::optional<uint32_t> mode = {}) {
        proto::Request request;
        request.mutable_make_directory()->set_path(path);
        request.mutable_make_directory()->set_parents(parents);
        if (mode) request.mutable_make_directory()->set_permissions(*mode);
        return agent_.call(request);
    }
    Answer remove(const std::string& path, bool recursive = false, bool force = false) {
        proto::Request request;
        request.mutable_remove()->set_path(path);
        request.mutable_remove()->set_recursive(recursive);
        request.mutable_remove()->set_force(force);
        return agent_.call(request);
    }
    Answer rename(const std::string& from, const std::string& to, bool no_clobber = false) {
        proto::Request request;
        request.mutable_rename()->set_from(from);
        request.mutable_rename()->set_to(to);
        request.mutable_rename()->set_no_clobber(no_clobber);
        return agent_.call(request);
    }
    Answer link(const std::string& target, const std::string& path, bool symbolic, bool force = false) {
        proto::Request request;
        request.mutable_link()->set_target(target);
        request.mutable_link()->set_path(path);
        request.mutable_link()->set_symbolic(symbolic);
        request.mutable_link()->set_force(force);
        return agent_.call(request);
    }
    struct stat status(const std::string& name) {
        struct stat result {};
        EXPECT_EQ(::lstat((root_ / name).c_str(), &result), 0) << name;
        return result;
    }
    bool exists(const std::string& name) {
        return std::filesystem::exists(std::filesystem::symlink_status(root_ / name));
    }
};

TEST_F(NameOperations, Mkdir) {
    EXPECT_TRUE(mkdir("/a", false).ok());
    EXPECT_EQ(status("a").st_mode & 07777, 0755u);
    EXPECT_EQ(mkdir("/a", false).error(), "cannot create the directory /a: File exists");
    EXPECT_TRUE(mkdir("/a", true).ok());
    EXPECT_TRUE(mkdir("/a/b//c/", true, 0700).ok());
    EXPECT_EQ(status("a/b").st_mode & 07777, 0755u);
    EXPECT_EQ(status("a/b/c").st_mode & 07777, 0700u);
    write_text(root_ / "file", "");
    EXPECT_EQ(mkdir("/file/x", true).error(), "cannot create the directory /file: Not a directory");
    EXPECT_EQ(mkdir("/no/parent", false).error(),
              "cannot create the directory /no/parent: No such file or directory");
    std::filesystem::create_directory_symlink("../..", root_ / "a/out");
    EXPECT_TRUE(mkdir("/a/out/inside", true).ok());
    EXPECT_TRUE(exists("inside"));
}

TEST_F(NameOperations, Remove) {
    std::filesystem::create_directories(root_ / "d/e/f");
    write_text(root_ / "d/x", "");
    write_text(root_ / "kept", "");
    std::filesystem::create_directory_symlink("..", root_ / "d/e/up");
    EXPECT_EQ(remove("/d").error(), "cannot remove /d: Is a directory");
    EXPECT_TRUE(remove("/d", true).ok());
    EXPECT_FALSE(exists("d"));
    EXPECT_TRUE(exists("kept"));
    EXPECT_EQ(remove("/d", true).error(), "cannot remove /d: No such file or directory");
    EXPECT_TRUE(remove("/d", true, true).ok());
    EXPECT_TRUE(remove("/no/such", false, true).ok());
    EXPECT_FALSE(remove("/", true, true).ok());
    std::filesystem::create_symlink("kept", root_ / "link");
    EXPECT_TRUE(remove("/link", true).ok());
    EXPECT_TRUE(exists("kept"));
}

TEST_F(NameOperations, Rename) {
    write_text(root_ / "a", "a");
    write_text(root_ / "b", "b");
    std::filesystem::create_directory(root_ / "d");
    EXPECT_EQ(rename("/a", "/b", true).error(), "cannot move /a: /b exists already");
    EXPECT_EQ(read_text(root_ / "b"), "b");
    EXPECT_TRUE(rename("/a", "/b").ok());
    EXPECT_EQ(read_text(root_ / "b"), "a");
    EXPECT_TRUE(rename("/b", "/d").ok());
    EXPECT_EQ(read_text(root_ / "d/b"), "a");
    EXPECT_TRUE(rename("/d/b", "/d/c").ok());
    EXPECT_FALSE(rename("/d/c", "/new/").ok());
    EXPECT_EQ(rename("/d", "/d/e").response.failure().kind(), proto::USAGE);
    EXPECT_EQ(rename("/gone", "/x").error(), "cannot move /gone: No such file or directory");
    std::filesystem::create_hard_link(root_ / "d/c", root_ / "hard");
    EXPECT_NE(rename("/d/c", "/hard").error().find("is the same file"), std::string::npos);
    EXPECT_TRUE(exists("d/c"));
}

TEST_F(NameOperations, Link) {
    write_text(root_ / "a", "a");
    EXPECT_TRUE(link("/a", "/hard", false).ok());
    EXPECT_EQ(status("hard").st_ino, status("a").st_ino);
    EXPECT_TRUE(link("any/thing", "/soft", true).ok());
    EXPECT_EQ(std::filesystem::read_symlink(root_ / "soft"), "any/thing");
    EXPECT_EQ(link("x", "/soft", true).error(), "cannot create the link /soft: File exists");
    EXPECT_TRUE(link("x", "/soft", true, true).ok());
    EXPECT_EQ(std::filesystem::read_symlink(root_ / "soft"), "x");
    std::filesystem::create_directory(root_ / "d");
    EXPECT_TRUE(link("/a", "/d", true).ok());
    EXPECT_EQ(std::filesystem::read_symlink(root_ / "d/a"), "/a");
    EXPECT_TRUE(link("/a", "/hard", false, true).ok()) << "onto itself";
    EXPECT_EQ(link("/gone", "/x", false).response.failure().kind(), proto::NOT_FOUND);
    EXPECT_EQ(status("a").st_nlink, 2u);
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(root_.path())) ++count;
    EXPECT_EQ(count, 4u) << "no temporary name is left";
}

TEST_F(NameOperations, Chmod) {
    std::filesystem::create_directories(root_ / "d/e");
    write_text(root_ / "d/f", "");
    write_text(root_ / "outside", "");
    ASSERT_EQ(::chmod((root_ / "outside").c_str(), 0600), 0);
    std::filesystem::create_symlink("../outside", root_ / "d/link");
    proto::Request request;
    request.mutable_chmod()->set_path("/d");
    request.mutable_chmod()->set_mode("u=rwX,go=");
    request.mutable_chmod()->set_recursive(true);
    EXPECT_TRUE(agent_.call(request).ok());
    EXPECT_EQ(status("d").st_mode & 07777, 0700u);
    EXPECT_EQ(status("d/e").st_mode & 07777, 0700u);
    EXPECT_EQ(status("d/f").st_mode & 07777, 0600u);
    request.mutable_chmod()->set_mode("0777");
    EXPECT_TRUE(agent_.call(request).ok());
    EXPECT_EQ(status("outside").st_mode & 07777, 0600u) << "symlinks on the way are left alone";
    request.mutable_chmod()->set_path("/d/link");
    EXPECT_TRUE(agent_.call(request).ok());
    EXPECT_EQ(status("outside").st_mode & 07777, 0777u);
    request.mutable_chmod()->set_mode("nonsense");
    EXPECT_EQ(agent_.call(request).response.failure().kind(), proto::USAGE);
}

TEST_F(NameOperations, Chown) {
    if (::geteuid() != 0) GTEST_SKIP() << "changing owners needs root";
    std::filesystem::create_directories(root_ / "d/e");
    write_text(root_ / "outside", "");
    std::filesystem::create_symlink("../outside", root_ / "d/link");
    proto::Request request;
    request.mutable_chown()->set_path("/d");
    request.mutable_chown()->set_owner("12:34");
    request.mutable_chown()->set_recursive(true);
    EXPECT_TRUE(agent_.call(request).ok());
    EXPECT_EQ(status("d/e").st_uid, 12u);
    EXPECT_EQ(status("d/link").st_gid, 34u);
    EXPECT_EQ(status("outside").st_uid, 0u);
    request.mutable_chown()->set_path("/d/link");
    request.mutable_chown()->set_owner(":56");
    request.mutable_chown()->set_recursive(false);
    EXPECT_TRUE(agent_.call(request).ok());
    EXPECT_EQ(status("outside").st_gid, 56u);
    EXPECT_EQ(status("d/link").st_gid, 34u);
    request.mutable_chown()->set_no_dereference(true);
    EXPECT_TRUE(agent_.call(request).ok());
    EXPECT_EQ(status("d/link").st_gid, 56u);
}

TEST_F(NameOperations, Touch) {
    proto::Request request;
    proto::Touch& touch = *request.mutable_touch();
    touch.set_path("/new");
    touch.set_no_create(true);
    EXPECT_TRUE(agent_.call(request).ok());
    EXPECT_FALSE(exists("new"));
    touch.set_no_create(false);
    touch.set_time_ns(-1'500'000'000);
    EXPECT_TRUE(agent_.call(request).ok());
    EXPECT_EQ(status("new").st_mode & 07777, 0644u);
    EXPECT_EQ(status("new").st_mtim.tv_sec, -2);
    EXPECT_EQ(status("new").st_mtim.tv_nsec, 500'000'000);
    touch.set_modification(true);
    touch.set_time_ns(1'000'000'000'000'000'007);
    EXPECT_TRUE(agent_.call(request).ok());
    EXPECT_EQ(status("new").st_mtim.tv_nsec, 7);
    EXPECT_EQ(status("new").st_atim.tv_sec, -2);
}

}  // namespace
}  // namespace inspect::agent
