// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A qcow2 image's header, checked: what the caller must know before it opens anything else (the backing file,
// the data file), and what the driver then works by. No other file is opened or looked at here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "block/block_device.h"
#include "block/qcow2/format.h"

namespace inspect {

enum class Qcow2Compression : uint8_t { kZlib = 0, kZstd = 1 };

// Names come from the image and are not to be trusted: any bytes but NUL, up to 1023 of them.
struct Qcow2Header {
    uint32_t version = 3;  // 2 or 3
    uint32_t cluster_bits = 16;
    uint64_t size = 0;  // virtual, bytes
    uint32_t l1_entries = 0;
    uint64_t l1_offset = 0;
    uint64_t refcount_table_offset = 0;
    uint32_t refcount_table_clusters = 0;
    uint32_t refcount_order = 4;
    uint32_t snapshot_count = 0;
    uint64_t snapshots_offset = 0;
    uint64_t incompatible_features = 0;
    uint64_t compatible_features = 0;
    uint64_t autoclear_features = 0;
    Qcow2Compression compression = Qcow2Compression::kZlib;

    std::optional<std::string> backing_name;    // as it is written there; resolve_image_name() tells where
    std::optional<std::string> backing_format;  // "raw", "qcow2", ...
    std::optional<std::string> data_file_name;  // there may be none although external_data() is true

    uint32_t bitmap_count = 0;  // 0 when there is no bitmaps extension
    uint64_t bitmap_directory_offset = 0;
    uint64_t bitmap_directory_size = 0;

    // The header's first sector as it is on disk: what a change of a field is made in.
    std::array<std::byte, qcow2_format::kHeaderSector> sector{};

    uint64_t cluster_size() const noexcept { return uint64_t{1} << cluster_bits; }
    bool extended_l2() const noexcept {
        return (incompatible_features & qcow2_format::kIncompatibleExtendedL2) != 0;
    }
    bool external_data() const noexcept {
        return (incompatible_features & qcow2_format::kIncompatibleDataFile) != 0;
    }
    // The data file is a raw image of its own, and has to stay one.
    bool raw_external_data() const noexcept {
        return external_data() && (autoclear_features & qcow2_format::kAutoclearRawDataFile) != 0;
    }
    // The program that wrote it last did not close it: refcounts are not right.
    bool dirty() const noexcept { return (incompatible_features & qcow2_format::kIncompatibleDirty) != 0; }
    // A program that wrote it found its metadata damaged.
    bool marked_corrupt() const noexcept {
        return (incompatible_features & qcow2_format::kIncompatibleCorrupt) != 0;
    }
    bool lazy_refcounts() const noexcept {
        return (compatible_features & qcow2_format::kCompatibleLazyRefcounts) != 0;
    }
    uint32_t refcount_bits() const noexcept { return 1u << refcount_order; }
    uint32_t l2_entry_size() const noexcept { return extended_l2() ? 16 : 8; }
    // Clusters that one L2 table maps.
    uint64_t l2_entries() const noexcept { return cluster_size() / l2_entry_size(); }
    // Entries that an L1 table needs for a disk of `bytes`.
    uint64_t l1_entries_for(uint64_t bytes) const noexcept;

    // Reads and checks the header in `file`. Throws Error:
    //   kUnsupported  a feature that this version does not know (named), encryption, another version
    //   kCorrupt      it contradicts itself or the file's size; or is no qcow2 image
    static Qcow2Header parse(BlockDevice& file);
    // True for an image that is encrypted with LUKS, which parse() refuses.
    static bool is_luks(BlockDevice& file);

    // Throws Error(kCorrupt) when the image is marked corrupt, kUnsupported when it is dirty and is to be
    // written.
    void require_intact(bool for_writing) const;
};

// What a backing or data file's name means, as seen from the image that names it.
struct ResolvedImageName {
    bool is_path;  // else it has a protocol ("nbd://...", "json:{...}") and isn't a file of this host
    std::string name;
};

// `image` is the path or URI under which the image was opened. A relative name is relative to its folder, a
// name with a protocol stands for itself, "file:" is taken off. A pure function: nothing is looked up.
// Throws Error(kCorrupt) for an empty name or one with a NUL in it.
ResolvedImageName resolve_image_name(std::string_view image, std::string_view name);

}  // namespace inspect
