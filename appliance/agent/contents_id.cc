// SPDX-License-Identifier: GPL-2.0-or-later
#include "contents_id.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/fd.h"
#include "crc.h"
#include "failure.h"
#include "fields.h"
#include "superblock.h"

namespace inspect::agent {

namespace {

using Bytes = std::vector<uint8_t>;

uint64_t hex_value(std::string_view text, size_t digits) {
    if (text.size() != digits) throw Failure(proto::USAGE, "an identifier of the wrong length", EINVAL);
    uint64_t value = 0;
    const char* const end = text.data() + text.size();
    if (std::from_chars(text.data(), end, value, 16).ptr != end)
        throw Failure(proto::USAGE, "an identifier with other than hexadecimal digits", EINVAL);
    return value;
}

class Device {
  public:
    Device(int fd, uint64_t size) : fd_(fd), size_(size) {}

    // Empty: the device ends before.
    Bytes read(uint64_t offset, size_t size) const {
        Bytes bytes(size);
        if (!range_fits(offset, size, size_) ||
            pread_full(fd_, std::as_writable_bytes(std::span(bytes)), offset, "read a superblock") != size)
            return {};
        return bytes;
    }
    void write(uint64_t offset, const Bytes& bytes) const {
        pwrite_full(fd_, std::as_bytes(std::span(bytes)), offset, "write a superblock");
    }
    // What was written is on the device.
    bool settled() const {
        if (::fsync(fd_) < 0) fail_errno("cannot write", "a superblock");
        return true;
    }

  private:
    int fd_;
    uint64_t size_;
};

// ---- ext2, ext3, ext4. Offsets and features: the kernel's Documentation/filesystems/ext4/super.rst.

class Ext {
  public:
    Ext(const Device& device, const uint8_t (&uuid)[16]) : device_(device), uuid_(uuid) {}

    bool set() {
        super_ = device_.read(kSuper, kSize);
        if (super_.empty() || load<le16>(super_, 0x38) != kMagic || !can_be_done()) return false;
        std::memcpy(old_, super_.data() + kUuid, sizeof old_);
        const bool checksummed = ro_compat() & kMetadataCsum;
        if (checksummed && !(incompat() & kCsumSeed) && seed(old_) != seed(uuid_)) return false;
        const std::vector<uint64_t> copies = backups();
        // The first one last: as long as it is the old one, the file system is.
        for (const uint64_t offset : copies) {
            Bytes copy = device_.read(offset, kSize);
            if (!copy.empty() && load<le16>(copy, 0x38) == kMagic &&
                std::memcmp(copy.data() + kUuid, old_, sizeof old_) == 0)
                write(offset, std::move(copy));
        }
        write(kSuper, super_);
        return device_.settled();
    }

  private:
    static constexpr uint64_t kSuper = 1024;
    static constexpr size_t kSize = 1024;
    static constexpr size_t kUuid = 0x68;
    static constexpr size_t kChecksum = 0x3fc;
    static constexpr uint16_t kMagic = 0xef53;
    static constexpr uint32_t kSparseSuper2 = 0x200, kStableInodes = 0x800;                // compat
    static constexpr uint32_t kRecover = 0x4, kJournalDevice = 0x8, kCsumSeed = 0x2000;    // incompat
    static constexpr uint32_t kSparseSuper = 0x1, kGdtCsum = 0x10, kMetadataCsum = 0x400;  // ro_compat

    uint32_t compat() const { return load<le32>(super_, 0x5c); }
    uint32_t incompat() const { return load<le32>(super_, 0x60); }
    uint32_t ro_compat() const { return load<le32>(super_, 0x64); }

    // A journal to be replayed may hold the superblock; of a file system with errors nothing is sure; group
    // descriptors' old kind of checksum has the UUID in it, and encrypted files (stable_inodes) do.
    bool can_be_done() const {
        constexpr uint16_t kErrors = 2;
        constexpr uint8_t kIsCrc32c = 1;
        if (incompat() & (kRecover | kJournalDevice) || compat() & kStableInodes) return false;
        if (load<le16>(super_, 0x3a) & kErrors) return false;
        if (ro_compat() & kMetadataCsum) return super_[0x175] == kIsCrc32c && is_checksum_right(super_);
        return !(ro_compat() & kGdtCsum);
    }

    static bool is_checksum_right(const Bytes& super) {
        return load<le32>(super, kChecksum) == raw_crc<kCrc32c>(~0u, super.data(), kChecksum);
    }
    static uint32_t seed(const uint8_t (&uuid)[16]) { return raw_crc<kCrc32c>(~0u, uuid, sizeof uuid); }

    void write(uint64_t offset, Bytes copy) const {
        const bool checksummed = ro_compat() & kMetadataCsum;
        std::memcpy(copy.data() + kUuid, uuid_, sizeof uuid_);
        if (checksummed) store<le32>(copy, kChecksum, raw_crc<kCrc32c>(~0u, copy.data(), kChecksum));
        device_.write(offset, copy);
    }

