// SPDX-License-Identifier: GPL-2.0-or-later
#include "fat_table.h"

#include <algorithm>

#include "base/fd.h"
#include "failure.h"
#include "fields.h"

namespace inspect::agent {

std::vector<uint32_t> FatTable::read(uint64_t first, size_t count) const {
    std::vector<uint32_t> entries(count);
    const uint64_t end = layout_.clusters + 2;
    if (first >= end) return entries;
    const uint64_t known = std::min<uint64_t>(count, end - first);
    const uint64_t from = first * layout_.bits / 8;
    const uint64_t to = std::min(layout_.table_size(), ((first + known) * layout_.bits + 7) / 8);
    std::vector<uint8_t> bytes(to - from);
    if (pread_full(fd_, std::as_writable_bytes(std::span(bytes)),
                   offset_ + layout_.table_start(layout_.active_table) + from,
                   "cannot read the allocation table") != bytes.size())
        throw Failure(proto::CORRUPT, "the file system is longer than what it lies on");
    for (size_t i = 0; i < known; ++i) {
        if (layout_.bits == 32) {
            entries[i] = load<le32>(bytes, i * 4);
        } else if (layout_.bits == 16) {
            entries[i] = load<le16>(bytes, i * 2);
        } else {
            const uint64_t cluster = first + i;
            const uint32_t pair = load<le16>(bytes, cluster * 12 / 8 - from);
            entries[i] = cluster % 2 ? pair >> 4 : pair & 0xfff;
        }
    }
    return entries;
}

uint32_t FatTable::at(uint64_t cluster) {
    constexpr size_t kAround = 4096;
    if (window_.empty() || cluster < first_ || cluster - first_ >= window_.size()) {
        first_ = cluster / kAround * kAround;
        window_ = read(first_, kAround);
    }
    return window_[cluster - first_];
}

std::vector<uint8_t> pack_fat_entries(unsigned bits, std::span<const uint32_t> entries) {
    std::vector<uint8_t> bytes((entries.size() * bits + 7) / 8);
    for (size_t i = 0; i < entries.size(); ++i) {
        const uint32_t entry = entries[i];
        if (bits == 32) {
            store<le32>(bytes, i * 4, entry);
        } else if (bits == 16) {
            store<le16>(bytes, i * 2, static_cast<uint16_t>(entry));
        } else {
            const size_t at = i * 12 / 8;
            const uint32_t shifted = i % 2 ? entry << 4 : entry;
            bytes[at] = static_cast<uint8_t>(bytes[at] | shifted);
            bytes[at + 1] = static_cast<uint8_t>(bytes[at + 1] | shifted >> 8);
        }
    }
    return bytes;
}

}  // namespace inspect::agent
