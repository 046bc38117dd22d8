// SPDX-License-Identifier: LGPL-2.1-or-later
#include <inspect/session.h>

#include "guest/printable.h"

namespace inspect {

constexpr std::string_view kSubvolume = "btrfsvol:";

// guestfish's -m: the first colons separate; whatever follows the third belongs to the file system's type.
MountSpec MountSpec::parse(const std::string& text) {
    MountSpec spec;
    std::string* fields[] = {&spec.device, &spec.mountpoint, &spec.options, &spec.fstype};
    size_t begin = 0;
    for (std::string* field : fields) {
        bool last = field == &spec.fstype;
        // The device of a subvolume has a colon of its own: btrfsvol:/dev/sda2/@home.
        const size_t skipped = field == &spec.device && text.starts_with(kSubvolume) ? kSubvolume.size() : 0;
        size_t colon = last ? text.npos : text.find(':', begin + skipped);
        std::string value = text.substr(begin, colon == text.npos ? text.npos : colon - begin);
        if (!value.empty()) *field = std::move(value);
        if (colon == text.npos) break;
        begin = colon + 1;
    }
    if (spec.device.empty() || text.find('\0') != text.npos)
        throw Error(ErrorKind::kUsage, quoted(text) + " is not DEVICE[:MOUNTPOINT[:OPTIONS[:FSTYPE]]]");
    if (spec.mountpoint[0] != '/')
        throw Error(ErrorKind::kUsage, quoted(text) + ": the mount point must begin with '/'");
    return spec;
}

}  // namespace inspect