    // Where the superblock's copies are, in bytes.
    std::vector<uint64_t> backups() const {
        constexpr uint32_t kMostLog = 6;
        constexpr uint64_t kMostGroups = 1 << 16;  // where each may have one: none is so large
        const uint32_t log = load<le32>(super_, 0x18);
        const uint64_t per_group = load<le32>(super_, 0x20), first = load<le32>(super_, 0x14);
        if (log > kMostLog || per_group == 0) return {};
        const uint64_t blocks =
            load<le32>(super_, 0x4) | (incompat() & 0x80 ? uint64_t{load<le32>(super_, 0x150)} << 32 : 0);
        const uint64_t groups = blocks / per_group + 1;
        std::vector<uint64_t> numbers;
        if (compat() & kSparseSuper2) {
            numbers = {load<le32>(super_, 0x24c), load<le32>(super_, 0x250)};
        } else if (ro_compat() & kSparseSuper) {
            numbers.push_back(1);
            for (const uint64_t base : {3, 5, 7})
                for (uint64_t n = base; n < groups; n *= base) numbers.push_back(n);
        } else {
            for (uint64_t n = 1; n < std::min(groups, kMostGroups); ++n) numbers.push_back(n);
        }
        std::vector<uint64_t> offsets;
        for (const uint64_t number : numbers)
            if (number != 0 && number < groups) offsets.push_back((number * per_group + first) << (10 + log));
        return offsets;
    }

    const Device& device_;
    const uint8_t (&uuid_)[16];
    uint8_t old_[16];
    Bytes super_;
};

// ---- FAT. Microsoft's FAT specification 1.03, "Boot Sector and BPB".

bool set_fat(const Device& device, uint32_t serial) {
    constexpr size_t kSector = 512;
    constexpr uint8_t kHasSerial = 0x29, kHasSerialOnly = 0x28;
    Bytes boot = device.read(0, kSector);
    if (boot.empty() || boot[510] != 0x55 || boot[511] != 0xaa) return false;
    const bool fat32 = std::memcmp(boot.data() + 82, "FAT32   ", 8) == 0;
    const size_t offset = fat32 ? 67 : 39;
    if (boot[offset - 1] != kHasSerial && boot[offset - 1] != kHasSerialOnly) return false;
    if (fat32) {
        const uint64_t sector_size = load<le16>(boot, 11), copy_at = load<le16>(boot, 50);
        Bytes copy = device.read(copy_at * sector_size, kSector);
        // One that is none is left alone.
        if (copy_at != 0 && copy_at != 0xffff && !copy.empty() &&
            std::equal(copy.begin() + 3, copy.begin() + 90, boot.begin() + 3)) {
            store<le32>(copy, offset, serial);
            device.write(copy_at * sector_size, copy);
        }
    }
    store<le32>(boot, offset, serial);
    device.write(0, boot);
    return device.settled();
}

// ---- F2FS: the kernel's include/linux/f2fs_fs.h, struct f2fs_super_block. Two copies, a block apart.

bool set_f2fs(const Device& device, const uint8_t (&uuid)[16]) {
    constexpr size_t kSize = 3072, kUuid = 108, kFeatures = 2180;
    constexpr uint32_t kMagic = 0xf2f52010, kInodeChecksum = 0x20, kSuperChecksum = 0x800, kEncrypt = 0x1;
    const uint64_t places[] = {4096 + 1024, 1024};
    std::vector<Bytes> copies;
    for (const uint64_t place : places) {
        Bytes copy = device.read(place, kSize);
        if (copy.empty() || load<le32>(copy, 0) != kMagic) return false;
        const uint32_t features = load<le32>(copy, kFeatures);
        // Of inodes' checksums the UUID's is the beginning.
        if (features & kEncrypt ||
            (features & kInodeChecksum &&
             raw_crc<kCrc32>(~0u, copy.data() + kUuid, 16) != raw_crc<kCrc32>(~0u, uuid, sizeof uuid)))
            return false;
        std::memcpy(copy.data() + kUuid, uuid, sizeof uuid);
        const size_t checksum_at = load<le32>(copy, 32);
        if (features & kSuperChecksum) {
            if (checksum_at > kSize - 4) return false;
            store<le32>(copy, checksum_at, raw_crc<kCrc32>(kMagic, copy.data(), checksum_at));
        }
        copies.push_back(std::move(copy));
    }
    for (size_t i = 0; i < copies.size(); ++i) device.write(places[i], copies[i]);
    return device.settled();
}

// ---- Swap space: the kernel's include/linux/swap.h, union swap_header.

bool set_swap(const Device& device, const uint8_t (&uuid)[16]) {
    constexpr size_t kUuid = 1024 + 12, kPage = 4096;
    Bytes header = device.read(0, kPage);
    if (header.empty() || std::memcmp(header.data() + kPage - 10, "SWAPSPACE2", 10) != 0) return false;
    std::copy(std::begin(uuid), std::end(uuid), header.begin() + kUuid);
    device.write(0, header);
    return device.settled();
}

}  // namespace

void parse_uuid(std::string_view text, uint8_t (&out)[16]) {
    std::string digits;
    for (size_t i = 0; i < text.size(); ++i) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash && text[i] != '-') throw Failure(proto::USAGE, "an identifier that is no UUID", EINVAL);
        if (!dash) digits += text[i];
    }
    const uint64_t high =
        hex_value(std::string_view(digits).substr(0, std::min<size_t>(16, digits.size())), 16);
    const uint64_t low = hex_value(std::string_view(digits).substr(16), 16);
    const be64 halves[] = {high, low};
    std::memcpy(out, halves, sizeof out);
}

bool set_contents_id(int fd, uint64_t size, std::string_view type, std::string_view id) {
    const Device device(fd, size);
    if (type == "vfat") {
        std::string digits(id);
        std::erase(digits, '-');
        return set_fat(device, static_cast<uint32_t>(hex_value(digits, 8)));
    }
    const bool ext = is_ext(type);
    if (!ext && type != "f2fs" && type != "swap") return false;
    uint8_t uuid[16];
    parse_uuid(id, uuid);
    if (type == "f2fs") return set_f2fs(device, uuid);
    if (type == "swap") return set_swap(device, uuid);
    return Ext(device, uuid).set();
}

}  // namespace inspect::agent
