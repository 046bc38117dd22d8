// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The texts that customizing reads and writes: accounts, host names, files of commands.
#include <crypt.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <inspect/error.h>

#include "customize/accounts.h"
#include "customize/host_name.h"
#include "customize/steps.h"

namespace inspect {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kShadow = "root:*:19000:0:99999:7:::\nbob:$6$x$y:1:2:3:4:5:6:\nshort:!";

TEST(Accounts, PasswordsAreReplacedAndTheRestIsKept) {
    EXPECT_EQ(with_password(kShadow, "bob", "NEW", 20000),
              "root:*:19000:0:99999:7:::\nbob:NEW:20000:2:3:4:5:6:\nshort:!");
    EXPECT_EQ(with_password(kShadow, "short", "NEW", 7),
              "root:*:19000:0:99999:7:::\nbob:$6$x$y:1:2:3:4:5:6:\nshort:NEW:7:0:99999:7:::");
    EXPECT_EQ(with_password(kShadow, "bo", "NEW", 7), std::nullopt);
    EXPECT_EQ(with_password("", "bob", "NEW", 7), std::nullopt);
    EXPECT_EQ(password_field(kShadow, "root"), "*");
    EXPECT_EQ(password_field(kShadow, "short"), "!");
    EXPECT_EQ(password_field(kShadow, "nobody"), std::nullopt);
}

TEST(Accounts, AreFoundInPasswd) {
    constexpr const char* kPasswd =
        "root:x:0:0:root:/root:/bin/sh\nal:x:-1:0::/:\nbob:x:1000:1001:,,,:/home/bob:/bin/sh";
    EXPECT_EQ(find_account(kPasswd, "bob")->uid, 1000U);
    EXPECT_EQ(find_account(kPasswd, "bob")->gid, 1001U);
    EXPECT_EQ(find_account(kPasswd, "bob")->home, "/home/bob");
    EXPECT_FALSE(find_account(kPasswd, "al"));
    EXPECT_FALSE(find_account("bob:x", "bob"));
}

// crypt(3) itself is the judge.
TEST(Accounts, HashesAreCrypts) {
    for (const auto& [method, prefix] :
         {std::pair("yescrypt", "$y$"), {"sha512", "$6$"}, {"sha256", "$5$"}, {"md5", "$1$"}}) {
        const std::string hash = hash_password("correct horse", method);
        EXPECT_THAT(hash, StartsWith(prefix));
        EXPECT_EQ(::crypt("correct horse", hash.c_str()), hash);
        EXPECT_NE(::crypt("wrong horse", hash.c_str()), hash);
        EXPECT_NE(hash_password("correct horse", method), hash) << "another salt";
    }
    EXPECT_THROW(hash_password("x", "rot13"), Error);
    EXPECT_THROW(hash_password(std::string("a\0b", 3), "sha512"), Error);
    EXPECT_THROW(hash_password(std::string(600, 'x'), "sha512"), Error);
    EXPECT_EQ(random_password().size(), 16U);
    EXPECT_NE(random_password(), random_password());
}

TEST(HostName, IsChecked) {
    for (const char* good : {"a", "web-01", "web-01.example.org", "1st"})
        EXPECT_TRUE(is_host_name(good)) << good;
    for (const char* bad : {"", "a b", "-a", "a-", "a..b", ".a", "a.", "a_b", "ä", "a/b"})
        EXPECT_FALSE(is_host_name(bad)) << bad;
    EXPECT_TRUE(is_host_name(std::string(64, 'a')));
    EXPECT_FALSE(is_host_name(std::string(65, 'a')));
}

TEST(HostName, IsReplacedWhereItStands) {
    EXPECT_EQ(name_in_hostname_file("# c\n\n  old.example.org \n"), "old.example.org");
    EXPECT_EQ(name_in_hostname_file("#\n"), "");
    EXPECT_EQ(hosts_with_name("127.0.0.1 localhost\n127.0.1.1\told.example.org old # old\n10.0.0.2 older\n",
                              "old", "new"),
              "127.0.0.1 localhost\n127.0.1.1\tnew.example.org new # old\n10.0.0.2 older\n");
    EXPECT_EQ(hosts_with_name("1.1.1.1 old.a.org old\n", "old.a.org", "new.b.org"),
              "1.1.1.1 new.b.org new\n");
    EXPECT_EQ(hosts_with_name("127.0.0.1 localhost\n", "localhost", "new"), "127.0.0.1 localhost\n");
    EXPECT_EQ(hosts_with_name("127.0.0.1 localhost\n", "", "new"), "127.0.0.1 localhost\n");
    EXPECT_EQ(sysconfig_with_name("A=b\nHOSTNAME=old\nC=d\n", "new"), "A=b\nHOSTNAME=new\nC=d\n");
    EXPECT_EQ(sysconfig_with_name("A=b\n", "new"), std::nullopt);
}

TEST(CustomizeCommands, AreReadAsVirtCustomizesAre) {
    const auto steps = parse_customize_commands(
        "# a comment\n\nhostname  web\n  write /a:one \\\ntwo\r\nselinux-relabel\n", "'f'");
    ASSERT_EQ(steps.size(), 3U);
    EXPECT_EQ(steps[0].operation, "hostname");
    EXPECT_EQ(steps[0].argument, "web");
    EXPECT_EQ(steps[1].argument, "/a:one two");
    EXPECT_EQ(steps[2].argument, "");
    try {
        parse_customize_commands("hostname x\n\\\nno-such-thing 1\n", "'f'");
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_THAT(error.message(), HasSubstr("'f', line 2: there is no operation 'no-such-thing'"));
    }
}

std::string refusal(const CustomizeStep& step) {
    try {
        const Customization customization({step}, {});
        return "none";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kUsage) << error.message();
        return error.message();
    }
}

