// SPDX-License-Identifier: LGPL-2.1-or-later
//
// CloneSource: one disk that clones are made of.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <inspect/clone.h>

#include "base/new_host_file.h"
#include "block/copy_data.h"
#include "block/format_image.h"
#include "block/image.h"
#include "clone/lvm_snapshot.h"

namespace inspect {

// The image is open and locked while this lives. Not thread-safe.
class CloneSource {
  public:
    // `options` must outlive it. Throws what Cloner's constructor does.
    CloneSource(const DiskSpec& spec, const CloneOptions& options);

    const std::string& path() const noexcept { return image_->path(); }
    const std::string& format() const noexcept { return format_; }
    uint64_t size() const noexcept { return image_->size(); }
    // The permissions that a copy may have: nobody may read it who may not read the source.
    mode_t mode() const;
    // Whether `target` is a file that the image is made of.
    bool is_at(const std::string& target) const;

    // How a clone at this path is made: never kAuto. Throws Error.
    CloneMethod method_for(const std::string& target);
    // What it will take there, bytes.
    uint64_t room_for(CloneMethod method) const;

    // Makes the new file an image of the disk. Throws Error, kBusy when the source has changed meanwhile.
    ClonedDisk fill(const NewHostFile& file, CloneMethod method, const CopyProgress& progress) const;
    // Makes a snapshot of the logical volume that the source is; `target` is /dev/GROUP/NAME. Throws Error.
    NewSnapshot snapshot(const std::string& target);
    // What is to be said of that.
    ClonedDisk describe(const NewSnapshot& snapshot) const;

  private:
    const ImageFile* whole_file(const std::string& target) const;
    void require_no_secrets(const char* clone) const;
    const HostVolume& logical_volume();
    std::optional<NewBacking> kept_backing() const;
    NewBacking overlay_backing() const;
    void copy(const NewHostFile& file, const CopyProgress& progress) const;
    void copy_layer(BlockDevice& target, const CopyProgress& progress) const;
    Error refused(const std::string& why) const;

    const DiskSpec spec_;
    const CloneOptions& options_;
    std::unique_ptr<Image> image_;
    std::string format_;
    std::optional<HostVolume> volume_;
};

}  // namespace inspect
