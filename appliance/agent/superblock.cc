// SPDX-License-Identifier: GPL-2.0-or-later
#include "superblock.h"

#include <blkid/blkid.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "failure.h"
#include "fields.h"

namespace inspect::agent {

namespace {

// A label: up to the first zero, without the blanks at its end.
std::string text_at(std::span<const uint8_t, 4096> from, size_t offset, size_t size) {
    std::string text(reinterpret_cast<const char*>(from.data()) + offset, size);
    text.resize(std::strlen(text.c_str()));
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
}

std::string uuid_at(std::span<const uint8_t, 4096> from, size_t offset) {
    const uint8_t* u = from.data() + offset;
    char text[37];
    std::snprintf(text, sizeof text, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                  u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13],
                  u[14], u[15]);
    return std::strcmp(text, "00000000-0000-0000-0000-000000000000") == 0 ? std::string() : text;
}

// The superblock is at 1024; offsets are those of the kernel's Documentation/filesystems/ext4/super.rst.
std::optional<Superblock> probe_ext(std::span<const uint8_t, 4096> start) {
    constexpr size_t kSuper = 1024;
    constexpr uint32_t kHasJournal = 0x4;
    constexpr uint32_t kJournalDevice = 0x8;
    constexpr uint32_t kRecover = 0x4;
    // What the ext2 and the ext3 driver knew; any other bit makes it ext4.
    constexpr uint32_t kExt2Incompat = 0x2 | 0x10;
    constexpr uint32_t kExt3Incompat = kExt2Incompat | kRecover;
    constexpr uint32_t kExt3RoCompat = 0x1 | 0x2 | 0x4;
    if (load<le16>(start, kSuper + 0x38) != 0xef53) return std::nullopt;
    uint32_t compat = load<le32>(start, kSuper + 0x5c);
    uint32_t incompat = load<le32>(start, kSuper + 0x60);
    uint32_t ro_compat = load<le32>(start, kSuper + 0x64);
    if (incompat & kJournalDevice) return std::nullopt;  // libblkid calls it jbd
    Superblock found;
    if ((incompat & ~kExt3Incompat) || (ro_compat & ~kExt3RoCompat)) {
        found.type = "ext4";
    } else {
        found.type = compat & kHasJournal ? "ext3" : "ext2";
    }
    found.needs_recovery = incompat & kRecover;
    found.uuid = uuid_at(start, kSuper + 0x68);
    found.label = text_at(start, kSuper + 0x78, 16);
    return found;
}

// XFS Algorithms & Data Structures, "Superblocks".
std::optional<Superblock> probe_xfs(std::span<const uint8_t, 4096> start) {
    if (std::memcmp(start.data(), "XFSB", 4) != 0) return std::nullopt;
    uint32_t block_size = load<be32>(start, 4);
    if (block_size < 512 || block_size > 65536 || (block_size & (block_size - 1))) return std::nullopt;
    Superblock found;
    found.type = "xfs";
    found.uuid = uuid_at(start, 32);
    found.label = text_at(start, 108, 12);
    return found;
}

// BitLocker's boot sector is one of FAT32, but for its signature, or, on removable disks, for a GUID in the
// boot code (libbde's "BitLocker Drive Encryption (BDE) format", "Volume header").
bool is_bitlocker(std::span<const uint8_t, 4096> start) {
    constexpr uint8_t kToGo[] = {0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a,
                                 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01};
    return std::memcmp(start.data() + 3, "-FVE-FS-", 8) == 0 ||
           std::memcmp(start.data() + 424, kToGo, sizeof kToGo) == 0;
}

// Microsoft's FAT specification 1.03, "Boot Sector and BPB".
std::optional<Superblock> probe_fat(std::span<const uint8_t, 4096> start) {
    if (start[510] != 0x55 || start[511] != 0xaa || (start[0] != 0xeb && start[0] != 0xe9))
        return std::nullopt;
    bool fat32 = std::memcmp(start.data() + 82, "FAT32   ", 8) == 0;
    bool fat16 = std::memcmp(start.data() + 54, "FAT16   ", 8) == 0 ||
                 std::memcmp(start.data() + 54, "FAT12   ", 8) == 0;
    if ((!fat32 && !fat16) || is_bitlocker(start)) return std::nullopt;
    Superblock found;
    found.type = "vfat";
    found.has_label = false;
    uint32_t serial = load<le32>(start, fat32 ? 67 : 39);
    char text[16];
    std::snprintf(text, sizeof text, "%04X-%04X", serial >> 16, serial & 0xffff);
    if (serial != 0) found.uuid = text;
    return found;
}

// `only`: the types that are looked for, ended by a nullptr; all of them without it.
Superblock ask_blkid(int fd, uint64_t offset, uint64_t size, const char* const* only = nullptr) {
    if (size == 0) return {};  // to libblkid that would mean the rest of the disk
    std::unique_ptr<blkid_struct_probe, decltype(&blkid_free_probe)> probe(blkid_new_probe(),
                                                                           &blkid_free_probe);
    // Refused are ranges past the end: nothing is on them.
    if (!probe || blkid_probe_set_device(probe.get(), fd, static_cast<blkid_loff_t>(offset),
                                         static_cast<blkid_loff_t>(size)) != 0)
        return {};
    blkid_probe_enable_partitions(probe.get(), 0);
    blkid_probe_enable_superblocks(probe.get(), 1);
    blkid_probe_set_superblocks_flags(probe.get(),
                                      BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE);
    if (only) blkid_probe_filter_superblocks_type(probe.get(), BLKID_FLTR_ONLYIN, const_cast<char**>(only));
    Superblock found;
    errno = 0;
    // -2: more than one; then it is nobody's, as for libblkid's other users.
    int result = blkid_do_safeprobe(probe.get());
    if (result == -1 && errno == EIO) throw Failure::from_errno("cannot read the superblock", EIO);
    if (result != 0) return found;
    auto value = [&](const char* name) {
        const char* data = nullptr;
        size_t length = 0;
        if (blkid_probe_lookup_value(probe.get(), name, &data, &length) != 0 || length == 0)
            return std::string();
        return std::string(data, length - 1);  // it counts the zero
    };
    found.type = value("TYPE");
    found.label = value("LABEL");
    found.uuid = value("UUID");
    return found;
}

}  // namespace

