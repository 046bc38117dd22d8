// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2/bitmaps.h"

#include <algorithm>
#include <cstddef>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/qcow2/table_reader.h"

namespace inspect {

using namespace qcow2_format;

namespace {

[[noreturn]] void corrupt_bitmaps(const std::string& what) {
    throw Error(ErrorKind::kCorrupt, "the qcow2 image's bitmaps are damaged: " + what);
}

// How many entries a bitmap's table has, for a disk of this size.
uint64_t entries_for(const Qcow2Header& header, uint64_t granularity) {
    const uint64_t bits = header.size / granularity + (header.size % granularity != 0 ? 1 : 0);
    const uint64_t bytes = bits / 8 + (bits % 8 != 0 ? 1 : 0);
    return (bytes + header.cluster_size() - 1) >> header.cluster_bits;
}

// Gathers set bits into ranges that are as long as possible.
class RangeJoiner {
  public:
    RangeJoiner(uint64_t size, const std::function<void(uint64_t, uint64_t)>& visit)
        : size_(size), visit_(visit) {}

    // Ascending. Cut to the disk's size.
    void add(uint64_t begin, uint64_t end) {
        end = std::min(end, size_);
        if (begin >= end) return;
        if (begin > end_) flush();
        if (begin_ == end_) begin_ = begin;
        end_ = end;
    }
    void flush() {
        if (begin_ < end_) visit_(begin_, end_ - begin_);
        begin_ = end_ = 0;
    }

  private:
    uint64_t size_;
    const std::function<void(uint64_t, uint64_t)>& visit_;
    uint64_t begin_ = 0, end_ = 0;
};

}  // namespace

std::vector<Qcow2Bitmap> read_bitmaps(BlockDevice& file, const Qcow2Header& header) {
    std::vector<Qcow2Bitmap> bitmaps;
    if (header.bitmap_count == 0) return bitmaps;
    const bool consistent = (header.autoclear_features & kAutoclearBitmaps) != 0;
    TableReader reader(file, header.bitmap_directory_offset, header.bitmap_directory_size,
                       "the bitmap directory");
    for (uint32_t i = 0; i < header.bitmap_count; ++i) {
        Qcow2Bitmap bitmap;
        bitmap.directory_offset = reader.position();
        const auto raw = reader.take<BitmapEntry>();
        reader.take_text(raw.extra_length);
        bitmap.name = reader.take_text(raw.name_length);
        reader.align(8);
        if (raw.granularity_bits > 63) corrupt_bitmaps("a granularity is out of range");
        bitmap.granularity = uint64_t{1} << raw.granularity_bits;
        bitmap.in_use = (raw.flags & kBitmapInUse) != 0;
        bitmap.enabled = (raw.flags & kBitmapAuto) != 0;
        bitmap.table_offset = raw.table_offset;
        bitmap.table_entries = raw.table_entries;
        const bool known = raw.type == kBitmapDirtyTracking &&
                           (raw.extra_length == 0 || (raw.flags & kBitmapExtraCompatible) != 0);
        bitmap.usable = consistent && known && !bitmap.in_use;
        bitmaps.push_back(std::move(bitmap));
    }
    return bitmaps;
}

void for_each_dirty_range(BlockDevice& file, const Qcow2Header& header, const Qcow2Bitmap& bitmap,
                          const std::function<void(uint64_t offset, uint64_t length)>& visit) {
    if (!bitmap.usable) {
        throw Error(ErrorKind::kUsage,
                    "the bitmap '" + bitmap.name +
                        "' was not kept up to date, so what it says is not to be believed");
    }
    const uint64_t entries = entries_for(header, bitmap.granularity);
    if (bitmap.table_entries != entries || entries > kMaxBitmapTableEntries) {
        corrupt_bitmaps("a table's length does not fit the disk's size");
    }
    TableReader table(file, bitmap.table_offset, entries * 8, "a bitmap's table");
    RangeJoiner ranges(header.size, visit);
    std::vector<std::byte> bits(header.cluster_size());
    // Neither the bits of a cluster nor the bytes of the disk that they are about need fit into 64 bits.
    const auto disk_offset = [&](uint64_t bit) {
        return checked_mul(bit, bitmap.granularity).value_or(~uint64_t{0});
    };
    const uint64_t bits_per_cluster = header.cluster_size() * 8;
    for (uint64_t i = 0; i < entries; ++i) {
        const uint64_t entry = table.take<be64>();
        const uint64_t first = i * bits_per_cluster;
        const uint64_t host = entry & kOffsetMask;
        if (host == 0) {
            if ((entry & 1) != 0) ranges.add(disk_offset(first), disk_offset(first + bits_per_cluster));
            continue;
        }
        if (host % header.cluster_size() != 0 || host >= file.size())
            corrupt_bitmaps("a table's entry is out of range");
        const size_t present = std::min<uint64_t>(bits.size(), file.size() - host);
        std::fill(bits.begin() + static_cast<std::ptrdiff_t>(present), bits.end(), std::byte{0});
        file.read(host, std::span(bits).first(present));
        for (uint64_t byte = 0; byte < bits.size(); ++byte) {
            const auto value = static_cast<uint8_t>(bits[byte]);
            if (value == 0) continue;
            for (uint64_t bit = 0; bit < 8; ++bit) {
                if ((value >> bit & 1) == 0) continue;
                const uint64_t at = first + byte * 8 + bit;
                ranges.add(disk_offset(at), disk_offset(at + 1));
            }
        }
    }
    ranges.flush();
}

bool mark_bitmaps_in_use(BlockDevice& file, const Qcow2Header& header, bool all) {
    bool marked = false;
    for (const Qcow2Bitmap& bitmap : read_bitmaps(file, header)) {
        if (bitmap.in_use || (!all && !bitmap.enabled)) continue;
        be32 flags;
        const uint64_t at = bitmap.directory_offset + offsetof(BitmapEntry, flags);
        file.read(at, std::as_writable_bytes(std::span(&flags, 1)));
        flags = flags | kBitmapInUse;
        file.write(at, std::as_bytes(std::span(&flags, 1)));
        marked = true;
    }
    return marked;
}

}  // namespace inspect
