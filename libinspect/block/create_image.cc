// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/image.h: making an image.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include <inspect/image.h>

#include "base/fd.h"
#include "block/qcow2/create.h"
#include "block/raw.h"

namespace inspect {

void create_image(const std::string& path, const std::string& format, uint64_t size) {
    constexpr mode_t kMode = 0666;  // less the umask
    constexpr uint64_t kSector = 512;
    if (format != "raw" && format != "qcow2")
        throw Error(ErrorKind::kUnsupported,
                    "an image in the format '" + format + "' can't be made: raw and qcow2 can");
    if (size == 0 || size % kSector != 0 || size > INT64_MAX)
        throw Error(ErrorKind::kUsage, "a disk of " + std::to_string(size) + " bytes can't be made");
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
    if (!fd) throw Error::from_errno("cannot make '" + path + "'", errno, ErrorKind::kDenied);
    try {
        if (format == "qcow2") {
            RawDevice file(std::move(fd), false, path);
            create_qcow2(file, {.size = size});
        } else if (::ftruncate(fd.get(), static_cast<off_t>(size)) < 0) {
            throw Error::from_errno("cannot make '" + path + "' so big", errno, ErrorKind::kNoSpace);
        }
    } catch (...) {
        ::unlink(path.c_str());
        throw;
    }
}

}  // namespace inspect
