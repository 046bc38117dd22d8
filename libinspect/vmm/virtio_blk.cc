// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A request: readable { type 32, reserved 32, sector 64, data ... }, writable { data ..., status 8 }, each
// cut into pieces as the driver likes (section 5.2.6; framing as section 2.7.4 allows).
#include "vmm/virtio_blk.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/endian.h"
#include "block/iovec.h"

namespace inspect {

namespace {

struct RequestHeader {
    le32 type;
    le32 reserved;
    le64 sector;
};

struct Range {
    le64 sector;
    le32 sectors;
    le32 flags;
};
constexpr uint32_t kRangeUnmap = 1;

// struct virtio_blk_config as far as the offered features reach.
struct BlkConfig {
    le64 capacity;
    le32 size_max;
    le32 seg_max;
    le16 cylinders;
    uint8_t heads;
    uint8_t sectors;
    le32 block_size;
    uint8_t topology[8];
    uint8_t writeback;
    uint8_t unused0;
    le16 num_queues;
    le32 max_discard_sectors;
    le32 max_discard_seg;
    le32 discard_sector_alignment;
    le32 max_write_zeroes_sectors;
    le32 max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap;
    uint8_t unused1[3];
};
static_assert(sizeof(BlkConfig) == 60);

constexpr uint32_t kDiscardAlignment = 8;  // 4 KiB, in sectors

void drop_front(std::vector<iovec>& pieces, size_t bytes) {
    size_t whole = 0;
    while (whole < pieces.size() && pieces[whole].iov_len <= bytes) bytes -= pieces[whole++].iov_len;
    pieces.erase(pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(whole));
    if (bytes == 0 || pieces.empty()) return;
    pieces[0].iov_base = static_cast<std::byte*>(pieces[0].iov_base) + bytes;
    pieces[0].iov_len -= bytes;
}

// Takes the last byte off and returns where it is. There must be one.
std::byte* drop_last_byte(std::vector<iovec>& pieces) {
    iovec& last = pieces.back();
    std::byte* at = static_cast<std::byte*>(last.iov_base) + --last.iov_len;
    if (last.iov_len == 0) pieces.pop_back();
    return at;
}

// The first out.size() bytes; there must be that many.
void copy_from(std::span<const iovec> pieces, std::span<std::byte> out) {
    for (const iovec& piece : pieces) {
        const size_t n = std::min(piece.iov_len, out.size());
        if (n > 0) std::memcpy(out.data(), piece.iov_base, n);
        out = out.subspan(n);
    }
}

void copy_to(std::span<const iovec> pieces, std::span<const std::byte> in) {
    for (const iovec& piece : pieces) {
        const size_t n = std::min(piece.iov_len, in.size());
        if (n > 0) std::memcpy(piece.iov_base, in.data(), n);
        in = in.subspan(n);
    }
}

// Calls `action(span of bytes)` for what is behind the first `skip` bytes, until it returns false.
template <typename Action>
bool for_rest(std::span<const iovec> pieces, uint64_t skip, Action action) {
    for (const iovec& piece : pieces) {
        const uint64_t n = std::min<uint64_t>(skip, piece.iov_len);
        skip -= n;
        std::span<std::byte> rest(static_cast<std::byte*>(piece.iov_base) + n, piece.iov_len - n);
        if (!rest.empty() && !action(rest)) return false;
    }
    return true;
}

// The first `bytes` of the list, in as few lists as the device's vectored calls take. `action(done, pieces)`.
template <typename Action>
void for_front(std::span<const iovec> pieces, uint64_t bytes, Action action) {
    IovecCursor cursor(pieces);
    uint64_t done = 0, taken = 0;
    while (done < bytes) {
        auto slice = cursor.take(bytes - done, taken);
        action(done, slice);
        done += taken;
    }
}

uint64_t offered_features(bool read_only) {
    uint64_t features =
        VirtioBlk::kSegMax | VirtioBlk::kBlockSize | kVirtioRingIndirect | kVirtioRingEventIndex;
    if (read_only) return features | VirtioBlk::kReadOnly;
    return features | VirtioBlk::kFlush | VirtioBlk::kDiscard | VirtioBlk::kWriteZeroes;
}

uint64_t rounded_capacity(uint64_t size, uint32_t block_size) {
    if (block_size != 512 && block_size != 4096)
        throw Error(ErrorKind::kUsage, "a disk's block size is 512 or 4096 bytes");
    if (size > UINT64_MAX - block_size) throw Error(ErrorKind::kUsage, "a disk is too large");
    return align_up(size, block_size);
}

}  // namespace

VirtioBlk::VirtioBlk(const GuestMemory& memory, std::unique_ptr<BlockDevice> device, const Options& options,
                     VmmStatus& status, const std::atomic<bool>& stopping)
    : VirtioDevice(kBlock, offered_features(options.read_only || device->read_only()), memory, {kQueueSize}),
      device_(std::move(device)),
      options_(options),
      read_only_(options.read_only || device_->read_only()),
      capacity_bytes_(rounded_capacity(device_->size(), options.block_size)),
      status_(status),
      stopping_(stopping) {
    BlkConfig config{};
    config.capacity = capacity_bytes_ / kSectorSize;
    config.seg_max = uint32_t{kQueueSize - 2};  // header and status take two
    config.block_size = options.block_size;
    config.num_queues = uint16_t{1};
    if (!read_only_) {
        config.max_discard_sectors = kMaxRangeSectors;
        config.max_discard_seg = kMaxRanges;
        config.discard_sector_alignment = kDiscardAlignment;
        config.max_write_zeroes_sectors = kMaxRangeSectors;
        config.max_write_zeroes_seg = kMaxRanges;
        config.write_zeroes_may_unmap = 1;
    }
    set_config(config);
}

void VirtioBlk::notify(unsigned index, std::unique_lock<std::mutex>&) {
    Virtqueue& requests = queue(index);
    Virtqueue::Round round(requests);
    do {
        while (!stopping_.load(std::memory_order_relaxed) && round.pop(chain_)) {
            uint32_t written = 0;
            serve(chain_, written);
            requests.push(chain_.head, written);
        }
        requests.want_notifications(true);
    } while (!stopping_.load(std::memory_order_relaxed) && requests.has_available());
    finish(requests);
}

void VirtioBlk::serve(DescriptorChain& chain, uint32_t& written) {
    status_.block_requests.fetch_add(1, std::memory_order_relaxed);
    if (chain.writable.empty()) return;  // nowhere to put a status
    std::byte* status_byte = drop_last_byte(chain.writable);
    --chain.writable_bytes;
    Status status = Status::kIoError;
    RequestHeader header;
    if (chain.readable_bytes >= sizeof header &&
        chain.readable_bytes + chain.writable_bytes <= kMaxRequestBytes) {
        copy_from(chain.readable, std::as_writable_bytes(std::span(&header, 1)));
        drop_front(chain.readable, sizeof header);
        chain.readable_bytes -= sizeof header;
        try {
            status = execute(static_cast<Request>(uint32_t{header.type}), header.sector, chain);
        } catch (const std::exception& error) {
            remember_error(error.what());
        }
    }
    *status_byte = static_cast<std::byte>(status);
    // What a failed read left in the buffers is not the driver's to use.
    written = static_cast<uint32_t>(status == Status::kOk ? chain.writable_bytes + 1 : 1);
}

VirtioBlk::Status VirtioBlk::execute(Request type, uint64_t sector, DescriptorChain& chain) {
    const bool changes = type == Request::kOut || type == Request::kDiscard || type == Request::kWriteZeroes;
    if (changes && read_only_) return Status::kIoError;
    switch (type) {
        case Request::kIn:
            return read(sector, chain.writable, chain.writable_bytes);
        case Request::kOut:
            return write(sector, chain.readable, chain.readable_bytes);
        case Request::kFlush:
            if (!read_only_) device_->flush();
            return Status::kOk;
        case Request::kGetId:
            return get_id(chain.writable, chain.writable_bytes);
        case Request::kDiscard:
        case Request::kWriteZeroes:
            return clear_ranges(type, chain.readable, chain.readable_bytes);
    }
    return Status::kUnsupported;
}

bool VirtioBlk::in_disk(uint64_t sector, uint64_t bytes) const {
    const auto offset = checked_mul(sector, kSectorSize);
    return offset && range_fits(*offset, bytes, capacity_bytes_);
}

VirtioBlk::Status VirtioBlk::read(uint64_t sector, std::span<const iovec> data, uint64_t bytes) {
    if (bytes % kSectorSize != 0 || !in_disk(sector, bytes)) return Status::kIoError;
    const uint64_t offset = sector * kSectorSize;
    const uint64_t stored = std::min(bytes, device_->size() - std::min(offset, device_->size()));
    for_front(data, stored,
              [&](uint64_t done, std::span<const iovec> pieces) { device_->readv(offset + done, pieces); });
    for_rest(data, stored, [](std::span<std::byte> rest) {
        std::ranges::fill(rest, std::byte{0});
        return true;
    });
    status_.block_bytes_read.fetch_add(bytes, std::memory_order_relaxed);
    return Status::kOk;
}

VirtioBlk::Status VirtioBlk::write(uint64_t sector, std::span<const iovec> data, uint64_t bytes) {
    if (bytes % kSectorSize != 0 || !in_disk(sector, bytes)) return Status::kIoError;
    const uint64_t offset = sector * kSectorSize;
    const uint64_t stored = std::min(bytes, device_->size() - std::min(offset, device_->size()));
    const bool rest_is_zero = for_rest(data, stored, [](std::span<std::byte> rest) {
        return std::ranges::all_of(rest, [](std::byte b) { return b == std::byte{0}; });
    });
    if (!rest_is_zero) {
        remember_error("the guest wrote behind the end of an image that is no multiple of its block size");
        return Status::kIoError;
    }
    for_front(data, stored,
              [&](uint64_t done, std::span<const iovec> pieces) { device_->writev(offset + done, pieces); });
    status_.block_bytes_written.fetch_add(bytes, std::memory_order_relaxed);
    return Status::kOk;
}

VirtioBlk::Status VirtioBlk::clear_ranges(Request type, std::span<const iovec> data, uint64_t bytes) {
    std::array<Range, kMaxRanges> ranges;
    if (bytes == 0 || bytes % sizeof(Range) != 0 || bytes > sizeof ranges) return Status::kIoError;
    copy_from(data, std::as_writable_bytes(std::span(ranges)).first(bytes));
    const auto given = std::span(ranges).first(bytes / sizeof(Range));
    // All is checked before anything is done.
    for (const Range& range : given) {
        const uint32_t allowed = type == Request::kWriteZeroes ? kRangeUnmap : 0;
        if ((range.flags & ~allowed) != 0) return Status::kUnsupported;
        if (range.sectors > kMaxRangeSectors || !in_disk(range.sector, range.sectors * kSectorSize))
            return Status::kIoError;
    }
    for (const Range& range : given) {
        const uint64_t offset = range.sector * kSectorSize;
        if (offset >= device_->size()) continue;
        const uint64_t length = std::min(range.sectors * kSectorSize, device_->size() - offset);
        if (length == 0) continue;
        if (type == Request::kDiscard) {
            device_->discard(offset, length);
        } else {
            device_->write_zeroes(offset, length, (range.flags & kRangeUnmap) != 0);
        }
    }
    return Status::kOk;
}

VirtioBlk::Status VirtioBlk::get_id(std::span<const iovec> data, uint64_t bytes) {
    if (bytes < kSerialBytes) return Status::kIoError;
    std::array<std::byte, kSerialBytes> id{};
    std::memcpy(id.data(), options_.serial.data(), std::min(options_.serial.size(), id.size()));
    copy_to(data, id);
    return Status::kOk;
}

void VirtioBlk::remember_error(const char* what) {
    if (status_.block_errors.fetch_add(1, std::memory_order_relaxed) != 0) return;
    std::strncpy(status_.block_error, what, sizeof status_.block_error - 1);
}

void VirtioBlk::close() {
    if (!device_) return;
    auto device = std::move(device_);
    if (!read_only_) device->flush();
}

}  // namespace inspect
