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

// What a file system must have room for to be made larger where its device isn't.
constexpr uint64_t kLeastRoom = 4096;

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

    // What somebody can help, by unlocking it, repairing it, shutting it down, is no matter for a warning.
    void refuse_hindered(const DiskContent& content, const std::string& why) const;

    // Whether what lies in a device of that size could take `least` bytes more of it, as far as is known.
    bool has_room(const DiskContent& content, uint64_t room, uint64_t least);

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
    std::optional<Place> find_place(const DiskContent& content);
    Place place_of(const DiskContent& content);
    static uint64_t extents_in(const Place& place, uint64_t room);
    VolumeGroup& group_of(const LogicalVolume& volume);
    bool is_named(const VolumeGroup& group);
    bool may_shrink(VolumeGroup& group, const LogicalVolume& volume);
    uint64_t size_before(const std::string& volume) const;
    static void require_resizable(const VolumeGroup& group, const LogicalVolume& volume);
    void check(const DiskContent& content);
    void grow_luks(DiskContent& content, uint64_t room);
    void shrink_physical_volume(DiskContent& content, uint64_t room);
    void clear_end(VolumeGroup& group, uint32_t index, uint64_t limit);
    void grow_physical_volume(DiskContent& content, uint64_t room);
    void move_end(VolumeGroup& group, uint32_t index, uint64_t limit);
    void shrink_volume(VolumeGroup& group, LogicalVolume& volume, uint64_t extents);
    void grow_volume(VolumeGroup& group, LogicalVolume& volume, uint64_t extents);
    void expand_volume(VolumeGroup& group, LogicalVolume& volume);
    void require_single_wishes();
    void say_whether_shrunk(const LogicalVolume& volume);

    ResizePlan& plan_;
    const ResizeWishes& wishes_;
};

}  // namespace inspect
