// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For the tests of Image: opening images, and what the VMM's process does with them.
#pragma once

#include <filesystem>
#include <iterator>
#include <memory>
#include <string>

#include "base/temp_dir_for_test.h"
#include "block/image.h"
#include "block/overlay.h"

namespace inspect {

inline constexpr ImageOptions kReader{};
inline constexpr ImageOptions kWriter{.writable = true};

inline std::unique_ptr<Image> open_image(const std::string& path, const ImageOptions& options = kReader,
                                         const std::string& format = {}) {
    return Image::open({.path = path, .format = format}, options);
}

// What the VMM's process does: an Overlay over the descriptors.
inline std::unique_ptr<Overlay> serve(const Image& image) {
    const DiskNode node = DiskNode::parse(image.node().encode());
    auto store = std::make_shared<OverlayStore>(dup_fd(image.overlay()->memory_fd()),
                                                dup_fd(image.overlay()->spill_fd()), image.size());
    return std::make_unique<Overlay>(node.open(), store);
}

inline Bytes read_all(const Image& image) {
    Bytes bytes(image.size());
    serve(image)->read(0, bytes);
    return bytes;
}

inline size_t files_in(const TempDir& dir) {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir.path()), {}));
}

}  // namespace inspect
