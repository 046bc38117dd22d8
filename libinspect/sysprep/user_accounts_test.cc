// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysprep/user_accounts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inspect {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kPasswd =
    "root:x:0:0:root:/root:/bin/bash\n"
    "daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n"
    "alice:x:1000:1000:Alice,,,:/home/alice/:/bin/bash\n"
    "bob:x:1001:1001::/home/bob:/bin/bash\n"
    "app:x:999:999::/home/bob/app:/bin/sh\n"
    "top:x:1002:1002::/srv:/bin/sh\n"
    "broken:x:10a0:1::/home/broken\n"
    "short:x:1003\n"
    "nobody:x:65534:65534::/nonexistent:/bin/sh";

TEST(UserAccounts, RangesAreLoginDefs) {
    EXPECT_EQ(uid_range("").first, 1000U);
    EXPECT_EQ(uid_range("").last, 60000U);
    const UidRange range = uid_range("# UID_MIN 7\nUID_MIN\t\t  500\nUID_MINIMUM 3\nUID_MAX 700 # so many\n");
    EXPECT_EQ(range.first, 500U);
    EXPECT_EQ(range.last, 700U);
    EXPECT_EQ(uid_range("UID_MIN x\nUID_MAX -1").last, 60000U);
}

TEST(UserAccounts, PeopleGoAndSystemAccountsStay) {
    const UserAccounts all = accounts_to_remove(kPasswd, {}, {}, {});
    EXPECT_THAT(all.names, ElementsAre("alice", "bob", "top"));
    // What is another's too, or no directory of its own, stays.
    EXPECT_THAT(all.homes, ElementsAre("/home/alice"));
    EXPECT_THAT(accounts_to_remove(kPasswd, {}, {"alice"}, {}).names, ElementsAre("bob", "top"));
    EXPECT_THAT(accounts_to_remove(kPasswd, {}, {}, {"bob", "nobody", "root"}).names, ElementsAre("bob"));
    EXPECT_THAT(accounts_to_remove(kPasswd, {}, {"bob"}, {"bob"}).names, IsEmpty()) << "keeping wins";
    EXPECT_THAT(accounts_to_remove(kPasswd, {0, 5}, {}, {}).names, ElementsAre("daemon")) << "never root";
    for (const char* home : {"/", "", "/etc", "relative/dir", "/home/../etc", "//etc/x"})
        EXPECT_THAT(accounts_to_remove("x:x:1000:1::" + std::string(home) + ":/bin/sh\n", {}, {}, {}).homes,
                    IsEmpty())
            << home;
}

TEST(UserAccounts, TheirLinesGo) {
    EXPECT_EQ(without_users("root:*:1\nalice:$y$x:2\nalicex:3\n", {"alice"}), "root:*:1\nalicex:3\n");
    EXPECT_EQ(without_users("alice:1", {"alice"}), "");
    EXPECT_EQ(
        without_members("sudo:x:27:bob,alice\nalice:x:1000:\nusers:x:100:alice\nother:x:1:carol", {"alice"}),
        "sudo:x:27:bob\nusers:x:100:\nother:x:1:carol");
    EXPECT_EQ(without_members("sudo:!::alice\nno colon\n", {"alice"}), "sudo:!::\nno colon\n");
}

}  // namespace
}  // namespace inspect
