// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What of a disk is known to be as it was at the last backup, without reading it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/range_set.h"
#include "block/image.h"
#include "repository/guest_record.h"

namespace inspect {

// The local files that the image consists of, as they are now; empty when some of it is no local file.
std::vector<repository::SourceFile> source_files(const Image& image);

struct UnchangedOptions {
    bool trust_mtime = false;
    std::string bitmap = {};  // empty: none
};

// Compares the image with what the last backup says that it was made of. An overlay that was put on the
// image since tells what it has changed; the image's times only count where the user vouches for them; a
// bitmap, where the user names it. nullopt: nothing is known. Throws Error; kNotFound when there is no bitmap
// of that name, or it isn't usable.
std::optional<RangeSet> unchanged_since(const Image& image, const std::vector<repository::SourceFile>& files,
                                        const repository::DiskRecord& before,
                                        const UnchangedOptions& options);

}  // namespace inspect
