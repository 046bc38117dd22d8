// SPDX-License-Identifier: LGPL-2.1-or-later
//
// copy_image_file(): an image's file, byte for byte, with its holes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <inspect/image.h>

#include "base/fd.h"
#include "block/copy_data.h"
#include "block/image_file.h"

namespace inspect {

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
        if (!share_file_blocks(source.read_fd(), target.get(), to))
            copy_file_bytes(source.read_fd(), target.get(), source.size(), to, {});
        if (::fsync(target.get()) < 0) throw Error::from_errno("cannot write '" + to + "'", errno);
    } catch (...) {
        ::unlink(to.c_str());
        throw;
    }
}

}  // namespace inspect
