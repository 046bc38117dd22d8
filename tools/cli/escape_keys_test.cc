// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/escape_keys.h"

#include <gtest/gtest.h>

#include <string>

#include "cli/command.h"

namespace inspect::cli {
namespace {

struct Filtered {
    std::string left;
    EscapeAction action;
    bool operator==(const Filtered&) const = default;
};

Filtered type(EscapeKeys& keys, std::string text) {
    Filtered result{};
    text.resize(keys.filter(std::as_writable_bytes(std::span(text)), result.action));
    result.left = text;
    return result;
}

TEST(EscapeKeys, AreTakenOutOfWhatIsTyped) {
    EscapeKeys keys = EscapeKeys::parse("^]");
    EXPECT_EQ(type(keys, "ls\r"), (Filtered{"ls\r", EscapeAction::kNone}));
    EXPECT_EQ(type(keys, "\x1dq"), (Filtered{"", EscapeAction::kQuit}));
    EXPECT_EQ(type(keys, "a\x1d?b"), (Filtered{"a", EscapeAction::kHelp}));
    EXPECT_EQ(type(keys, "\x1d\x1d"), (Filtered{"\x1d", EscapeAction::kNone}));
    EXPECT_EQ(type(keys, "a\x1dyb"), (Filtered{"ab", EscapeAction::kNone})) << "one that means nothing";
    // In two pieces.
    EXPECT_EQ(type(keys, "a\x1d"), (Filtered{"a", EscapeAction::kNone}));
    EXPECT_EQ(type(keys, "d"), (Filtered{"", EscapeAction::kDiscard}));
    EXPECT_EQ(type(keys, "d"), (Filtered{"d", EscapeAction::kNone}));
}

TEST(EscapeKeys, CanBeChosen) {
    EscapeKeys control_t = EscapeKeys::parse("^t");
    EXPECT_EQ(type(control_t, "\x1dq\x14z"), (Filtered{"\x1dq", EscapeAction::kSuspend}));
    EscapeKeys none = EscapeKeys::parse("none");
    EXPECT_EQ(type(none, "\x1dq"), (Filtered{"\x1dq", EscapeAction::kNone}));
    for (const char* wrong : {"", "]", "^", "^]]", "^1", "^ "})
        EXPECT_THROW(EscapeKeys::parse(wrong), UsageError);
}

}  // namespace
}  // namespace inspect::cli
