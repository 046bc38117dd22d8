// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/raw.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/host_volume.h"
#include "block/iovec.h"

namespace inspect {

namespace {

constexpr size_t kZeroBufferSize = 64 * 1024;
alignas(4096) constexpr std::byte kZeroBuffer[kZeroBufferSize] = {};

constexpr uint64_t kDirectChunk = 1 << 20;

// Memory as O_DIRECT wants it.
class AlignedBuffer {
  public:
    explicit AlignedBuffer(uint64_t size)
        : size_(size), bytes_(std::aligned_alloc(4096, align_up(size, 4096))) {
        if (bytes_ == nullptr) throw std::bad_alloc();
    }
    ~AlignedBuffer() { std::free(bytes_); }
    AlignedBuffer(const AlignedBuffer&) = delete;
    AlignedBuffer& operator=(const AlignedBuffer&) = delete;
    uint64_t size() const { return size_; }
    std::span<std::byte> bytes() const { return {static_cast<std::byte*>(bytes_), size_}; }

  private:
    uint64_t size_;
    void* bytes_;
};

bool is_unsupported(int errnum) { return errnum == EOPNOTSUPP || errnum == ENOSYS || errnum == EPERM; }

}  // namespace

uint64_t file_or_device_size(int fd, const std::string& name) {
    struct stat st;
    if (::fstat(fd, &st) < 0) throw Error::from_errno("cannot examine '" + name + "'", errno);
    if (S_ISREG(st.st_mode)) return static_cast<uint64_t>(st.st_size);
    if (!S_ISBLK(st.st_mode)) {
        throw Error(ErrorKind::kUnsupported, "'" + name + "' is neither a regular file nor a block device");
    }
    uint64_t bytes = 0;
    if (::ioctl(fd, BLKGETSIZE64, &bytes) < 0) {
        throw Error::from_errno("cannot get the size of the block device '" + name + "'", errno);
    }
    return bytes;
}

RawDevice::RawDevice(Fd fd, bool read_only, std::string name)
    : fd_(std::move(fd)), read_only_(read_only), name_(std::move(name)) {
    size_ = file_or_device_size(fd_.get(), name_);
    struct stat st;
    if (::fstat(fd_.get(), &st) < 0) throw Error::from_errno("cannot examine '" + name_ + "'", errno);
    block_device_ = S_ISBLK(st.st_mode);
    if (::fcntl(fd_.get(), F_GETFL) & O_DIRECT) alignment_ = direct_alignment();
}

// What the file system asks for, else what satisfies them all.
uint64_t RawDevice::direct_alignment() const {
    constexpr uint64_t kSafe = 4096;
#ifdef STATX_DIOALIGN
    struct statx status;
    if (::statx(fd_.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
        (status.stx_mask & STATX_DIOALIGN) != 0) {
        const uint64_t wanted = std::max(status.stx_dio_offset_align, status.stx_dio_mem_align);
        if (wanted > 0 && (wanted & (wanted - 1)) == 0 && wanted <= kDirectChunk) return wanted;
    }
#endif
    return kSafe;
}

// `bytes` is aligned memory for an aligned range that begins at `begin`; `needed` bytes of it must come
// through, the rest may lie beyond the file's end.
void RawDevice::transfer_direct(bool write, uint64_t begin, std::span<std::byte> bytes,
                                uint64_t needed) const {
    uint64_t done = 0;
    while (done < needed) {
        const ssize_t n = write ? ::pwrite(fd_.get(), bytes.data() + done, bytes.size() - done,
                                           static_cast<off_t>(begin + done))
                                : ::pread(fd_.get(), bytes.data() + done, bytes.size() - done,
                                          static_cast<off_t>(begin + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail(write ? "write" : "read", begin, bytes.size(), errno);
        done += static_cast<uint64_t>(n);
        // A short transfer ends at the file's end or in mid-block, from where it can't go on.
        if (done < needed && (n == 0 || done % alignment_ != 0))
            fail(write ? "write" : "read", begin, bytes.size(), write ? ENOSPC : EIO);
    }
}

// Before [offset, end), a part of the aligned `bytes` at `begin`, is written: what the blocks at its ends
// have besides.
void RawDevice::read_ends(uint64_t begin, std::span<std::byte> bytes, uint64_t offset, uint64_t end) const {
    auto read_block = [&](uint64_t block) {
        const auto part = bytes.subspan(block - begin, alignment_);
        std::memset(part.data(), 0, part.size());
        if (block < size_) transfer_direct(false, block, part, std::min(alignment_, size_ - block));
    };
    if (offset != begin) read_block(begin);
    const uint64_t last = align_down(end - 1, alignment_);
    if (end % alignment_ != 0 && (last != begin || offset == begin)) read_block(last);
}

// Past the page cache, through a buffer that is aligned as that wants it.
void RawDevice::transfer_aligned(bool write, uint64_t offset, std::span<const iovec> pieces) const {
    IovecCursor cursor(pieces);
    const uint64_t end = offset + iovec_bytes(pieces);
    const AlignedBuffer buffer(
        std::min(kDirectChunk, align_up(end, alignment_) - align_down(offset, alignment_)));
    while (offset < end) {
        const uint64_t begin = align_down(offset, alignment_);
        const uint64_t length = std::min<uint64_t>(buffer.size(), align_up(end, alignment_) - begin);
        const uint64_t upto = std::min(begin + length, end);
        const auto bytes = buffer.bytes().first(length);
        if (write) {
            read_ends(begin, bytes, offset, upto);
        } else {
            transfer_direct(false, begin, bytes, upto - begin);
        }
        while (offset < upto) {
            uint64_t taken;
            for (const iovec& piece : cursor.take(upto - offset, taken)) {
                std::byte* const place = bytes.data() + (offset - begin);
                write ? std::memcpy(place, piece.iov_base, piece.iov_len)
                      : std::memcpy(piece.iov_base, place, piece.iov_len);
                offset += piece.iov_len;
            }
        }
        if (!write) continue;
        transfer_direct(true, begin, bytes, length);
        // The tail of a file that ends within a block.
        if (begin + length > size_ && !block_device_ && ::ftruncate(fd_.get(), static_cast<off_t>(size_)) < 0)
            fail("write", begin, length, errno);
    }
}

void RawDevice::fail(const char* operation, uint64_t offset, uint64_t length, int errnum) const {
    throw Error::from_errno("cannot " + std::string(operation) + " " + std::to_string(length) +
                                " bytes at offset " + std::to_string(offset) + " of '" + name_ + "'",
                            errnum, ErrorKind::kCorrupt);
}

void RawDevice::read(uint64_t offset, std::span<std::byte> out) {
    iovec piece = to_iovec(out);
    readv(offset, {&piece, 1});
}

void RawDevice::write(uint64_t offset, std::span<const std::byte> in) {
    iovec piece = to_iovec(in);
    writev(offset, {&piece, 1});
}

void RawDevice::readv(uint64_t offset, std::span<const iovec> out) {
    uint64_t total = iovec_bytes(out);
    require_range(offset, total);
    if (alignment_ != 0 && total > 0) return transfer_aligned(false, offset, out);
    uint64_t done = 0;
    while (done < total) {
        ssize_t n;
        if (done == 0 && out.size() <= IovecCursor::kMaxPieces) {  // nearly always the only round
            n = ::preadv(fd_.get(), out.data(), static_cast<int>(out.size()), static_cast<off_t>(offset));
        } else {
            IovecCursor cursor(out);
            cursor.seek(done);
            uint64_t taken;
            auto slice = cursor.take(total - done, taken);
            n = ::preadv(fd_.get(), slice.data(), static_cast<int>(slice.size()),
                         static_cast<off_t>(offset + done));
        }
        if (n < 0) {
            if (errno == EINTR) continue;
            fail("read", offset, total, errno);
        }
        if (n == 0) {
            throw Error(ErrorKind::kCorrupt,
                        "'" + name_ + "' became shorter while it was open: it ends before " +
                            std::to_string(offset + total) + " of its " + std::to_string(size_) + " bytes");
        }
        done += static_cast<uint64_t>(n);
    }
}

void RawDevice::writev(uint64_t offset, std::span<const iovec> in) {
    uint64_t total = iovec_bytes(in);
    require_writable();
    require_range(offset, total);
    if (alignment_ != 0 && total > 0) return transfer_aligned(true, offset, in);
    uint64_t done = 0;
    while (done < total) {
        ssize_t n;
        if (done == 0 && in.size() <= IovecCursor::kMaxPieces) {
            n = ::pwritev(fd_.get(), in.data(), static_cast<int>(in.size()), static_cast<off_t>(offset));
        } else {
            IovecCursor cursor(in);
            cursor.seek(done);
            uint64_t taken;
            auto slice = cursor.take(total - done, taken);
            n = ::pwritev(fd_.get(), slice.data(), static_cast<int>(slice.size()),
                          static_cast<off_t>(offset + done));
        }
        if (n < 0) {
            if (errno == EINTR) continue;
            fail("write", offset, total, errno);
        }
        if (n == 0) fail("write", offset, total, ENOSPC);
        done += static_cast<uint64_t>(n);
    }
}

void RawDevice::flush() {
    if (read_only_) return;
    while (::fdatasync(fd_.get()) < 0) {
        if (errno != EINTR)
            throw Error::from_errno("cannot flush '" + name_ + "'", errno, ErrorKind::kCorrupt);
    }
}

// False when the file system or device can't do it (remembered in `supported` when that holds for every
// range).
bool RawDevice::try_fallocate(int mode, uint64_t offset, uint64_t length, bool& supported) {
    if (!supported) return false;
    while (::fallocate(fd_.get(), mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                       static_cast<off_t>(length)) < 0) {
        if (errno == EINTR) continue;
        if (is_unsupported(errno)) {
            supported = false;
            return false;
        }
        // A block device takes only whole logical blocks.
        if (errno == EINVAL && block_device_) return false;
        fail("clear", offset, length, errno);
    }
    return true;
}

void RawDevice::write_zero_bytes(uint64_t offset, uint64_t length) {
    iovec pieces[16];
    std::fill(std::begin(pieces), std::end(pieces), to_iovec(std::span(kZeroBuffer)));
    constexpr uint64_t kChunk = kZeroBufferSize * std::size(pieces);
    while (length >= kChunk) {
        writev(offset, pieces);
        offset += kChunk;
        length -= kChunk;
    }
    while (length > 0) {
        size_t n = std::min<uint64_t>(length, kZeroBufferSize);
        write(offset, std::span(kZeroBuffer).first(n));
        offset += n;
        length -= n;
    }
}

void RawDevice::discard(uint64_t offset, uint64_t length) {
    require_writable();
    require_range(offset, length);
    if (length == 0) return;
    // On a block device a punched hole is "unmap, and read zeros", which is more than a discard promises and
    // what the kernel can do without leaving its page cache wrong.
    if (try_fallocate(FALLOC_FL_PUNCH_HOLE, offset, length, can_punch_) || !block_device_) return;
    uint64_t begin = align_up(offset, 4096), end = align_down(offset + length, 4096);
    if (begin >= end) return;
    uint64_t range[2] = {begin, end - begin};
    if (::ioctl(fd_.get(), BLKDISCARD, range) < 0 && !is_unsupported(errno) && errno != EINVAL) {
        fail("discard", offset, length, errno);
    }
}

void RawDevice::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
    require_writable();
    require_range(offset, length);
    if (length == 0) return;
    if (may_unmap && try_fallocate(FALLOC_FL_PUNCH_HOLE, offset, length, can_punch_)) return;
    if (try_fallocate(FALLOC_FL_ZERO_RANGE, offset, length, can_zero_range_)) return;
    write_zero_bytes(offset, length);
}

void RawDevice::reserve(uint64_t offset, uint64_t length) {
    require_writable();
    require_range(offset, length);
    if (length == 0 || block_device_) return;
    while (::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                       static_cast<off_t>(length)) < 0) {
        if (is_unsupported(errno)) return;
        if (errno != EINTR) fail("reserve", offset, length, errno);
    }
}

void RawDevice::resize(uint64_t size) {
    require_writable();
    if (block_device_) {
        struct stat status;
        if (::fstat(fd_.get(), &status) < 0) throw Error::from_errno("cannot examine '" + name_ + "'", errno);
        resize_host_volume(status.st_rdev, name_, size);
        size_ = file_or_device_size(fd_.get(), name_);
        if (size_ == size) return;
        throw Error(ErrorKind::kInternal, "'" + name_ + "' has " + std::to_string(size_) +
                                              " bytes after lvm was to give it " + std::to_string(size));
    }
    while (::ftruncate(fd_.get(), static_cast<off_t>(size)) < 0) {
        if (errno != EINTR) {
            throw Error::from_errno("cannot make '" + name_ + "' " + std::to_string(size) + " bytes long",
                                    errno, ErrorKind::kUsage);
        }
    }
    size_ = size;
}

std::vector<Extent> RawDevice::extents(uint64_t offset, uint64_t length) {
    require_range(offset, length);
    std::vector<Extent> result;
    if (length == 0) return result;
    if (block_device_) return {{offset, length, ExtentKind::kData}};
    const uint64_t end = offset + length;
    while (offset < end) {
        uint64_t data = end, hole = end;
        off_t at = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
        if (at >= 0) {
            data = std::clamp<uint64_t>(static_cast<uint64_t>(at), offset, end);
        } else if (errno != ENXIO) {  // ENXIO: no data up to the end; else the file system can't tell
            result.push_back({offset, end - offset, ExtentKind::kData});
            break;
        }
        if (data > offset) result.push_back({offset, data - offset, ExtentKind::kHole});
        if (data == end) break;
        at = ::lseek(fd_.get(), static_cast<off_t>(data), SEEK_HOLE);
        if (at >= 0 && static_cast<uint64_t>(at) > data)
            hole = std::min<uint64_t>(static_cast<uint64_t>(at), end);
        result.push_back({data, hole - data, ExtentKind::kData});
        offset = hole;
    }
    return result;
}

}  // namespace inspect