std::optional<Superblock> quick_probe(std::span<const uint8_t, 4096> start) {
    // In this order no more than one can be meant: an ext superblock leaves the boot sector free, XFS
    // doesn't.
    if (std::optional<Superblock> xfs = probe_xfs(start)) return xfs;
    std::optional<Superblock> ext = probe_ext(start);
    std::optional<Superblock> fat = probe_fat(start);
    if (ext && fat) return std::nullopt;  // one of them is a leftover: libblkid decides
    return ext ? ext : fat;
}

Superblock probe_superblock(int fd, uint64_t offset, uint64_t size, bool thorough) {
    uint8_t start[4096] = {};
    ssize_t n;
    do {
        n = ::pread(fd, start, std::min<uint64_t>(sizeof start, size), static_cast<off_t>(offset));
    } while (n < 0 && errno == EINTR);
    if (n < 0) throw Failure::from_errno("cannot read the superblock", errno);
    std::optional<Superblock> quick = quick_probe(std::span<const uint8_t, 4096>(start));
    if (quick && !thorough) return *quick;
    Superblock found = ask_blkid(fd, offset, size);
    if (quick && quick->type == found.type) found.needs_recovery = quick->needs_recovery;
    return found;
}

std::optional<Superblock> probe_member(int fd, uint64_t offset, uint64_t size) {
    static constexpr const char* kMembers[] = {"linux_raid_member", "ddf_raid_member", "isw_raid_member",
                                               "drbd", nullptr};
    Superblock found = ask_blkid(fd, offset, size, kMembers);
    return found.type.empty() ? std::nullopt : std::optional(std::move(found));
}

}  // namespace inspect::agent
