// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/copy_data.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include <inspect/error.h>

#include "base/fd.h"
#include "block/differences.h"

namespace inspect {

namespace {

constexpr size_t kCopiedChunk = 1 << 20;
// What the kernel copies by itself, between two looks at whether it is to go on.
constexpr off_t kKernelChunk = off_t{64} << 20;
// The least that is left out when it is zeros: a cluster of a new qcow2 image, and any file system's block.
constexpr uint64_t kZeroBlock = 65536;

// What the kernel can't copy by itself is read and written.
void copy_range(int from, int to, off_t offset, off_t end, const std::string& name,
                const CopyProgress& progress) {
    std::vector<std::byte> buffer;
    while (offset < end) {
        off_t in = offset, out = offset;
        const auto most = static_cast<size_t>(std::min(end - offset, kKernelChunk));
        ssize_t n = buffer.empty() ? ::copy_file_range(from, &in, to, &out, most, 0) : -1;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == ENOSPC) throw Error::from_errno("cannot write '" + name + "'", errno);
        if (n <= 0) {
            buffer.resize(kCopiedChunk);
            const size_t wanted = std::min<size_t>(kCopiedChunk, static_cast<size_t>(end - offset));
            n = ::pread(from, buffer.data(), wanted, offset);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) throw Error::from_errno("cannot read the image to be copied", n < 0 ? errno : EIO);
            pwrite_full(to, std::span(buffer).first(static_cast<size_t>(n)), static_cast<uint64_t>(offset),
                        ("cannot write '" + name + "'").c_str());
        }
        offset += n;
        if (progress) progress(static_cast<uint64_t>(n));
    }
}

template <typename Visit>
void for_each_extent(BlockDevice& device, Visit visit) {
    for (uint64_t at = 0; at < device.size();) {
        const uint64_t length = std::min(BlockDevice::kExtentStep, device.size() - at);
        for (const Extent& extent : device.extents(at, length)) visit(extent);
        at += length;
    }
}

}  // namespace

bool share_file_blocks(int from, int to, const std::string& name) {
    if (::ioctl(to, FICLONE, from) == 0) return true;
    if (errno == ENOSPC || errno == EDQUOT)
        throw Error::from_errno("cannot write '" + name + "'", errno, ErrorKind::kNoSpace);
    return false;
}

void copy_file_bytes(int from, int to, uint64_t size, const std::string& name, const CopyProgress& progress) {
    const auto end = static_cast<off_t>(size);
    if (::ftruncate(to, end) < 0) throw Error::from_errno("cannot write '" + name + "'", errno);
    for (off_t at = 0; at < end;) {
        off_t data = ::lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) return;  // nothing but a hole from here on
        if (data < 0) data = at;                 // a file system that can't tell
        off_t hole = ::lseek(from, data, SEEK_HOLE);
        if (hole < 0) hole = end;
        copy_range(from, to, data, std::min(hole, end), name, progress);
        at = hole;
    }
}

void copy_disk(BlockDevice& from, BlockDevice& to, const CopyProgress& progress) {
    std::vector<std::byte> buffer(kCopiedChunk);
    const std::vector<std::byte> zeros(kCopiedChunk);
    for_each_extent(from, [&](const Extent& extent) {
        if (extent.kind != ExtentKind::kData) return;
        const uint64_t end = extent.offset + extent.length;
        for (uint64_t at = extent.offset; at < end;) {
            // Up to the next multiple of the chunk, so that blocks are the target's.
            const uint64_t length = std::min(end, at / kCopiedChunk * kCopiedChunk + kCopiedChunk) - at;
            const auto piece = std::span(buffer).first(length);
            from.read(at, piece);
            for_each_difference(
                piece, std::span(zeros).first(length), kZeroBlock,
                [&](uint64_t skip, uint64_t n) { to.write(at + skip, piece.subspan(skip, n)); });
            at += length;
            if (progress) progress(length);
        }
    });
}

uint64_t disk_data_size(BlockDevice& device) {
    uint64_t total = 0;
    for_each_extent(device, [&](const Extent& extent) {
        if (extent.kind == ExtentKind::kData) total += extent.length;
    });
    return total;
}

}  // namespace inspect
