// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Planning what lies in a partition: file systems, LUKS, physical and logical volumes, each in the one below.
//
// Shrinking begins at the top (the file system first), growing at the bottom. All of it changes the plan's
// state as it goes, so that what comes later sees what came before.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <inspect/resize.h>

namespace inspect {

class StackPlan {
  public:
    StackPlan(ResizePlan& plan, const ResizeWishes& wishes) : plan_(plan), wishes_(wishes) {}

    // Makes what lies in a device, all the way up, fit into `room` bytes, or fill them as far as it can.
    // `content` is one of plan.after. Throws Error where that is not possible, and says what is.
    void shrink(DiskContent& content, uint64_t room);
    void grow(DiskContent& content, uint64_t room);

    // Why it can't be made larger or smaller by what is known of it; empty: it can. It has no subject: "is
    // locked".
    std::string why_not_growing(const DiskContent& content) const;
    std::string why_not_shrinking(const DiskContent& content) const;

    // Whether it could grow if somebody did something about it: unlocked it, repaired it, shut it down.
    bool is_hindered(const DiskContent& content) const;

    // The least that its device must have. nullopt: that is still to be found out, and noted in the plan.
    std::optional<uint64_t> minimum(const DiskContent& content);

    // What the wishes say of single logical volumes. Those that get smaller first; in the end those that get
    // larger.
    void shrink_volumes();
    void grow_volumes();
    // A plain logical volume by its name, /dev/VG/LV or /dev/mapper/VG-LV. nullptr: there is none.
    LogicalVolume* find_volume(const std::string& device);

    std::vector<ResizeStep> checks;
    std::vector<ResizeStep> shrinking;
    std::vector<ResizeStep> growing;

  private:
    struct Place {
        VolumeGroup* group;
        uint32_t index;
        PhysicalVolume& volume() const { return group->physical_volumes[index]; }
    };
    bool is_recreated(const DiskContent& content) const;
    Place place_of(const DiskContent& content);
    VolumeGroup& group_of(const LogicalVolume& volume);
    bool is_named(const VolumeGroup& group);
    bool may_shrink(VolumeGroup& group, const LogicalVolume& volume);
    uint64_t size_before(const std::string& volume) const;
    void require_plain(const LogicalVolume& volume) const;
    void check(const DiskContent& content);
    void shrink_physical_volume(DiskContent& content, uint64_t room);
    void clear_end(VolumeGroup& group, uint32_t index, uint64_t limit);
    void grow_physical_volume(DiskContent& content, uint64_t room);
    void shrink_volume(VolumeGroup& group, LogicalVolume& volume, uint64_t extents);
    void grow_volume(VolumeGroup& group, LogicalVolume& volume, uint64_t extents);

    ResizePlan& plan_;
    const ResizeWishes& wishes_;
};

}  // namespace inspect
