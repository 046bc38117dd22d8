// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making an empty file a new image.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/fd.h"

namespace inspect {

// What a new qcow2 image is to stand on.
struct NewBacking {
    std::string name;  // as it is to stand in the image
    std::string format;
};

// Makes the file, open for reading and writing, an image of an empty disk of `size` bytes, not 0; of one that
// shows `backing`. `format` is "raw" or "qcow2" (whose size is rounded up to a multiple of 512); `name` is
// what messages call it. Throws Error; kUnsupported for other formats, kUsage for a raw image with a backing.
void format_image(Fd fd, const std::string& name, const std::string& format, uint64_t size,
                  const std::optional<NewBacking>& backing = {});

}  // namespace inspect
