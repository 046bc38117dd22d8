// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <inspect/sysprep.h>

#include "base/temp_dir_for_test.h"
#include "sysprep/operations.h"

namespace inspect {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

TEST(SysprepOperations, EachHasARuleOrAnObstacleOrIsAboutIdentifiers) {
    std::string last;
    for (const SysprepOperation& operation : sysprep_operations()) {
        EXPECT_LT(last, operation.name);
        last = operation.name;
        const bool ruled = std::ranges::any_of(
            sysprep_rules(), [&](const SysprepRule& rule) { return rule.operation == last; });
        const bool about_ids = !ids_of_operations({last}).empty();
        const bool of_customize = last == "customize";  // inspect/customize.h
        EXPECT_EQ(1, ruled + about_ids + of_customize + (operation.obstacle != nullptr)) << last;
    }
    for (const SysprepRule& rule : sysprep_rules()) {
        EXPECT_EQ(rule.pattern[0], '/') << rule.pattern;
        EXPECT_NO_THROW(choose_operations(rule.operation));
    }
}

TEST(SysprepOperations, AreChosenAsVirtSysprepDoes) {
    EXPECT_THAT(choose_operations("utmp,machine-id"), ElementsAre("machine-id", "utmp"));
    EXPECT_EQ(choose_operations("defaults"), default_operations());
    EXPECT_THAT(choose_operations("defaults,-ssh-userdir,fs-uuids"), Contains("fs-uuids"));
    EXPECT_THAT(choose_operations("defaults,-ssh-userdir"), Not(Contains("ssh-userdir")));
    EXPECT_THAT(choose_operations("all"), Contains("flag-reconfiguration"));
    EXPECT_THAT(choose_operations("all,-script"), Not(Contains("script")));
    expect_error(ErrorKind::kUsage, "no operation 'x'", [] { choose_operations("x"); });
    expect_error(ErrorKind::kUsage, "no operation ''", [] { choose_operations(""); });
    expect_error(ErrorKind::kUnsupported, "insp run", [] { choose_operations("script"); });
}

}  // namespace
}  // namespace inspect
