// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/listing.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cli/captured_output.h"

namespace inspect::cli {
namespace {

class Listing : public ::testing::Test {
  protected:
    Listing() {
        setenv("TZ", "UTC", 1);
        tzset();
        file_.mode = S_IFREG | 0640;
        file_.inode = 12;
        file_.links = 1;
        file_.uid = 1000;
        file_.gid = 100;
        file_.size = 28328;
        file_.blocks_512 = 56;
        file_.atime_ns = 1'000'000'000;
        file_.mtime_ns = INT64_C(86'400'000'000'000);
        file_.ctime_ns = INT64_C(90'000'000'000'000);
        file_.device = makedev(8, 1);
        link_ = file_;
        link_.mode = S_IFLNK | 0777;
        link_.size = 4;
        link_.link_target = "gawk";
    }
    ~Listing() override {
        unsetenv("TZ");
        tzset();
    }

    FileStat file_;
    FileStat link_;
    ListingOptions options_;
};

// The lines that virt-ls' manual page shows for these.
TEST_F(Listing, FullLinesAreVirtLs) {
    EXPECT_EQ(full_line(options_, "/bin/arch", file_), "- 0640      28328 /bin/arch\n");
    EXPECT_EQ(full_line(options_, "/bin/awk", link_), "l 0777          4 /bin/awk -> gawk\n");
    options_.human = true;
    EXPECT_EQ(full_line(options_, "/bin/arch", file_), "- 0640        28K /bin/arch\n");
}

TEST_F(Listing, FullLinesWithAllFields) {
    options_.uids = options_.times = options_.extra_stats = true;
    EXPECT_EQ(full_line(options_, "/f", file_),
              "- 0640      28328 1000  100 1970-01-01 00:00:01 1970-01-02 00:00:00 1970-01-02 01:00:00 8:1 "
              "12 1 0:0 56 /f\n");
}

TEST_F(Listing, TimesInAllFormats) {
    options_.times = true;
    options_.now_ns = INT64_C(172'800'000'000'000);
    options_.time_format = TimeFormat::kSeconds;
    EXPECT_EQ(full_line(options_, "/f", file_), "- 0640      28328          1      86400      90000 /f\n");
    options_.time_format = TimeFormat::kRelativeSeconds;
    EXPECT_EQ(full_line(options_, "/f", file_), "- 0640      28328   172799    86400    82800 /f\n");
    options_.time_format = TimeFormat::kRelativeDays;
    EXPECT_EQ(full_line(options_, "/f", file_), "- 0640      28328   1   1   0 /f\n");
}

TEST_F(Listing, CsvIsExact) {
    options_.csv = options_.uids = true;
    EXPECT_EQ(full_line(options_, "/a b", file_), "-,0640,28328,1000,100,\"/a b\"\n");
    EXPECT_EQ(full_line(options_, " /x", file_), "-,0640,28328,1000,100,\" /x\"\n");
    EXPECT_EQ(full_line(options_, "/x\ny", link_), "l,0777,4,1000,100,\"/x\ny\",gawk\n");
}

TEST_F(Listing, ANameCannotPassForAnotherLine) {
    std::string line = full_line(options_, "/a\n- 0644 1 /b\x1b[2J", file_);
    EXPECT_EQ(line, "- 0640      28328 /a\\n- 0644 1 /b\\x1b[2J\n");
    link_.link_target = "x\ny";
    EXPECT_EQ(full_line(options_, "/l", link_), "l 0777          4 /l -> x\\ny\n");
}

TEST_F(Listing, LongListingIsAligned) {
    FileStat device = file_;
    device.mode = S_IFBLK | 0660;
    device.rdev_major = 8;
    device.rdev_minor = 16;
    std::vector<DirectoryEntry> entries = {{.path = "arch", .type = 8, .stat = file_, .error = {}},
                                           {.path = "awk", .type = 10, .stat = link_, .error = {}},
                                           {.path = "sdb\n", .type = 6, .stat = device, .error = {}}};
    EXPECT_EQ(long_listing(options_, entries),
              "total 84\n"
              "-rw-r----- 1 1000 100 28328 1970-01-02 00:00 arch\n"
              "lrwxrwxrwx 1 1000 100     4 1970-01-02 00:00 awk -> gawk\n"
              "brw-rw---- 1 1000 100 8, 16 1970-01-02 00:00 sdb\\n\n");
    EXPECT_EQ(long_listing(options_, {}), "total 0\n");
}

TEST_F(Listing, JsonHasAllFields) {
    CapturedOutput captured;
    JsonWriter json(captured.out());
    json.begin_object();
    json_entry(json, "/bin/a\xffk", S_IFLNK, &link_);
    json.end_object();
    auto parsed = nlohmann::json::parse(captured.text());
    EXPECT_EQ(parsed["type"], "symlink");
    EXPECT_EQ(parsed["mode"], "0777");
    EXPECT_EQ(parsed["size"], 4);
    EXPECT_EQ(parsed["target"], "gawk");
    EXPECT_EQ(parsed["mtime"], "1970-01-02T00:00:00.000000000Z");
    EXPECT_EQ(parsed["path_base64"], "L2Jpbi9h/2s=");
}

}  // namespace
}  // namespace inspect::cli
