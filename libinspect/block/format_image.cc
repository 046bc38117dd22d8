// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/format_image.h"

#include <unistd.h>

#include <cerrno>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/qcow2/create.h"
#include "block/raw.h"

namespace inspect {

namespace {

constexpr uint64_t kSector = 512;

}  // namespace

void format_image(Fd fd, const std::string& name, const std::string& format, uint64_t size,
                  const std::optional<NewBacking>& backing) {
    if (format == "qcow2") {
        Qcow2CreateOptions options;
        options.size = align_up(size, kSector);
        if (backing) {
            options.backing_name = backing->name;
            options.backing_format = backing->format;
        }
        RawDevice file(std::move(fd), false, name);
        create_qcow2(file, options);
    } else if (format != "raw") {
        throw Error(ErrorKind::kUnsupported,
                    "an image in the format '" + format + "' can't be made: raw and qcow2 can");
    } else if (backing) {
        throw Error(ErrorKind::kUsage, "a raw image can't stand on another one: qcow2 can");
    } else if (::ftruncate(fd.get(), static_cast<off_t>(size)) < 0) {
        throw Error::from_errno("cannot make '" + name + "' so big", errno, ErrorKind::kNoSpace);
    }
}

}  // namespace inspect
