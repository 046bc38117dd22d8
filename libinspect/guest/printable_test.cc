// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/printable.h"

#include <gtest/gtest.h>

namespace inspect {
namespace {

TEST(Printable, KeepsText) {
    EXPECT_EQ(printable("/etc/fstab"), "/etc/fstab");
    EXPECT_EQ(printable("Größe \xe2\x82\xac \xf0\x9f\x90\xa7"), "Größe \xe2\x82\xac \xf0\x9f\x90\xa7");
}

TEST(Printable, EscapesControlCharacters) {
    EXPECT_EQ(printable("a\nb\tc\x1b[31m"), "a\\nb\\tc\\x1b[31m");
    EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
    EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");           // CSI as a C1 control
    EXPECT_EQ(printable("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // right-to-left override
}

TEST(Printable, EscapesWhatIsNotUtf8) {
    EXPECT_EQ(printable("\xff"), "\\xff");
    EXPECT_EQ(printable("a\xc3"), "a\\xc3");                  // cut
    EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");           // overlong
    EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // surrogate
    EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(Printable, CutsWhatIsTooLong) {
    std::string cut = printable(std::string(1000, 'x'), 10);
    EXPECT_EQ(cut, std::string(10, 'x') + "...");
}

}  // namespace
}  // namespace inspect
