// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include <inspect/disk.h>

namespace inspect {
namespace {

TEST(EncryptionKey, Forms) {
    auto keys = EncryptionKey::parse("/dev/sda2:key:a:file:b");
    ASSERT_EQ(keys.size(), 1U);
    EXPECT_EQ(keys[0].id, "/dev/sda2");
    EXPECT_EQ(keys[0].secret, "a:file:b");
    EXPECT_EQ(EncryptionKey::parse("all:key:")[0].secret, "");
    for (const char* text : {"", "secret", ":key:x", ":file:x", "all:password:x"}) {
        try {
            EncryptionKey::parse(text);
            ADD_FAILURE() << text;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::kUsage) << text;
        }
    }
    try {
        EncryptionKey::parse("/dev/sda2:clevis");
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    }
    EXPECT_THROW(EncryptionKey::parse("all:file:/nonexistent/key"), Error);
}

}  // namespace
}  // namespace inspect
