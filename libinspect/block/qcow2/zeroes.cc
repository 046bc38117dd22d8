// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Zeros in a qcow2 image: said by a flag where the format can (version 3, whole units), else written.
#include <algorithm>
#include <array>

#include "base/checked.h"
#include "block/qcow2/qcow2.h"

namespace inspect {

namespace {

constexpr size_t kZeroBufferSize = 64 << 10;
alignas(4096) constexpr std::byte kZeroBuffer[kZeroBufferSize] = {};

}  // namespace

void Qcow2Device::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
    require_writable();
    require_range(offset, length);
    if (length == 0) return;
    begin_change();
    if (header_.raw_external_data() && offset < data_file_->size()) {
        data_file_->write_zeroes(offset, std::min(length, data_file_->size() - offset), may_unmap);
    }
    for (const uint64_t end = offset + length; offset < end;) {
        make_room();
        offset += zero_in_cluster(offset, end, may_unmap);
    }
}

void Qcow2Device::discard(uint64_t offset, uint64_t length) {
    require_writable();
    require_range(offset, length);
    // Without a zero flag the backing file's old contents would come back.
    if (header_.version < 3 && backing_) return;
    const uint64_t cluster_size = header_.cluster_size();
    const uint64_t end = offset + length == size_ ? size_ : align_down(offset + length, cluster_size);
    offset = align_up(offset, cluster_size);
    if (offset >= end) return;
    begin_change();
    while (offset < end) {
        make_room();
        const Run run = map_->find(offset, end);
        if (reads_as_zeros(run, offset) && run.length >= std::min(cluster_size, end - offset)) {
            offset += offset + run.length == end ? run.length : align_down(run.length, cluster_size);
            continue;
        }
        zero_units(offset >> header_.cluster_bits, map_->all_units(), true);
        offset += std::min(cluster_size, end - offset);
    }
}

// Makes zeros of the start of [offset, end): at most to its cluster's end, unless zeros are there already.
uint64_t Qcow2Device::zero_in_cluster(uint64_t offset, uint64_t end, bool may_unmap) {
    const Run run = map_->find(offset, end);
    if (reads_as_zeros(run, offset)) return run.length;
    const uint64_t unit_size = map_->unit_size();
    const uint64_t cluster = offset >> header_.cluster_bits;
    const uint64_t start = cluster << header_.cluster_bits;
    const uint64_t stop = std::min(end, start + header_.cluster_size());
    // What lies behind the disk's end belongs to its last unit.
    const uint64_t whole = stop == size_ ? align_up(stop, unit_size) : align_down(stop, unit_size);
    const uint64_t first = align_up(offset, unit_size);
    const bool can_flag = header_.version >= 3 || (may_unmap && start >= backing_size_);
    if (!can_flag || first >= whole) {
        zero_by_writing(offset, stop);
        return stop - offset;
    }
    uint32_t mask = 0;
    for (uint64_t at = first; at < whole; at += unit_size) mask |= 1u << ((at - start) / unit_size);
    const bool all = mask == map_->all_units();
    if (!all && map_->entry(cluster).compressed) {
        zero_by_writing(offset, stop);
        return stop - offset;
    }
    if (offset < first) zero_by_writing(offset, first);
    zero_units(cluster, mask, may_unmap);
    if (whole < stop) zero_by_writing(whole, stop);
    return stop - offset;
}

// Writes zeros where there is anything else.
void Qcow2Device::zero_by_writing(uint64_t offset, uint64_t end) {
    std::array<iovec, 16> pieces;
    while (offset < end) {
        make_room();
        const Run run = map_->find(offset, end);
        if (reads_as_zeros(run, offset)) {
            offset += run.length;
            continue;
        }
        uint64_t left = std::min<uint64_t>(run.length, kZeroBufferSize * pieces.size());
        const uint64_t stop = offset + left;
        size_t count = 0;
        for (; left > 0; left -= pieces[count++].iov_len) {
            pieces[count] = to_iovec(std::span(kZeroBuffer).first(std::min<uint64_t>(left, kZeroBufferSize)));
        }
        IovecCursor cursor({pieces.data(), count});
        while (offset < stop) offset += write_some(offset, stop, cursor);
    }
}

// Flags units of one cluster as zeros; not a part of a compressed one. Version 2 has no flag: there a whole
// cluster becomes unallocated.
void Qcow2Device::zero_units(uint64_t cluster, uint32_t mask, bool may_unmap) {
    ensure_l2(cluster);
    const L2Entry old = map_->entry(cluster);
    L2Entry entry = old;
    if (mask == map_->all_units()) {
        if (may_unmap || !old.writable()) entry = {};
        entry.data = 0;
        entry.zero = header_.version >= 3 ? mask : 0;
    } else {
        entry.data &= ~mask;
        entry.zero |= mask;
    }
    if (entry == old) return;
    map_->set_entry(cluster, entry);
    if (old.has_host && !entry.has_host) {
        free_entry(old);
        if (data_file_ && may_unmap) {
            const uint64_t host = cluster << header_.cluster_bits;
            const uint64_t end = std::min(host + header_.cluster_size(), data_file_->size());
            if (host < end) data_file_->write_zeroes(host, end - host, true);
        }
    }
}

}  // namespace inspect
