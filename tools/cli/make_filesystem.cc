// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/make_filesystem.h"

#include <algorithm>

#include "cli/appliance_script.h"
#include "cli/text.h"

namespace inspect::cli {
namespace {

constexpr char kLinuxData[] = "0fc63daf-8483-4772-8e79-3d69d8477de4";
constexpr char kMicrosoftData[] = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7";
constexpr char kLinuxSwap[] = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";
constexpr char kLinuxLvm[] = "e6d6d379-f507-44c2-a23c-238f2a3df928";

constexpr uint64_t kMiB = uint64_t{1} << 20;

constexpr char kNotInFatLabel[] = "*?.,;:/\\|+=<>[]\"";

// The smallest sizes and the labels are those of Debian 12's tools, NTFS' label that of Windows. mke2fs,
// mkfs.btrfs and mkswap cut a label off that is too long, the others fail.
constexpr FilesystemMaker kMakers[] = {
    {"ext2", "mkfs.ext2 -q -F ${2:+-L \"$2\"} ${3:+-N $3} \"$1\"", "83", kLinuxData, 256 << 10, true, 16,
     LabelUnit::kBytes, ""},
    {"ext3", "mkfs.ext3 -q -F ${2:+-L \"$2\"} ${3:+-N $3} \"$1\"", "83", kLinuxData, 4 * kMiB, true, 16,
     LabelUnit::kBytes, ""},
    {"ext4", "mkfs.ext4 -q -F ${2:+-L \"$2\"} ${3:+-N $3} \"$1\"", "83", kLinuxData, 4 * kMiB, true, 16,
     LabelUnit::kBytes, ""},
    {"xfs", "mkfs.xfs -q -f ${2:+-L \"$2\"} \"$1\"", "83", kLinuxData, 300 * kMiB, true, 12,
     LabelUnit::kBytes, ""},
    {"btrfs", "mkfs.btrfs -q -f ${2:+-L \"$2\"} \"$1\"", "83", kLinuxData, 112 * kMiB, true, 254,
     LabelUnit::kBytes, ""},
    {"f2fs", "mkfs.f2fs -q -f ${2:+-l \"$2\"} \"$1\"", "83", kLinuxData, 64 * kMiB, true, 512,
     LabelUnit::kBytes, ""},
    {"vfat", "mkfs.fat -I ${2:+-n \"$2\"} \"$1\" >/dev/null", "c", kMicrosoftData, 64 << 10, false, 11,
     LabelUnit::kAscii, kNotInFatLabel},
    {"exfat", "mkfs.exfat ${2:+-L \"$2\"} \"$1\" >/dev/null", "7", kMicrosoftData, 3 * kMiB, false, 11,
     LabelUnit::kAscii, ""},
    {"ntfs", "mkntfs -q -F -Q ${2:+-L \"$2\"} \"$1\"", "7", kMicrosoftData, 8 * kMiB, false, 32,
     LabelUnit::kUtf16, ""},
    {"swap", "mkswap ${2:+-L \"$2\"} \"$1\" >/dev/null", "82", kLinuxSwap, 64 << 10, false, 15,
     LabelUnit::kBytes, ""},
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

void require_label(const FilesystemMaker& maker, const std::string& label) {
    const bool utf16 = maker.label_unit == LabelUnit::kUtf16;
    const std::string of = std::string("a label of ") + maker.type + " ";
    if (utf16 && !is_utf8(label)) throw UsageError(of + "is UTF-8");
    if (maker.label_unit == LabelUnit::kAscii &&
        std::any_of(label.begin(), label.end(), [](char c) { return c < ' ' || c > '~'; }))
        throw UsageError(of + "is ASCII");
    size_t length = label.size();
    if (utf16) {
        length = 0;
        for (std::string_view rest = label; !rest.empty();) {
            const size_t bytes = utf8_sequence_length(rest);
            length += bytes == 4 ? 2 : 1;
            rest.remove_prefix(bytes);
        }
    }
    if (length > maker.most_label)
        throw UsageError(of + "has up to " + std::to_string(maker.most_label) +
                         (utf16 ? " characters" : " bytes") + ", not " + std::to_string(length));
    if (label.find_first_of(maker.not_in_label) != label.npos)
        throw UsageError(of + "can't have any of " + maker.not_in_label);
}

uint64_t ext_inodes(uint64_t entries, uint64_t extra, uint64_t size) {
    constexpr uint64_t kSpare = 64;
    // mke2fs.conf(5): bytes for each inode, by the file system's size.
    auto by_itself = [](uint64_t bytes) {
        return bytes / (bytes < 3 * kMiB ? 8192 : bytes < 512 * kMiB ? 4096 : 16384);
    };
    const uint64_t needed = entries + std::max(kSpare, by_itself(extra));
    if (size != 0) return by_itself(size) >= needed ? 0 : needed;
    return needed;
}

void make_filesystem(Guest& guest, const NewFilesystem& wanted) {
    constexpr uint64_t kInode = 256;
    const FilesystemMaker& maker = wanted.maker;
    const bool too_small = wanted.size < std::max(maker.smallest, wanted.inodes * kInode);
    must_run_script(
        guest,
        {.text = maker.command,
         .arguments = {wanted.device, wanted.label, wanted.inodes != 0 ? std::to_string(wanted.inodes) : ""},
         .bare_disks = wanted.bare_disks},
        "cannot make a file system (" + std::string(maker.type) + ") on " + wanted.device,
        too_small ? ErrorKind::kNoSpace : ErrorKind::kInternal);
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
