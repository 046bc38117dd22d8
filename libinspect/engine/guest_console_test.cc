// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/guest_console.h"

#include <gtest/gtest.h>

namespace inspect {
namespace {

void write(const GuestConsole& console, const std::string& text) {
    write_full(console.fd(), std::as_bytes(std::span(text)), "test");
}

TEST(GuestConsole, ShowsTheEndPrintable) {
    GuestConsole console;
    EXPECT_EQ(console.tail(100), "");
    write(console, "first\n");
    write(console, "\x1b[2Jlast\n");
    EXPECT_EQ(console.tail(100), "first\n?[2Jlast\n");
    EXPECT_EQ(console.tail(5), "last\n");
}

TEST(GuestConsole, AGuestFillsNoMemory) {
    GuestConsole console;
    const std::string much(1 << 20, 'x');
    EXPECT_ANY_THROW(write(console, much));
    EXPECT_LT(console.tail(much.size()).size(), much.size());
    EXPECT_EQ(console.tail(10), "xxxxxxxxxx");
}

}  // namespace
}  // namespace inspect
