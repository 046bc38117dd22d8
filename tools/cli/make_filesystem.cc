// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/make_filesystem.h"

#include "cli/appliance_script.h"

namespace inspect::cli {
namespace {

constexpr char kLinuxData[] = "0fc63daf-8483-4772-8e79-3d69d8477de4";
constexpr char kMicrosoftData[] = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7";
constexpr char kLinuxSwap[] = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";
constexpr char kLinuxLvm[] = "e6d6d379-f507-44c2-a23c-238f2a3df928";

constexpr uint64_t kMiB = uint64_t{1} << 20;

// The smallest sizes are those of Debian 12's tools.
constexpr FilesystemMaker kMakers[] = {
    {"ext2", "mkfs.ext2 -q -F ${2:+-L \"$2\"} ${3:+-N $3} \"$1\"", "83", kLinuxData, 256 << 10, true},
    {"ext3", "mkfs.ext3 -q -F ${2:+-L \"$2\"} ${3:+-N $3} \"$1\"", "83", kLinuxData, 4 * kMiB, true},
    {"ext4", "mkfs.ext4 -q -F ${2:+-L \"$2\"} ${3:+-N $3} \"$1\"", "83", kLinuxData, 4 * kMiB, true},
    {"xfs", "mkfs.xfs -q -f ${2:+-L \"$2\"} \"$1\"", "83", kLinuxData, 300 * kMiB, true},
    {"btrfs", "mkfs.btrfs -q -f ${2:+-L \"$2\"} \"$1\"", "83", kLinuxData, 112 * kMiB, true},
    {"f2fs", "mkfs.f2fs -q -f ${2:+-l \"$2\"} \"$1\"", "83", kLinuxData, 64 * kMiB, true},
    {"vfat", "mkfs.fat -I ${2:+-n \"$2\"} \"$1\" >/dev/null", "c", kMicrosoftData, 64 << 10, false},
    {"exfat", "mkfs.exfat ${2:+-L \"$2\"} \"$1\" >/dev/null", "7", kMicrosoftData, 1 * kMiB, false},
    {"ntfs", "mkntfs -q -F -Q ${2:+-L \"$2\"} \"$1\"", "7", kMicrosoftData, 8 * kMiB, false},
    {"swap", "mkswap ${2:+-L \"$2\"} \"$1\" >/dev/null", "82", kLinuxSwap, 64 << 10, false},
};

// Partitions first: what is in them would come to light again under a new table that is like the old one.
constexpr char kWipe[] =
    "for part in \"$1\"?*; do [ -b \"$part\" ] && { wipefs -q -a -f \"$part\" || exit 1; }; done\n"
    "exec wipefs -q -a -f \"$1\"\n";

}  // namespace

const FilesystemMaker& filesystem_maker(const std::string& type) {
    std::string known;
    for (const FilesystemMaker& maker : kMakers) {
        if (type == maker.type || (type == "fat" && std::string_view(maker.type) == "vfat")) return maker;
        known += (known.empty() ? "" : ", ") + std::string(maker.type);
    }
    throw UsageError("'" + type + "' is no file system that can be made; there is " + known);
}

void make_filesystem(Guest& guest, const FilesystemMaker& maker, const std::string& device,
                     const std::string& label, const std::string& files) {
    must_run_script(guest, {.text = maker.command, .arguments = {device, label, files}},
                    "cannot make a file system (" + std::string(maker.type) + ") on " + device,
                    ErrorKind::kNoSpace);
}

NewTable new_table(const std::string& option, const std::string& text) {
    if (text == "none") return NewTable::kNone;
    if (text == "mbr" || text == "msdos" || text == "dos") return NewTable::kMbr;
    if (text == "gpt" || text == "efi") return NewTable::kGpt;
    throw UsageError(option + " is 'mbr', 'gpt' or 'none', not '" + text + "'");
}

NewTable default_table(uint64_t disk_size) {
    constexpr uint64_t kMbrLimit = uint64_t{2} << 40;
    return disk_size < kMbrLimit ? NewTable::kMbr : NewTable::kGpt;
}

std::string make_table(Guest& guest, const std::string& disk, NewTable table, const FilesystemMaker* maker,
                       bool lvm) {
    must_run_script(guest, {.text = kWipe, .arguments = {disk}}, "cannot erase " + disk);
    if (table == NewTable::kNone) return disk;
    const bool gpt = table == NewTable::kGpt;
    std::string type = gpt ? kLinuxData : "83";
    if (maker != nullptr) type = gpt ? maker->gpt_type : maker->mbr_type;
    if (lvm) type = gpt ? kLinuxLvm : "8e";
    must_run_script(
        guest,
        {.text = "exec sfdisk -q --no-reread --no-tell-kernel --wipe always --label \"$2\" \"$1\"",
         .arguments = {disk, gpt ? "gpt" : "dos"},
         .input = "size=+, type=" + type + "\n"},
        "cannot make a partition table on " + disk, ErrorKind::kNoSpace);
    return disk + "1";
}

}  // namespace inspect::cli
