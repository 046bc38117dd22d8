// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include <inspect/new_ids.h>

namespace inspect {
namespace {

const std::string kOld = "0a1b2c3d-1111-4222-8333-abcdefabcdef",
                  kNew = "99999999-8888-4777-a666-fedcbafedcba";

std::string replaced(const std::string& text) {
    return replace_ids(text, {{kOld, kNew}, {"AB12-34CD", "FFEE-0011"}});
}

TEST(ReplaceIds, EveryPlaceWhereOneIsNamed) {
    EXPECT_EQ(replaced("UUID=" + kOld + " / ext4\n/dev/disk/by-uuid/" + kOld + "\n"),
              "UUID=" + kNew + " / ext4\n/dev/disk/by-uuid/" + kNew + "\n");
    EXPECT_EQ(replaced("rd.luks.uuid=luks-" + kOld), "rd.luks.uuid=luks-" + kNew);
    EXPECT_EQ(replaced("UUID=AB12-34CD /boot/efi"), "UUID=FFEE-0011 /boot/efi");
    EXPECT_EQ(replaced("search --fs-uuid ab12-34cd"), "search --fs-uuid ffee-0011");
    EXPECT_EQ(replaced("\"0A1B2C3D-1111-4222-8333-ABCDEFABCDEF\""),
              "\"99999999-8888-4777-A666-FEDCBAFEDCBA\"");
    EXPECT_EQ(replaced("dev-disk-by\\x2duuid-0a1b2c3d\\x2d1111\\x2d4222\\x2d8333\\x2dabcdefabcdef.swap"),
              "dev-disk-by\\x2duuid-99999999\\x2d8888\\x2d4777\\x2da666\\x2dfedcbafedcba.swap");
}

TEST(ReplaceIds, NotWithinSomethingLonger) {
    for (const std::string& text :
         {"f" + kOld, kOld + "0", kOld + "-1", std::string("00000000-AB12-34CD-0000"),
          std::string("xAB12-34CD"), std::string("AB12-34CD-x")})
        EXPECT_EQ(replaced(text), text);
    EXPECT_EQ(replaced(""), "");
}

TEST(ReplaceIds, LvmsHaveTheirCase) {
    const std::string old_id = "aBcDeF-1234-5678-9abc-DEFG-hijk-LMNOPQ",
                      new_id = "ZZZZZZ-0000-1111-2222-3333-4444-555555";
    const auto lvm = [&](const std::string& text) { return replace_ids(text, {{old_id, new_id}}); };
    EXPECT_EQ(lvm("set root='lvmid/" + old_id + "/x'"), "set root='lvmid/" + new_id + "/x'");
    std::string other = old_id;
    other[0] = 'A';
    EXPECT_EQ(lvm(other), other);
}

}  // namespace
}  // namespace inspect
