// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NewSnapshot: a snapshot of one of the host's logical volumes that appears under its name when it is
// complete, or not at all. Made by lvm itself, which needs root.
#pragma once

#include <string>

#include "block/host_volume.h"

namespace inspect {

// Until publish() it has a temporary name (base/new_host_file.h); the destructor removes it. Not thread-safe.
class NewSnapshot {
  public:
    // Makes it. One that isn't thin gets as much room as its origin has, so that it can't overflow. Throws
    // Error; kDenied when there is a volume of that name.
    NewSnapshot(const HostVolume& origin, const std::string& name);
    ~NewSnapshot();
    NewSnapshot(NewSnapshot&& other) noexcept;
    NewSnapshot& operator=(NewSnapshot&&) = delete;
    NewSnapshot(const NewSnapshot&) = delete;

    // Where it is: under its temporary name until publish(), then under its own.
    std::string path() const { return "/dev/" + group_ + "/" + current_; }
    std::string target() const { return "/dev/" + group_ + "/" + name_; }

    // Gives it its name. Throws Error; kDenied when there is a volume of that name.
    void publish();
    // Removes it, published or not. Doesn't throw: there is nothing to be done about it.
    void retract() noexcept;

  private:
    std::string group_;
    std::string name_;
    std::string current_;  // empty: it is gone, or another object's
    bool published_ = false;
};

}  // namespace inspect
