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

#include <inspect/error.h>

#include "base/checked.h"
#include "block/iovec.h"

namespace inspect {

namespace {

constexpr size_t kZeroBufferSize = 64 * 1024;
alignas(4096) constexpr std::byte kZeroBuffer[kZeroBufferSize] = {};

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
        throw Error(ErrorKind::kUnsupported, "the block device '" + name_ + "' has the size that it has");
    }
    while (::ftruncate(fd_.get(), static_cast<off_t>(size)) < 0) {
        if (errno != EINTR) {
            throw Error::from_errno("cannot make '" + name_ + "' " + std::to_string(size) + " bytes long", errno,
                                    ErrorKind::kUsage);
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
