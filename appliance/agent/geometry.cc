// SPDX-License-Identifier: GPL-2.0-or-later
//
// Sources: linux/fs/ext4/ext4.h, xfs_format.h, btrfs_tree.h; the NTFS boot sector as every driver reads it;
// mkswap(8); LUKS On-Disk Format Specification 1.2.3 and LUKS2 1.1.
#include "geometry.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/checked.h"
#include "fat_resize.h"
#include "fields.h"
#include "partition_format.h"
#include "superblock.h"

namespace inspect::agent {

namespace {

class VolumeBytes {
  public:
    VolumeBytes(int fd, uint64_t offset, uint64_t size) : fd_(fd), offset_(offset), size_(size) {}

    // Empty when that isn't within the volume.
    std::vector<uint8_t> read(uint64_t at, size_t size) const {
        std::vector<uint8_t> bytes(size);
        if (!range_fits(at, size, size_) ||
            !read_table_bytes(fd_, offset_ + size_, offset_ + at, bytes.data(), size))
            bytes.clear();
        return bytes;
    }
    uint64_t size() const { return size_; }
    int fd() const { return fd_; }
    uint64_t offset() const { return offset_; }

  private:
    int fd_;
    uint64_t offset_;
    uint64_t size_;
};

// count * unit, if that makes sense.
std::optional<uint64_t> product(uint64_t count, uint64_t unit) {
    auto result = checked_mul(count, unit);
    return result && *result != 0 ? result : std::nullopt;
}

std::optional<Geometry> ext_geometry(const VolumeBytes& volume) {
    const std::vector<uint8_t> super = volume.read(1024, 1024);
    if (super.empty()) return std::nullopt;
    const uint32_t log = load<le32>(super, 24);
    if (log > 6) return std::nullopt;
    const uint32_t block = 1024u << log;
    uint64_t blocks = load<le32>(super, 4);
    uint64_t free = load<le32>(super, 12);
    constexpr uint32_t k64Bit = 0x80;
    if (load<le32>(super, 96) & k64Bit) {
        blocks |= static_cast<uint64_t>(load<le32>(super, 0x150)) << 32;
        free |= static_cast<uint64_t>(load<le32>(super, 0x158)) << 32;
    }
    const auto size = product(blocks, block);
    if (!size) return std::nullopt;
    Geometry geometry{*size, block};
    if (free <= blocks) geometry.used = (blocks - free) * block;
    return geometry;
}

std::optional<Geometry> xfs_geometry(const VolumeBytes& volume) {
    const std::vector<uint8_t> super = volume.read(0, 512);
    if (super.empty()) return std::nullopt;
    const uint32_t block = load<be32>(super, 4);
    const uint64_t blocks = load<be64>(super, 8);
    const uint64_t free = load<be64>(super, 144);
    const auto size = product(blocks, block);
    if (!size) return std::nullopt;
    Geometry geometry{*size, block};
    if (free <= blocks) geometry.used = (blocks - free) * block;
    return geometry;
}

std::optional<Geometry> btrfs_geometry(const VolumeBytes& volume) {
    const std::vector<uint8_t> super = volume.read(65536, 4096);
    if (super.empty()) return std::nullopt;
    constexpr size_t kDeviceItem = 201;  // of this device: its id, then its size
    Geometry geometry{load<le64>(super, kDeviceItem + 8), load<le32>(super, 144)};
    geometry.used = load<le64>(super, 120);
    geometry.devices = static_cast<uint32_t>(std::min<uint64_t>(load<le64>(super, 136), UINT32_MAX));
    return geometry;
}

std::optional<Geometry> ntfs_geometry(const VolumeBytes& volume) {
    const std::vector<uint8_t> boot = volume.read(0, 512);
    if (boot.empty()) return std::nullopt;
    const uint32_t sector = load<le16>(boot, 11);
    const uint8_t per_cluster = boot[13];
    // The last sector, a copy of the first, is not counted.
    const auto size = product(load<le64>(boot, 40) + 1, sector);
    if (!size || per_cluster == 0) return std::nullopt;
    const uint32_t sectors = per_cluster <= 128 ? per_cluster : 1u << std::min(256 - per_cluster, 12);
    return Geometry{*size, sectors * sector};
}

std::optional<Geometry> fat_geometry(const VolumeBytes& volume) {
    const std::vector<uint8_t> boot = volume.read(0, kFatBootSector);
    if (boot.empty()) return std::nullopt;
    const auto layout = parse_fat_boot_sector(std::span<const uint8_t, kFatBootSector>(boot));
    if (!layout) {
        Geometry geometry{volume.size()};
        geometry.fixed = "its boot sector makes no sense";
        return geometry;
    }
    Geometry geometry{layout->size(), layout->sector_size};
    geometry.fixed = why_fat_is_fixed(*layout);
    if (geometry.fixed.empty() && layout->size() <= volume.size())
        geometry.maximum = largest_fat(*layout, movable_fat_clusters(volume.fd(), volume.offset(), *layout));
    return geometry;
}

std::optional<Geometry> swap_geometry(const VolumeBytes& volume) {
    constexpr uint32_t kPage = 4096;
    const std::vector<uint8_t> page = volume.read(0, kPage);
    if (page.empty() || std::memcmp(page.data() + kPage - 10, "SWAPSPACE2", 10) != 0) return std::nullopt;
    return Geometry{(static_cast<uint64_t>(load<le32>(page, 1028)) + 1) * kPage, kPage};
}

// The first number after `key` in LUKS2's JSON; there every number is a string.
std::optional<uint64_t> json_number(std::string_view text, std::string_view key) {
    size_t at = text.find(key);
    if (at == text.npos) return std::nullopt;
    at = text.find_first_of("0123456789", at + key.size());
    if (at == text.npos) return std::nullopt;
    uint64_t value = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        auto tens = checked_mul<uint64_t>(value, 10);
        auto sum = tens ? checked_add<uint64_t>(*tens, static_cast<uint64_t>(text[at] - '0')) : std::nullopt;
        if (!sum) return std::nullopt;
        value = *sum;
    }
    return value;
}

std::optional<Geometry> luks_geometry(const VolumeBytes& volume) {
    const std::vector<uint8_t> header = volume.read(0, 16384);
    if (header.empty()) return std::nullopt;
    Geometry geometry{volume.size(), 512};
    if (load<be16>(header, 6) == 1) {
        geometry.header = static_cast<uint64_t>(load<be32>(header, 104)) * 512;
        return geometry;
    }
    constexpr size_t kJson = 4096;
    std::string_view json(reinterpret_cast<const char*>(header.data()) + kJson, header.size() - kJson);
    const size_t segments = json.find("\"segments\"");
    if (segments == json.npos) return std::nullopt;
    const auto offset = json_number(json.substr(segments), "\"offset\"");
    if (!offset) return std::nullopt;
    geometry.header = *offset;
    return geometry;
}

}  // namespace

Geometry read_geometry(int fd, uint64_t offset, uint64_t volume_size, std::string_view type) {
    const VolumeBytes volume(fd, offset, volume_size);
    std::optional<Geometry> found;
    if (is_ext(type)) found = ext_geometry(volume);
    if (type == "xfs") found = xfs_geometry(volume);
    if (type == "btrfs") found = btrfs_geometry(volume);
    if (type == "ntfs") found = ntfs_geometry(volume);
    if (type == "vfat") found = fat_geometry(volume);
    if (type == "swap") found = swap_geometry(volume);
    if (type == "crypto_LUKS") found = luks_geometry(volume);
    return found.value_or(Geometry{volume_size});
}

}  // namespace inspect::agent
