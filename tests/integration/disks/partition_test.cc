// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp partition and insp alignment. The judges are the host's sfdisk and sgdisk.
#include <filesystem>

#include "support/insp.h"

namespace inspect::test {
namespace {

using nlohmann::json;

class Partition : public ApplianceTest {
  protected:
    std::string change(const Args& args) const {
        Args all{"partition", "-a"};
        all.insert(all.end(), args.begin(), args.end());
        return insp_ok(all);
    }
    Outcome try_to(const Args& args) const {
        Args all{"partition", "-a"};
        all.insert(all.end(), args.begin(), args.end());
        return insp(all);
    }
    // As the host's sfdisk sees the image.
    static json judged(const std::string& image) {
        Outcome outcome = run({"/usr/sbin/sfdisk", "--json", image});
        json document = json::parse(outcome.out, nullptr, false);
        EXPECT_FALSE(document.is_discarded()) << outcome.describe();
        return document.is_discarded() ? json() : document["partitiontable"];
    }
    static json partition(const json& table, unsigned number) {
        for (const json& entry : table["partitions"]) {
            std::string node = entry["node"];
            if (node.ends_with(std::to_string(number)) &&
                !isdigit(node[node.size() - 1 - std::to_string(number).size()]))
                return entry;
        }
        return {};
    }
    std::string disk(const char* table, const char* lines) const {
        std::string image = scratch() / "disk.img";
        write_host_file(image, "");
        std::filesystem::resize_file(image, 64 << 20);
        Outcome made = run({"/usr/sbin/sfdisk", "-q", "--label", table, image}, {.input = lines});
        EXPECT_TRUE(made.ok()) << made.describe();
        return image;
    }
};

TEST_F(Partition, ListsWhatSfdiskSees) {
    std::string image = guest("gpt");
    json ours = insp_json({"partition", "-a", image, "--json"})["disks"][0];
    json theirs = judged(image);
    EXPECT_EQ(ours["table"], "gpt");
    EXPECT_EQ(ours["identifier"], theirs["id"]);
    ASSERT_EQ(ours["partitions"].size(), theirs["partitions"].size());
    for (size_t i = 0; i < theirs["partitions"].size(); ++i) {
        const json& one = ours["partitions"][i];
        const json& other = theirs["partitions"][i];
        EXPECT_EQ(one["start"], other["start"].get<uint64_t>() * 512);
        EXPECT_EQ(one["size"], other["size"].get<uint64_t>() * 512);
        EXPECT_EQ(one["uuid"], other["uuid"]);
        EXPECT_EQ(one["type"], other["type"]);
    }
}

TEST_F(Partition, ChangesAGpt) {
    std::string image = disk("gpt", "size=8M, name=first\nsize=8M\n");
    json before = judged(image);
    EXPECT_EQ(change({image, "add", "--size", "4M", "--type", "swap", "--name", "a swap"}), "/dev/sda3\n");
    EXPECT_EQ(change({image, "add", "--number", "7", "--start", "40M"}), "/dev/sda7\n");
    change({image, "name", "/dev/sda2", "second \xc3\xbc"});
    change({image, "type", "/dev/sda1", "uefi"});
    change({image, "resize", "/dev/sda3", "+2M"});
    json after = judged(image);
    EXPECT_EQ(after["id"], before["id"]);
    json first = partition(after, 1), second = partition(after, 2), third = partition(after, 3),
         last = partition(after, 7);
    EXPECT_EQ(first["uuid"], partition(before, 1)["uuid"]);
    EXPECT_EQ(first["type"], "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
    EXPECT_EQ(first["start"], partition(before, 1)["start"]);
    EXPECT_EQ(second["name"], "second \xc3\xbc");
    EXPECT_EQ(third["name"], "a swap");
    EXPECT_EQ(third["size"], (6 << 20) / 512);
    EXPECT_EQ(last["start"], (40 << 20) / 512);
    EXPECT_GT(last["size"].get<uint64_t>(), (20u << 20) / 512) << "all that is free";
    change({image, "delete", "/dev/sda2"});
    EXPECT_TRUE(partition(judged(image), 2).is_null());
    EXPECT_THAT(run({"/usr/sbin/sgdisk", "--verify", image}).out, ::testing::HasSubstr("No problems found"));
}

TEST_F(Partition, SaysAsJsonWhatItChanged) {
    const std::string image = disk("gpt", "size=8M\nsize=8M\n");
    auto changed = [&](Args args) {
        args.insert(args.begin(), {"partition", "--json", "-a", image});
        return insp_json(args);
    };
    // And by the names that a guest has for its disk.
    EXPECT_EQ(changed({"add", "--disk", "/dev/vda", "--size", "1M"}), (json{{"device", "/dev/sda3"}}));
    EXPECT_EQ(changed({"resize", "/dev/vda3", "2M"}), (json{{"device", "/dev/sda3"}}));
    EXPECT_EQ(changed({"name", "/dev/hda2", "named"}), (json{{"device", "/dev/sda2"}}));
    EXPECT_EQ(changed({"delete", "sda1"}), (json{{"device", "/dev/sda1"}}));
    const json after = judged(image);
    EXPECT_TRUE(partition(after, 1).is_null());
    EXPECT_EQ(partition(after, 2)["name"], "named");
    EXPECT_EQ(partition(after, 3)["size"], (2 << 20) / 512);
}

// A name of half a surrogate pair, which is no text.
TEST_F(Partition, ListsNamesThatAreNoText) {
    const std::string image = disk("gpt", "size=8M, name=aXb\n");
    const std::string script = R"(
import struct, sys, zlib
with open(sys.argv[1], 'r+b') as image:
    disk = bytearray(image.read())
    for header in 512, len(disk) - 512:
        first, = struct.unpack_from('<Q', disk, header + 72)
        count, size = struct.unpack_from('<II', disk, header + 80)
        disk[first * 512 + 58:first * 512 + 60] = b'\x3d\xd8'
        struct.pack_into('<I', disk, header + 88, zlib.crc32(disk[first * 512:first * 512 + count * size]))
        struct.pack_into('<I', disk, header + 16, 0)
        struct.pack_into('<I', disk, header + 16, zlib.crc32(disk[header:header + 92]))
    image.seek(0)
    image.write(disk)
)";
    const Outcome renamed = run({"python3", "-c", script, image});
    ASSERT_TRUE(renamed.ok()) << renamed.describe();
    const json listed = insp_json({"partition", "--json", "-a", image});
    EXPECT_EQ(listed["disks"][0]["partitions"][0]["name"],
              "a\ufffd\ufffd\ufffd"
              "b");
    EXPECT_EQ(insp({"alignment", "-a", image}).code, 0);
}

TEST_F(Partition, ChangesAnMbr) {
    std::string image = disk("dos", "size=8M, bootable\nsize=40M, type=5\nsize=8M\n");
    EXPECT_EQ(change({image, "add", "--size", "4M", "--type", "0xc", "--number", "5"}), "/dev/sda5\n");
    change({image, "type", "/dev/sda1", "7"});
    json after = judged(image);
    EXPECT_EQ(partition(after, 5)["type"], "c");
    EXPECT_GT(partition(after, 5)["start"], partition(after, 2)["start"]) << "in the extended one";
    EXPECT_EQ(partition(after, 1)["type"], "7");
    EXPECT_EQ(partition(after, 1)["bootable"], true);
    EXPECT_TRUE(refused(try_to({image, "name", "/dev/sda1", "x"}), kFailed, "no names"));
    // sfdisk takes these for 0, which is no partition at all.
    const std::string before = sha256(image);
    for (const char* type : {"nonsense", "home", "0", "00", "183"}) {
        EXPECT_TRUE(refused(try_to({image, "type", "/dev/sda1", type}), kFailed, "no type of a partition"));
        EXPECT_TRUE(refused(try_to({image, "add", "--size", "1M", "--type", type}), kFailed, "no type"));
    }
    EXPECT_EQ(sha256(image), before);
}

TEST_F(Partition, RefusesWhatWouldDoHarm) {
    std::string image = disk("gpt", "size=8M\nsize=8M\n");
    std::string before = sha256(image);
    EXPECT_TRUE(refused(try_to({image, "resize", "/dev/sda1", "-2M"}), kFailed, "insp resize"));
    EXPECT_TRUE(refused(try_to({image, "resize", "/dev/sda1", "+2M"}), kFailed, "resize /dev/sda1"));
    EXPECT_TRUE(refused(try_to({image, "delete", "/dev/sda9"}), kFailed, "/dev/sda2"));
    EXPECT_TRUE(
        refused(try_to({image, "resize", "/dev/sda1", "-1G"}), kFailed, "leaves nothing of /dev/sda1"));
    EXPECT_TRUE(refused(try_to({image, "add", "--size", "100"}), kFailed, "less than a sector"));
    EXPECT_TRUE(refused(try_to({image, "add", "--number", "2"}), kFailed, "exists already"));
    // What is wrong whatever the disk has shows before the image is opened.
    for (const Args& wrong :
         {Args{"add", "--size", "12Q"}, Args{"add", "--number", "0"}, Args{"add", "--type", "a b"},
          Args{"type", "/dev/sda1", "a b"}, Args{"resize", "/dev/sda1", "+0"}}) {
        Args args{scratch() / "missing"};
        args.insert(args.end(), wrong.begin(), wrong.end());
        EXPECT_EQ(try_to(args).code, kUsage) << wrong[0] << " " << wrong.back();
    }
    EXPECT_TRUE(refused(try_to({image, "add", "--size", "100G"}), kFailed, "add a partition"));
    EXPECT_TRUE(refused(try_to({image, "add", "--name", "a\", type=\"uefi"}), kUsage, "--name"));
    EXPECT_TRUE(refused(try_to({image, "explode"}), kUsage, "explode"));
    EXPECT_TRUE(refused(try_to({copy_of("ext4"), "add"}), kFailed, "no partition table"));
    EXPECT_EQ(sha256(image), before);
    ASSERT_TRUE(run({"/usr/sbin/sgdisk", "--hybrid", "1", image}).ok());
    before = sha256(image);
    EXPECT_TRUE(refused(try_to({image, "delete", "/dev/sda2"}), kFailed, "hybrid"));
    EXPECT_EQ(sha256(image), before);
}

TEST_F(Partition, AlignmentHasTheExitCodesOfVirtAlignmentScan) {
    auto scan = [&](const std::string& image, const Args& more = {}) {
        Args args{"alignment", "-a", image};
        args.insert(args.end(), more.begin(), more.end());
        return insp(args);
    };
    Outcome good = scan(disk("dos", "start=2048\n"));
    EXPECT_EQ(good.code, 0) << good.describe();
    EXPECT_THAT(good.out, ::testing::MatchesRegex("/dev/sda1 +1048576 +1024K +ok\n"));
    Outcome fair = scan(disk("dos", "start=72\n"));
    EXPECT_EQ(fair.code, 2) << fair.describe();
    EXPECT_THAT(fair.out, ::testing::MatchesRegex("/dev/sda1 +36864 +4K +bad \\(alignment < 64K\\)\n"));
    Outcome bad = scan(disk("dos", "start=63\n"), {"--json"});
    EXPECT_EQ(bad.code, 3) << bad.describe();
    EXPECT_EQ(json::parse(bad.out)["partitions"][0]["alignment"], 512);
    EXPECT_EQ(scan(disk("dos", "start=63\n"), {"-q"}).out, "");
    const Outcome logical =
        scan(disk("dos", "start=2048, size=8M\nstart=20480, type=5\nstart=20543, size=8M\n"));
    EXPECT_EQ(logical.code, 3) << logical.describe();
    EXPECT_THAT(logical.out, ::testing::MatchesRegex("/dev/sda1 +1048576 +1024K +ok\n/dev/sda2 +.*\n"
                                                     "/dev/sda5 +10518016 +512 +bad \\(alignment < 4K\\)\n"));
    // mkfs.fat pretends that there is a table.
    std::filesystem::create_directory(scratch() / "files");
    const std::string fat = scratch() / "fat.img";
    insp_ok({"make-fs", "-t", "vfat", scratch() / "files", fat});
    EXPECT_EQ(judged(fat)["partitions"][0]["start"], 0);
    EXPECT_EQ(scan(fat).code, 0);
    EXPECT_EQ(scan(fat).out, "");
    EXPECT_FALSE(insp_json({"partition", "--json", "-a", fat})["disks"][0].contains("table"));
    EXPECT_EQ(scan(scratch() / "missing").code, 1);
}

TEST_F(Partition, AlignmentOfAllDomains) {
    auto domain = [&](const std::string& name, const char* partitions) {
        const std::string image = scratch() / (name + ".img");
        std::filesystem::rename(disk("dos", partitions), image);
        write_host_file(scratch() / name, "<domain><name>" + name +
                                              "</name><devices><disk type='file' device='disk'>"
                                              "<driver name='qemu' type='raw'/><source file='" +
                                              image +
                                              "'/>"
                                              "<target dev='vda' bus='virtio'/></disk></devices></domain>");
    };
    domain("good", "start=2048\n");
    domain("old one", "start=72\n");
    const std::string virsh = scratch() / "virsh";
    write_host_file(virsh, "#!/bin/sh\ncd '" + scratch().string() + R"sh('
case "$*" in
"--readonly --quiet --connect=test:///x list --all --name") /bin/cat names ;;
"--readonly --quiet --connect=test:///x list --all --uuid") echo good ;;
*" dumpxml --domain="*) exec /bin/cat "${5#--domain=}" ;;
*) exit 1 ;;
esac)sh");
    ::chmod(virsh.c_str(), 0755);
    Options with;
    with.env["PATH"] = scratch().string() + ":/usr/bin:/bin";
    auto scan = [&](Args more) {
        more.insert(more.begin(), {"alignment", "-c", "test:///x"});
        return insp(more, with);
    };
    write_host_file(scratch() / "names", "good\nold one\n\n");
    const Outcome both = scan({});
    EXPECT_EQ(both.code, 2) << both.describe();
    EXPECT_THAT(both.out, ::testing::MatchesRegex("good:/dev/sda1 .* ok\nold one:/dev/sda1 .* bad .*\n"));
    EXPECT_EQ(json::parse(scan({"--json"}).out)["partitions"][1]["domain"], "old one");
    EXPECT_EQ(scan({"--uuid"}).code, 0);
    EXPECT_EQ(scan({"--uuid", "-a", virsh}).code, 1);
    // One that is gone doesn't keep the others from being looked at.
    write_host_file(scratch() / "names", "gone\ngood\n");
    const Outcome one = scan({});
    EXPECT_EQ(one.code, 1);
    EXPECT_THAT(one.err, ::testing::HasSubstr("the domain 'gone'"));
    EXPECT_THAT(one.out, ::testing::StartsWith("good:/dev/sda1 "));
    write_host_file(scratch() / "names", "\n");
    const Outcome none = scan({});
    EXPECT_EQ(none.code, 0) << none.describe();
    EXPECT_EQ(none.out, "");
}

}  // namespace
}  // namespace inspect::test
