// SPDX-License-Identifier: LGPL-2.1-or-later
//
// qcow2 on disk: the structures and numbers of QEMU's docs/interop/qcow2, which is the specification that
// this folder follows. All integers are big-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/endian.h"

namespace inspect::qcow2_format {

inline constexpr uint32_t kMagic = 0x514649fb;  // "QFI\xfb"

struct Header {
    be32 magic;
    be32 version;
    be64 backing_offset;
    be32 backing_length;
    be32 cluster_bits;
    be64 size;  // virtual, bytes
    be32 crypt_method;
    be32 l1_entries;
    be64 l1_offset;
    be64 refcount_table_offset;
    be32 refcount_table_clusters;
    be32 snapshot_count;
    be64 snapshots_offset;
    // Version 3 has these, too.
    be64 incompatible_features;
    be64 compatible_features;
    be64 autoclear_features;
    be32 refcount_order;  // a refcount has 1 << refcount_order bits
    be32 header_length;
    uint8_t compression_type;  // if header_length covers it
    uint8_t padding[7];
};
static_assert(sizeof(Header) == 112);
inline constexpr uint32_t kHeaderLength2 = 72;
inline constexpr uint32_t kHeaderLength3 = 104;  // the least that version 3 has

inline constexpr uint32_t kCryptLuks = 2;

inline constexpr uint64_t kIncompatibleDirty = 1u << 0;
inline constexpr uint64_t kIncompatibleCorrupt = 1u << 1;
inline constexpr uint64_t kIncompatibleDataFile = 1u << 2;
inline constexpr uint64_t kIncompatibleCompression = 1u << 3;
inline constexpr uint64_t kIncompatibleExtendedL2 = 1u << 4;
inline constexpr uint64_t kIncompatibleKnown = 0x1f;
inline constexpr uint64_t kCompatibleLazyRefcounts = 1u << 0;
inline constexpr uint64_t kAutoclearBitmaps = 1u << 0;
inline constexpr uint64_t kAutoclearRawDataFile = 1u << 1;

struct Extension {  // then `length` bytes, padded to a multiple of 8
    be32 type;
    be32 length;
};
inline constexpr uint32_t kExtensionEnd = 0;
inline constexpr uint32_t kExtensionBackingFormat = 0xe2792aca;
inline constexpr uint32_t kExtensionFeatureNames = 0x6803f857;
inline constexpr uint32_t kExtensionBitmaps = 0x23852875;
inline constexpr uint32_t kExtensionDataFile = 0x44415441;

struct FeatureName {
    uint8_t kind;  // 0 incompatible, 1 compatible, 2 autoclear
    uint8_t bit;
    char name[46];
};
static_assert(sizeof(FeatureName) == 48);

struct BitmapsExtension {
    be32 count;
    be32 reserved;
    be64 directory_size;
    be64 directory_offset;
};
static_assert(sizeof(BitmapsExtension) == 24);

struct BitmapEntry {  // then extra data, then the name, padded to a multiple of 8
    be64 table_offset;
    be32 table_entries;
    be32 flags;
    uint8_t type;
    uint8_t granularity_bits;
    be16 name_length;
    be32 extra_length;
};
static_assert(sizeof(BitmapEntry) == 24);
inline constexpr uint32_t kBitmapInUse = 1u << 0;
inline constexpr uint32_t kBitmapAuto = 1u << 1;
inline constexpr uint32_t kBitmapExtraCompatible = 1u << 2;
inline constexpr uint8_t kBitmapDirtyTracking = 1;

struct SnapshotEntry {  // then extra data, id, name, padded to a multiple of 8
    be64 l1_offset;
    be32 l1_entries;
    be16 id_length;
    be16 name_length;
    be32 seconds;
    be32 nanoseconds;
    be64 vm_clock;
    be32 vm_state_size;
    be32 extra_length;
};
static_assert(sizeof(SnapshotEntry) == 40);
struct SnapshotExtra {
    be64 vm_state_size;
    be64 disk_size;
};

// Entries of L1 tables, L2 tables and the refcount table.
inline constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;          // of L1 and standard L2 entries
inline constexpr uint64_t kRefcountOffsetMask = 0xfffffffffffffe00;  // of refcount table entries
inline constexpr uint64_t kCopied = uint64_t{1} << 63;
inline constexpr uint64_t kCompressed = uint64_t{1} << 62;
inline constexpr uint64_t kZero = 1;
inline constexpr uint32_t kSubclusters = 32;  // of a cluster, with extended L2 entries

// What an image may ask for. The specification leaves these open; they are QEMU's, so that what one program
// makes the other opens.
inline constexpr uint32_t kMinClusterBits = 9, kMaxClusterBits = 21;
inline constexpr uint32_t kMinExtendedClusterBits = 14;
inline constexpr uint64_t kMaxL1Bytes = 32u << 20;
inline constexpr uint64_t kMaxRefcountTableBytes = 8u << 20;
inline constexpr uint32_t kMaxNameLength = 1023;
inline constexpr uint32_t kMaxSnapshots = 65536;
inline constexpr uint64_t kMaxSnapshotTableBytes = 64u << 20;
inline constexpr uint32_t kMaxSnapshotExtra = 1024;
inline constexpr uint32_t kMaxBitmaps = 65535;
inline constexpr uint64_t kMaxBitmapDirectoryBytes = 64u << 20;
inline constexpr uint64_t kMaxBitmapTableEntries = (32u << 20) / 8;
inline constexpr uint64_t kMaxFileSize = uint64_t{1} << 55;  // beyond it no entry can point
inline constexpr uint64_t kHeaderSector = 512;               // what of the header is ever rewritten

}  // namespace inspect::qcow2_format
