// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysprep/group_names.h"

#include <gtest/gtest.h>

namespace inspect {
namespace {

std::string renamed(std::string_view text) { return replace_group(text, "vg-a", "new_b", {"root", "sw-1"}); }

TEST(ReplaceGroup, WhereverItIsUnmistakable) {
    EXPECT_EQ(renamed("/dev/vg-a/root / ext4\n/dev/mapper/vg--a-sw--1 none swap\n"),
              "/dev/new_b/root / ext4\n/dev/mapper/new_b-sw--1 none swap\n");
    EXPECT_EQ(renamed("root=/dev/mapper/vg--a-root rd.lvm.lv=vg-a/root rd.lvm.vg=vg-a quiet"),
              "root=/dev/mapper/new_b-root rd.lvm.lv=new_b/root rd.lvm.vg=new_b quiet");
    EXPECT_EQ(renamed("set root='lvm/vg--a-root'"), "set root='lvm/new_b-root'");
    EXPECT_EQ(renamed("After=dev-mapper-vg\\x2d\\x2da\\x2droot.device dev-vg\\x2da-root.device"),
              "After=dev-mapper-new_b\\x2droot.device dev-new_b-root.device");
}

TEST(ReplaceGroup, AndNowhereElse) {
    for (const char* text :
         {"/srv/vg-a/root", "vg-a is a group", "/dev/vg-ab/root", "/dev/vg-a/roots", "/dev/xvg-a/root",
          "/dev/mapper/vg--a-root2", "/dev/mapper/vg--a-root--2", "rd.lvm.vg=vg-abc", "/dev/vg-a/other"})
        EXPECT_EQ(renamed(text), text);
}

TEST(ReplaceGroup, AnEnvironmentBlockKeepsItsSize) {
    const std::string head = "# GRUB Environment Block\nkernelopts=root=/dev/vg-a/root\n";
    const std::string before = head + std::string(1024 - head.size(), '#');
    const std::string after = as_environment_block(before, renamed(before));
    EXPECT_EQ(after.size(), 1024U);
    EXPECT_TRUE(after.starts_with("# GRUB Environment Block\nkernelopts=root=/dev/new_b/root\n##"));
    EXPECT_EQ(as_environment_block("other ##", "longer other ##"), "longer other ##");
}

}  // namespace
}  // namespace inspect
