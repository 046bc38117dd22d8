// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include <inspect/clone.h>

#include "base/temp_dir_for_test.h"

namespace inspect {
namespace {

using Names = std::vector<std::string>;

TEST(CloneNames, AreNumbered) {
    EXPECT_EQ(clone_names("web-%03d", 9, 3), (Names{"web-009", "web-010", "web-011"}));
    EXPECT_EQ(clone_names("%d", 0, 2), (Names{"0", "1"}));
    EXPECT_EQ(clone_names("100%%-%2dx", 7, 1), (Names{"100%- 7x"}));
    EXPECT_EQ(clone_names("one", 1, 1), (Names{"one"}));
    EXPECT_EQ(clone_names("n%02d", 99, 2), (Names{"n99", "n100"}));
}

TEST(CloneNames, RefuseWhatIsNoPattern) {
    for (const char* pattern : {"%s", "%n", "%", "%03", "a%xb", "%d-%d", "%999d"})
        expect_error(ErrorKind::kUsage, "name pattern", [&] { clone_names(pattern, 1, 2); });
    expect_error(ErrorKind::kUsage, "equal names", [&] { clone_names("web", 1, 2); });
    for (const char* pattern : {"../%d", "", "."})
        expect_error(ErrorKind::kUsage, "", [&] { clone_names(pattern, 1, 1); });
    expect_error(ErrorKind::kUsage, "no clones", [&] { clone_names("web-%d", 1, 0); });
    expect_error(ErrorKind::kUsage, "at most", [&] { clone_names("web-%d", 1, 1'000'000); });
}

TEST(CloneNames, GiveEachDiskAPlace) {
    EXPECT_EQ(clone_target("/srv", "web", {"raw", "qcow2"}).paths,
              (Names{"/srv/web.img", "/srv/web-2.qcow2"}));
    EXPECT_EQ(clone_target("/dev/vg/", "web", {"raw"}).paths, (Names{"/dev/vg/web"}));
}

TEST(CloneNames, MethodsAreSpeltOneWay) {
    for (const char* name : {"auto", "reflink", "overlay", "copy", "lvm-snapshot"})
        EXPECT_EQ(clone_method_name(parse_clone_method(name)), name);
    expect_error(ErrorKind::kUsage, "cow", [] { parse_clone_method("cow"); });
}

}  // namespace
}  // namespace inspect
