// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/text.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <ctime>

namespace inspect::cli {
namespace {

// The local time zone for the time of a test.
class Zone {
  public:
    explicit Zone(const char* name) {
        setenv("TZ", name, 1);
        tzset();
    }
    ~Zone() {
        unsetenv("TZ");
        tzset();
    }
};

TEST(Utf8, AcceptsWhatUnicodeAllows) {
    for (const char* text :
         {"", "plain", "\xc3\xa9", "\xe2\x82\xac", "\xed\x9f\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
        EXPECT_TRUE(is_utf8(text)) << text;
}

TEST(Utf8, RefusesOverlongSurrogatesAndTruncated) {
    for (const char* text :
         {"\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "\xe2\x28\xa1"})
        EXPECT_FALSE(is_utf8(text)) << text;
}

TEST(Utf8, ReplacesWhatIsNone) {
    EXPECT_EQ(valid_utf8("a\u00fc\U0001f600"), "a\u00fc\U0001f600");
    EXPECT_EQ(valid_utf8("a\xed\xa0\xbd"
                         "b\xff"),
              "a\ufffd\ufffd\ufffd"
              "b\ufffd");
    EXPECT_EQ(valid_utf8(""), "");
}

TEST(Escape, NoControlCharacterSurvives) {
    EXPECT_EQ(escape_message("a\nb\tc\rd\x1b[31m\x7f"), "a\\nb\\tc\\rd\\x1b[31m\\x7f");
    EXPECT_EQ(escape_message("\xc2\x9b"), "\\x9b");  // CSI as a C1 character
    EXPECT_EQ(escape_message("\xe9t\xc3\xa9"), "\\xe9t\xc3\xa9");
    EXPECT_EQ(escape_message(std::string_view("\0", 1)), "\\x00");
}

TEST(Escape, NamesKeepTheirEncodingAndTheirBackslashes) {
    EXPECT_EQ(escape_control("\xe9t\\x2d\n"), "\xe9t\\x2d\\n");
}

TEST(HumanSize, RoundsUpAsLsDoes) {
    // Each from "ls -lh" or "numfmt --to=iec --round=up".
    EXPECT_EQ(human_size(0), "0");
    EXPECT_EQ(human_size(1023), "1023");
    EXPECT_EQ(human_size(1024), "1.0K");
    EXPECT_EQ(human_size(1025), "1.1K");
    EXPECT_EQ(human_size(10138), "10K");
    EXPECT_EQ(human_size(10240), "10K");
    EXPECT_EQ(human_size(10241), "11K");
    EXPECT_EQ(human_size(1047553), "1.0M");
    EXPECT_EQ(human_size(1048576), "1.0M");
    EXPECT_EQ(human_size(2147483648), "2.0G");
    EXPECT_EQ(human_size(UINT64_C(1) << 60), "1.0E");
    EXPECT_EQ(human_size(UINT64_MAX), "16E");
}

TEST(Csv, QuotesWhatWouldBreakTheRow) {
    EXPECT_EQ(csv_field("plain"), "plain");
    EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
    EXPECT_EQ(csv_field("a b"), "\"a b\"");
    EXPECT_EQ(csv_field("a\nb"), "\"a\nb\"");
    EXPECT_EQ(csv_field("say \"x\""), "\"say \"\"x\"\"\"");
}

TEST(Mode, IsSpelledAsLsSpellsIt) {
    EXPECT_EQ(mode_string(S_IFREG | 0644), "-rw-r--r--");
    EXPECT_EQ(mode_string(S_IFDIR | 01777), "drwxrwxrwt");
    EXPECT_EQ(mode_string(S_IFREG | 06755), "-rwsr-sr-x");
    EXPECT_EQ(mode_string(S_IFREG | 07000), "---S--S--T");
    EXPECT_EQ(mode_string(S_IFLNK | 0777), "lrwxrwxrwx");
    EXPECT_EQ(mode_string(0), "u---------");
}

TEST(Mode, DirentTypesAreTypes) {
    EXPECT_EQ(type_word(mode_of_dirent_type(DT_DIR)), "directory");
    EXPECT_EQ(type_word(mode_of_dirent_type(DT_LNK)), "symlink");
    EXPECT_EQ(type_word(mode_of_dirent_type(DT_UNKNOWN)), "unknown");
}

TEST(Times, BeforeTheEpochToo) {
    EXPECT_EQ(utc_time(0), "1970-01-01T00:00:00.000000000Z");
    EXPECT_EQ(utc_time(-1), "1969-12-31T23:59:59.999999999Z");
    EXPECT_EQ(utc_time(INT64_MAX), "2262-04-11T23:47:16.854775807Z");
    Zone zone("EST5");
    EXPECT_EQ(local_time(0), "1969-12-31 19:00:00");
}

TEST(Table, AlignsAndEndsLinesClean) {
    EXPECT_EQ(table({{"a", "1", "x"}, {"long", "22", "y"}}, {false, true}), "a      1  x\nlong  22  y\n");
    EXPECT_EQ(table({{"\xc3\xa9", "x"}, {"ab", "y"}}, {}), "\xc3\xa9   x\nab  y\n");
    EXPECT_EQ(table({}, {}), "");
}

TEST(ParseSize, TakesSuffixesAndRefusesNonsense) {
    EXPECT_EQ(parse_size("256", 1 << 20), 256u << 20);
    EXPECT_EQ(parse_size("1G", 1 << 20), 1u << 30);
    EXPECT_EQ(parse_size("64k", 1), 64u << 10);
    EXPECT_EQ(parse_size("2MiB", 1), 2u << 20);
    for (const char* text : {"", "G", "1X", "-1", "1.5G", "1G ", "99999999999999999999", "99999999T"})
        EXPECT_EQ(parse_size(text, 1 << 20), std::nullopt) << text;
}

TEST(ParseMode, IsOctalAndBounded) {
    EXPECT_EQ(parse_octal_mode("0644"), 0644u);
    EXPECT_EQ(parse_octal_mode("7777"), 07777u);
    for (const char* text : {"", "8", "10000", "u+x", "-1", "644 "})
        EXPECT_EQ(parse_octal_mode(text), std::nullopt) << text;
}

TEST(ParseTime, TakesEpochAndCalendar) {
    EXPECT_EQ(parse_time("@0"), 0);
    EXPECT_EQ(parse_time("@1.5"), 1'500'000'000);
    EXPECT_EQ(parse_time("@-1.5"), -1'500'000'000);
    EXPECT_EQ(parse_time("1970-01-02T00:00:00Z"), 86400 * INT64_C(1'000'000'000));
    EXPECT_EQ(parse_time("2024-02-29 12:00:00.25+01:00"), INT64_C(1709204400'250'000'000));
    Zone zone("EST5");
    EXPECT_EQ(parse_time("1970-01-01"), 5 * 3600 * INT64_C(1'000'000'000));
    EXPECT_EQ(parse_time("1970-01-01 00:01"), (5 * 3600 + 60) * INT64_C(1'000'000'000));
}

TEST(ParseTime, RefusesWhatIsNoDate) {
    for (const char* text : {"", "@", "@x", "@1.", "2023-02-29", "2024-13-01", "2024-01-00", "2024-1-1",
                             "2024-01-01T", "2024-01-01 24:00", "2024-01-01 10:61", "2024-01-01 10:00:00 X",
                             "2024-01-01 10:00+25:00", "@99999999999999999999", "9999-12-31", "tomorrow"})
        EXPECT_EQ(parse_time(text), std::nullopt) << text;
}

}  // namespace
}  // namespace inspect::cli
