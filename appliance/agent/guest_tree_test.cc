// SPDX-License-Identifier: GPL-2.0-or-later
#include "guest_tree.h"

#include <gtest/gtest.h>

#include "agent_harness.h"
#include "failure.h"

namespace inspect::agent {
namespace {

class GuestTreeTest : public testing::Test {
  protected:
    GuestTreeTest() {
        std::filesystem::create_directories(outside_ / "root/etc");
        root_ = outside_ / "root";
        write_text(outside_ / "secret", "outside");
        write_text(root_ + "/etc/inside", "inside");
        write_text(root_ + "/secret", "the guest's own");
        tree_ = GuestTree(open_file(root_, O_PATH | O_DIRECTORY));
    }
    std::string read(const std::string& path) {
        struct stat status;
        Fd fd = tree_.open_regular(path, status);
        std::string text(static_cast<size_t>(status.st_size), '\0');
        read_full(fd.get(), std::as_writable_bytes(std::span(text)), "read");
        return text;
    }

    TemporaryDirectory outside_;
    std::string root_;
    GuestTree tree_;
};

TEST_F(GuestTreeTest, NothingLeadsOutside) {
    std::filesystem::create_symlink("../../secret", root_ + "/etc/relative");
    std::filesystem::create_symlink("/secret", root_ + "/etc/absolute");
    std::filesystem::create_directory_symlink("/..", root_ + "/etc/up");
    std::filesystem::create_symlink("up/../../../secret", root_ + "/etc/through");
    for (const char* path : {"/../secret", "/etc/../../../secret", "/etc/relative", "/etc/absolute",
                             "/etc/up/secret", "/etc/through", "secret"})
        EXPECT_EQ(read(path), "the guest's own") << path;
    std::filesystem::create_symlink("/proc/self/root/etc/passwd", root_ + "/magic");
    EXPECT_THROW(read("/magic"), Failure);
}

TEST_F(GuestTreeTest, PlacesAreInsideToo) {
    std::filesystem::create_directory_symlink("../..", root_ + "/etc/out");
    GuestTree::Place place = tree_.place("/etc/out/new", "cannot create");
    EXPECT_EQ(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(place.directory.get())), root_);
    EXPECT_EQ(place.name, "new");
    for (const char* path : {"/", "", "/etc/..", "/etc/.", "."})
        EXPECT_THROW(tree_.place(path, "x"), Failure) << path;
    EXPECT_EQ(tree_.place("/etc/", "x").name, "etc");
}

TEST_F(GuestTreeTest, WritingFollowsSymlinksWithinTheTree) {
    std::filesystem::create_symlink("../run/target", root_ + "/etc/dangling");
    std::filesystem::create_directory(root_ + "/run");
    std::string path = "/etc/dangling";
    GuestTree::Place place = tree_.followed_place(path, "cannot write");
    EXPECT_EQ(place.name, "target");
    EXPECT_EQ(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(place.directory.get())),
              root_ + "/run");

    std::filesystem::create_symlink("loop2", root_ + "/loop1");
    std::filesystem::create_symlink("loop1", root_ + "/loop2");
    path = "/loop1";
    try {
        tree_.followed_place(path, "cannot write");
        FAIL();
    } catch (const Failure& failure) {
        EXPECT_EQ(failure.errnum(), ELOOP);
    }
}

TEST_F(GuestTreeTest, SpecialFilesAreRefusedUnopened) {
    ASSERT_EQ(::mkfifo((root_ + "/fifo").c_str(), 0600), 0);
    struct {
        const char* path;
        const char* message;
    } cases[] = {
        {"/fifo", "/fifo is not a regular file: it is a FIFO"},
        {"/etc", "/etc is not a regular file: it is a directory"},
    };
    for (const auto& c : cases) {
        try {
            read(c.path);
            ADD_FAILURE() << c.path;
        } catch (const Failure& failure) {
            EXPECT_EQ(failure.message(), c.message);
            EXPECT_EQ(failure.kind(), proto::USAGE);
        }
    }
}

TEST_F(GuestTreeTest, DeferredMountsComeWhenTheyAreNeeded) {
    std::filesystem::create_directories(root_ + "/boot/efi");
    std::filesystem::create_directories(root_ + "/home");
    write_text(root_ + "/home/covered", "covered");
    std::filesystem::create_directory_symlink("boot/efi", root_ + "/efi");
    std::vector<std::string> mounted;
    auto defer = [&](const std::string& path) {
        tree_.defer(path, [&mounted, this, path] {
            mounted.push_back(path);
            write_text(root_ + path + "/mounted", path);
        });
    };
    defer("/boot");
    defer("/home");
    defer("/boot/efi");
    EXPECT_EQ(read("/etc/inside"), "inside");
    tree_.open("/", O_RDONLY | O_DIRECTORY);
    EXPECT_TRUE(mounted.empty());
    EXPECT_EQ(read("/home/covered"), "covered");  // what was there already may be covered
    EXPECT_EQ(mounted, std::vector<std::string>{"/home"});
    Fd boot = tree_.open("/boot", O_RDONLY | O_DIRECTORY);
    EXPECT_EQ(mounted, (std::vector<std::string>{"/home", "/boot"}));
    EXPECT_EQ(read("/efi/mounted"), "/boot/efi");
    EXPECT_EQ(mounted, (std::vector<std::string>{"/home", "/boot", "/boot/efi"}));
    tree_.defer("/etc", [] { throw Failure(proto::CORRUPT, "damaged"); });
    tree_.defer("/srv", [&] { mounted.push_back("/srv"); });
    tree_.settle_below(boot.get());
    EXPECT_EQ(read("/etc/inside"), "inside");
    EXPECT_EQ(tree_.take_warnings(), std::vector<std::string>{"/etc: damaged"});
    EXPECT_FALSE(tree_.try_open("/not/there", O_PATH));
    EXPECT_EQ(errno, ENOENT);
    EXPECT_EQ(mounted.back(), "/srv") << "what isn't there may be on what isn't mounted";
}

TEST(GuestTree, WithoutARootSaysSo) {
    try {
        GuestTree().open("/etc", O_RDONLY);
        FAIL();
    } catch (const Failure& failure) {
        EXPECT_EQ(failure.message(), "nothing is mounted: mount a file system first");
    }
}

}  // namespace
}  // namespace inspect::agent
