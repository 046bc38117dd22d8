// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A customization before it meets a guest: what it says that it will do, and how it serves several guests.
#include "customize/steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include <inspect/customize.h>

#include "base/temp_dir_for_test.h"

namespace inspect {
namespace {

using ::testing::ElementsAre;

TEST(Customization, SaysItsStepsInTheirOrder) {
    Customization changes({{"selinux-relabel"}, {"hostname", "web-01"}, {"touch", "/x"}}, {});
    EXPECT_THAT(changes.steps(), ElementsAre("Renewing the random seed", "Setting the host name: web-01",
                                             "Touching /x", "Giving the files their SELinux labels"));
    EXPECT_THAT(Customization({}, {}).steps(), ElementsAre("Renewing the random seed"));
}

// The next guest's name, with the other steps as they were read: a secret may be gone by then.
TEST(Customization, AnArgumentCanBeChanged) {
    const TempDir directory;
    const std::string secret = directory.file("secret");
    std::ofstream(secret) << "x\n";
    Customization changes({{"root-password", "file:" + secret}, {"hostname", "web-01"}}, {});
    std::filesystem::remove(secret);
    changes.set_argument("hostname", "web-02");
    EXPECT_THAT(changes.steps(), ElementsAre("Renewing the random seed", "Setting the password of root",
                                             "Setting the host name: web-02"));
    expect_error(ErrorKind::kUsage, "not a host name", [&] { changes.set_argument("hostname", "a b"); });
    expect_error(ErrorKind::kUsage, "needs an argument", [&] { changes.set_argument("hostname", ""); });
    changes.set_argument("timezone", "nothing of that kind is here");
    EXPECT_EQ(changes.steps().back(), "Setting the host name: web-02");
}

// Nothing is begun with input that is wrong or that is no more than a part.
TEST(Customization, InputIsCheckedBefore) {
    const TempDir directory;
    const auto refuses = [](ErrorKind kind, const std::string& text, CustomizeStep step,
                            CustomizeOptions options = {}) {
        expect_error(kind, text, [&] { Customization({std::move(step)}, std::move(options)); });
    };
    refuses(ErrorKind::kUsage, "password-crypto: passwords are hashed by", {"touch", "/x"},
            {.password_crypto = "rot13"});
    const std::string nothing = directory.write("nothing", {});
    refuses(ErrorKind::kUsage, "the password is empty", {"root-password", "file:" + nothing});
    ::setenv("INSP_TEST_EMPTY", "", 1);
    refuses(ErrorKind::kUsage, "the password is empty", {"root-password", "locked:env:INSP_TEST_EMPTY"});
    refuses(ErrorKind::kUsage, "is empty", {"run", nothing});
    refuses(ErrorKind::kUnsupported, "more than 65536 KiB",
            {"run", directory.sparse("large", (uint64_t{64} << 20) + 1)});
    refuses(ErrorKind::kUnsupported, "more than 256 KiB",
            {"ssh-inject", "root:file:" + directory.sparse("keys", (256 << 10) + 1)});
    EXPECT_EQ(read_input(directory.sparse("fits", 256 << 10), 256 << 10).size(), size_t{256} << 10);
    EXPECT_NO_THROW(Customization({{"root-password", "password:"}}, {.allow_plain_passwords = true}));
}

}  // namespace
}  // namespace inspect
