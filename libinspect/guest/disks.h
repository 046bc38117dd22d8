// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Disks: the images of a session, opened and locked, each with the overlay that takes the guest's writes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <inspect/session.h>

#include "block/image.h"
#include "engine/engine.h"

namespace inspect {

// Not thread-safe.
class Disks {
  public:
    // Opens, locks and recovers the images. Throws Error, which names the image; kUsage for options that make
    // no sense, and for more disks than the engine takes.
    explicit Disks(const SessionOptions& options);

    // For the engine. The descriptors live as long as this object. Every disk has an overlay and is writable
    // to the guest's kernel, which so can replay a journal; a disk that must not change is never committed.
    std::vector<EngineDisk> engine_disks() const;

    // The images in the order of the disks.
    Image& image(size_t index) const { return *disks_[index].image; }
    size_t count() const noexcept { return disks_.size(); }
    uint32_t sector_size(size_t index) const { return disks_[index].sector_size; }

    // Of the writable images (Image::find_zeros).
    void find_zeros(const std::function<void()>& may_stop);
    // Puts what changed into the images of the writable disks; nothing may run any more that writes to the
    // overlays. All local images are changed together, completely or not at all, whatever happens; then
    // those that are elsewhere, one after the other, each completely or not at all: an error on the way says
    // what was changed before it. True when an image changed.
    bool commit();

  private:
    struct Disk {
        std::unique_ptr<Image> image;
        uint32_t sector_size;  // bytes
    };
    std::vector<Disk> disks_;
};

}  // namespace inspect
