// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/partition_list.h"

#include <gtest/gtest.h>

namespace inspect::cli {
namespace {

ListedDisk parse(const std::string& json) {
    ListedDisk disk;
    disk.device = "/dev/sdb";
    parse_partition_table(json, disk);
    return disk;
}

TEST(PartitionList, ReadsWhatSfdiskSays) {
    ListedDisk disk = parse(
        R"({"partitiontable": {"label":"dos", "id":"0x12345678", "device":"/dev/sdb", "unit":"sectors", "sectorsize":512,
            "partitions": [{"node":"/dev/sdb5", "start":4096, "size":2048, "type":"83"},
                           {"node":"/dev/sdb1", "start":2048, "size":1024, "type":"c", "bootable":true}]}})");
    EXPECT_EQ(disk.table, "dos");
    EXPECT_EQ(disk.identifier, "0x12345678");
    ASSERT_EQ(disk.partitions.size(), 2u);
    EXPECT_EQ(disk.partitions[0].device, "/dev/sdb1");
    EXPECT_EQ(disk.partitions[0].start, 1u << 20);
    EXPECT_EQ(disk.partitions[0].size, 512u << 10);
    EXPECT_TRUE(disk.partitions[0].bootable);
    EXPECT_EQ(disk.partitions[1].number, 5u);
    EXPECT_EQ(disk.partitions[1].type, "0x83");
}

// A GPT's name of half a surrogate pair, as sfdisk prints it.
TEST(PartitionList, TakesNamesThatAreNoText) {
    const ListedDisk disk = parse(
        "{\"partitiontable\": {\"label\":\"gpt\", \"id\":\"A\", \"partitions\": [{\"node\":\"/dev/sdb1\", "
        "\"start\":2048, \"size\":8, \"type\":\"T\", \"name\":\"a\xed\xa0\xbd\u00fcz\"}]}}");
    ASSERT_EQ(disk.partitions.size(), 1u);
    EXPECT_EQ(disk.partitions[0].name, "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\u00fcz");
}

TEST(PartitionList, ATableOfAFatIsNone) {
    auto table = [](const std::string& start, const std::string& more) {
        return parse(R"({"partitiontable": {"label":"dos", "id":"0x1", "partitions": [
            {"node":"/dev/sdb1", "start":)" +
                     start + R"(, "size":8192, "type":"c", "bootable":true})" + more + "]}}");
    };
    EXPECT_TRUE(table("0", "").table.empty());
    EXPECT_TRUE(table("0", "").identifier.empty());
    EXPECT_TRUE(table("0", "").partitions.empty());
    EXPECT_EQ(table("1", "").partitions.size(), 1u);
    EXPECT_EQ(table("0", R"(, {"node":"/dev/sdb2", "start":8192, "size":1, "type":"83"})").partitions.size(),
              2u);
}

TEST(PartitionList, BelievesNothing) {
    for (
        const char* wrong :
        {"", "[]", "{}", R"({"partitiontable": 3})", R"({"partitiontable": {"partitions": 3}})",
         R"({"partitiontable": {"partitions": [{"node":"/dev/sdb", "start":1, "size":1}]}})",
         R"({"partitiontable": {"partitions": [{"node":"/dev/sdb1", "start":-1, "size":1}]}})",
         R"({"partitiontable": {"partitions": [{"node":"/dev/sdb99999999999", "start":1, "size":1}]}})",
         R"({"partitiontable": {"partitions": [{"node":"/dev/sdb1", "start":99999999999999999, "size":1}]}})"})
        EXPECT_THROW(parse(wrong), Error) << wrong;
}

TEST(PartitionList, KnowsAHybridMbr) {
    auto sector = [](std::initializer_list<const char*> entries) {
        std::string hex(446 * 2, '0');
        for (const char* entry : entries) hex += entry;
        hex.resize(510 * 2, '0');
        return hex + "55aa";
    };
    const char* protective = "00000200eeffffff01000000ffffffff";
    const char* linux_data = "00000200830000000008000000100000";
    EXPECT_FALSE(is_hybrid(sector({protective})));
    EXPECT_TRUE(is_hybrid(sector({protective, linux_data})));
    EXPECT_FALSE(is_hybrid(sector({linux_data, linux_data})));
    EXPECT_FALSE(is_hybrid("ee"));
    EXPECT_FALSE(is_hybrid(std::string(1024, '0')));
}

}  // namespace
}  // namespace inspect::cli