// Before anything is begun.
TEST(Customization, WrongArgumentsAreRefused) {
    EXPECT_THAT(refusal({"no-such-thing", "x"}), HasSubstr("no-such-thing"));
    EXPECT_THAT(refusal({"hostname", "a b"}), HasSubstr("host name"));
    EXPECT_THAT(refusal({"hostname", ""}), HasSubstr("needs an argument"));
    EXPECT_THAT(refusal({"selinux-relabel", "x"}), HasSubstr("takes no argument"));
    EXPECT_THAT(refusal({"timezone", "../../etc/passwd"}), HasSubstr("time zone"));
    EXPECT_THAT(refusal({"locale", "C;rm -rf /"}), HasSubstr("locale"));
    EXPECT_THAT(refusal({"chown", "root"}), HasSubstr("UID.GID:PATH"));
    EXPECT_THAT(refusal({"chmod", "0644"}), HasSubstr("PERMISSIONS:FILE"));
    EXPECT_THAT(refusal({"write", "relative:x"}), HasSubstr("relative"));
    EXPECT_THAT(refusal({"password", "root:password:x"}), HasSubstr("command line"));
    EXPECT_THAT(refusal({"password", "a:b:c"}), HasSubstr("file:PATH"));
    EXPECT_THAT(refusal({"ssh-inject", "root:string2:x"}), HasSubstr("string:KEY"));
    EXPECT_THAT(refusal({"uninstall", "a,--purge"}), HasSubstr("list of packages"));
    EXPECT_THAT(refusal({"uninstall", "a,$(b)"}), HasSubstr("list of packages"));
    EXPECT_THAT(refusal({"install", "a"}), HasSubstr("--package-dir or --package-proxy"));
    EXPECT_THAT(refusal({"scrub", "relative"}), HasSubstr("relative"));
    EXPECT_THAT(refusal({"cloud-init", "/dev/null:other"}), HasSubstr("user-data"));
    EXPECT_THAT(refusal({"add-user", "a b"}), HasSubstr("NAME"));
}

}  // namespace
}  // namespace inspect
