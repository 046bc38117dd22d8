// SPDX-License-Identifier: LGPL-2.1-or-later
//
// copy_image_file(): an image's file, byte for byte, with its holes.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include <inspect/image.h>

#include "base/fd.h"
#include "block/image_file.h"

namespace inspect {

namespace {

constexpr size_t kChunk = 1 << 20;

// What the kernel can't copy by itself is read and written.
void copy_range(int from, int to, off_t offset, off_t end, const std::string& name) {
    std::vector<std::byte> buffer;
    while (offset < end) {
        off_t in = offset, out = offset;
        ssize_t n = buffer.empty()
                        ? ::copy_file_range(from, &in, to, &out, static_cast<size_t>(end - offset), 0)
                        : -1;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == ENOSPC) throw Error::from_errno("cannot write '" + name + "'", errno);
        if (n <= 0) {
            buffer.resize(kChunk);
            const size_t wanted = std::min<size_t>(kChunk, static_cast<size_t>(end - offset));
            n = ::pread(from, buffer.data(), wanted, offset);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) throw Error::from_errno("cannot read the image to be copied", n < 0 ? errno : EIO);
            if (::pwrite(to, buffer.data(), static_cast<size_t>(n), offset) != n)
                throw Error::from_errno("cannot write '" + name + "'", errno);
        }
        offset += n;
    }
}

void copy_data(int from, int to, off_t size, const std::string& name) {
    if (::ioctl(to, FICLONE, from) == 0) return;
    if (::ftruncate(to, size) < 0) throw Error::from_errno("cannot write '" + name + "'", errno);
    for (off_t at = 0; at < size;) {
        off_t data = ::lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) return;  // nothing but a hole from here on
        if (data < 0) data = at;                 // a file system that can't tell
        off_t hole = ::lseek(from, data, SEEK_HOLE);
        if (hole < 0) hole = size;
        copy_range(from, to, data, std::min(hole, size), name);
        at = hole;
    }
}

}  // namespace

void copy_image_file(const std::string& from, const std::string& to) {
    const ImageFile source(from, {});
    if (source.is_block_device())
        throw Error(ErrorKind::kUnsupported, "'" + from + "' is a block device: only files are copied");
    if (source.pending())
        throw Error(ErrorKind::kBusy, "a change to '" + from + "' was cut short, and must be finished first");
    const Fd target(
        ::open(to.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, source.status().st_mode & 0777));
    if (!target) throw Error::from_errno("cannot make '" + to + "'", errno);
    try {
        copy_data(source.read_fd(), target.get(), source.status().st_size, to);
        if (::fsync(target.get()) < 0) throw Error::from_errno("cannot write '" + to + "'", errno);
    } catch (...) {
        ::unlink(to.c_str());
        throw;
    }
}

}  // namespace inspect
