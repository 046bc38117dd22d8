// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/resize/stack_plan.h"

#include <algorithm>

#include "base/checked.h"
#include "guest/printable.h"
#include "guest/resize/text.h"
#include "guest/resize/volume_groups.h"

namespace inspect {

namespace {

constexpr uint64_t kLeastSwap = 40960;  // ten pages, as mkswap(8) wants them
// The kernel gives a btrfs device no size below this, not even a larger one than it has (btrfs_ioctl_resize).
constexpr uint64_t kLeastBtrfs = 256 << 20;
constexpr uint64_t kLeastXfs = 300 << 20;  // of mkfs.xfs(8)

using Kind = ResizeStep::Kind;

bool is_ext(std::string_view type) { return type == "ext2" || type == "ext3" || type == "ext4"; }

struct Ability {
    std::string_view type;
    bool shrinks;
    std::string_view why_not;  // it doesn't shrink
};
constexpr Ability kAbilities[] = {
    {"ext2", true, {}},
    {"ext3", true, {}},
    {"ext4", true, {}},
    {"btrfs", true, {}},
    {"ntfs", true, {}},
    {"vfat", true, {}},
    {"swap", true, {}},
    {"crypto_LUKS", true, {}},
    {"LVM2_member", true, {}},
    {"xfs", false, "an XFS file system can't be made smaller; --recreate makes it anew, with what is in it"},
};

const Ability* ability(const DiskContent& content) {
    if (!content.fixed.empty()) return nullptr;
    for (const Ability& known : kAbilities) {
        if (known.type == content.type) return &known;
    }
    return nullptr;
}

std::string unknown_content(const DiskContent& content) {
    if (content.type.empty()) return "it is not known what is in it";
    const std::string what = "it holds " + printable(content.type) + ", which can't be resized here";
    return content.fixed.empty() ? what : what + ": " + printable(content.fixed);
}

// What no file system of this type can be given less of, not even when it grows.
uint64_t least_of(std::string_view type) { return type == "btrfs" ? kLeastBtrfs : 0; }

uint64_t floor_to(uint64_t value, uint64_t unit) { return unit > 1 ? value / unit * unit : value; }

// "/dev/mapper/my--vg-root" is /dev/my-vg/root.
std::string from_mapper_name(std::string_view device) {
    constexpr std::string_view kFolder = "/dev/mapper/";
    if (!device.starts_with(kFolder)) return std::string(device);
    device.remove_prefix(kFolder.size());
    std::string name = "/dev/";
    bool in_group = true;
    for (size_t i = 0; i < device.size(); ++i) {
        if (device[i] != '-') {
            name += device[i];
        } else if (i + 1 < device.size() && device[i + 1] == '-') {
            name += device[i++];
        } else {
            name += in_group ? '/' : '-';
            in_group = false;
        }
    }
    return name;
}

}  // namespace

std::string StackPlan::why_not_growing(const DiskContent& content) const {
    if (!content.obstacle.empty()) return content.obstacle;
    if (!ability(content)) return unknown_content(content);
    if (content.type != "crypto_LUKS") return {};
    if (content.inner.empty()) return "it is encrypted, and what is in it can't follow without a key (--key)";
    return why_not_growing(content.inner[0]);
}

bool StackPlan::is_recreated(const DiskContent& content) const {
    return wishes_.recreate && content.type == "xfs";
}

bool StackPlan::is_hindered(const DiskContent& content) const {
    if (!content.obstacle.empty()) return true;
    if (content.type != "crypto_LUKS") return false;
    return content.inner.empty() || is_hindered(content.inner[0]);
}

std::string StackPlan::why_not_shrinking(const DiskContent& content) const {
    if (!content.obstacle.empty()) return content.obstacle;
    const Ability* known = ability(content);
    if (!known) return unknown_content(content);
    if (!known->shrinks && !is_recreated(content)) return std::string(known->why_not);
    if (content.type != "crypto_LUKS") return {};
    if (content.inner.empty()) return "it is encrypted, and can't be made smaller without a key (--key)";
    return why_not_shrinking(content.inner[0]);
}

std::optional<uint64_t> StackPlan::minimum(const DiskContent& content) {
    if (!why_not_shrinking(content).empty()) return content.size_bytes;
    if (content.type == "swap") return kLeastSwap;
    // What it needs besides depends on the new one's log and tables: whether it fits is seen when it is done.
    if (is_recreated(content)) return std::max(content.used_bytes.value_or(0), kLeastXfs);
    if (content.type == "crypto_LUKS") {
        auto inner = minimum(content.inner[0]);
        return inner ? checked_add(*inner, content.header_bytes) : std::nullopt;
    }
    if (content.type == "LVM2_member") {
        const Place place = place_of(content);
        return place.volume().data_start + least_end(*place.group, place.index) * place.group->extent_bytes;
    }
    if (!content.minimum_bytes) {
        auto& wanted = plan_.minimum_wanted;
        if (std::find(wanted.begin(), wanted.end(), content.device) == wanted.end())
            wanted.push_back(content.device);
        return std::nullopt;
    }
    return std::max(*content.minimum_bytes, least_of(content.type));
}

void StackPlan::check(const DiskContent& content) {
    if (!is_ext(content.type) && content.type != "vfat") return;
    for (const ResizeStep& step : checks) {
        if (step.device == content.device) return;
    }
    checks.push_back({.kind = Kind::kCheck, .device = content.device, .type = content.type});
}

void StackPlan::shrink(DiskContent& content, uint64_t room) {
    const uint64_t new_size = floor_to(room, content.granule_bytes);
    if (content.type == "LVM2_member") return shrink_physical_volume(content, room);
    if (content.size_bytes <= room) return;
    if (std::string why = why_not_shrinking(content); !why.empty())
        throw Error(ErrorKind::kUnsupported, content.device + " can't be made smaller: " + why);
    if (content.type == "crypto_LUKS") {
        if (room <= content.header_bytes)
            throw Error(ErrorKind::kNoSpace, content.device + " needs " +
                                                 exact_size_text(content.header_bytes) +
                                                 " for its LUKS header alone");
        shrink(content.inner[0], room - content.header_bytes);
        shrinking.push_back({.kind = Kind::kLuks,
                             .device = content.device,
                             .old_size = content.size_bytes,
                             .new_size = new_size});
        content.size_bytes = new_size;
        return;
    }
    const std::optional<uint64_t> least = minimum(content);
    if (!least) return;  // asked for
    if (new_size < *least)
        throw Error(ErrorKind::kNoSpace, content.type + " on " + content.device +
                                             " can't be made smaller than " + exact_size_text(*least) +
                                             ", because of what is in it; it was to become " +
                                             exact_size_text(new_size));
    check(content);
    const bool swap = content.type == "swap";
    shrinking.push_back({.kind = is_recreated(content) ? Kind::kRecreate
                                 : swap                ? Kind::kSwap
                                                       : Kind::kFilesystem,
                         .device = content.device,
                         .type = content.type,
                         .old_size = content.size_bytes,
                         .new_size = new_size,
                         .label = swap ? content.label : "",
                         .uuid = swap ? content.uuid : ""});
    content.size_bytes = new_size;
}

void StackPlan::grow(DiskContent& content, uint64_t room) {
    if (std::string why = why_not_growing(content); !why.empty())
        throw Error(content.type == "crypto_LUKS" && content.inner.empty() ? ErrorKind::kDenied
                                                                           : ErrorKind::kUnsupported,
                    content.device + " can't grow with all that is in it: " + why +
                        "; --no-expand-content makes the partition alone larger");
    if (content.type == "LVM2_member") return grow_physical_volume(content, room);
    const uint64_t most = content.maximum_bytes.value_or(room);
    if (most < room)
        plan_.notes.push_back(printable(content.type) + " on " + content.device +
                              " can't be made larger than " + exact_size_text(most) +
                              "; what its device has beyond that stays unused");
    const uint64_t new_size = floor_to(std::min(room, most), content.granule_bytes);
    if (new_size <= content.size_bytes) return;
    const uint64_t least = least_of(content.type);
    if (new_size < least)
        throw Error(ErrorKind::kNoSpace, content.type + " on " + content.device + " can only be given " +
                                             exact_size_text(least) + " or more; it was to become " +
                                             exact_size_text(new_size));
    const uint64_t old_size = content.size_bytes;
    content.size_bytes = new_size;
    if (content.type == "crypto_LUKS") {
        growing.push_back(
            {.kind = Kind::kLuks, .device = content.device, .old_size = old_size, .new_size = new_size});
        return grow(content.inner[0], new_size - content.header_bytes);
    }
    check(content);
    const bool swap = content.type == "swap";
    growing.push_back({.kind = swap ? Kind::kSwap : Kind::kFilesystem,
                       .device = content.device,
                       .type = content.type,
                       .old_size = old_size,
                       .new_size = new_size,
                       .label = swap ? content.label : "",
                       .uuid = swap ? content.uuid : ""});
}

// ---- LVM

StackPlan::Place StackPlan::place_of(const DiskContent& content) {
    for (VolumeGroup& group : plan_.after.volume_groups) {
        for (uint32_t i = 0; i < group.physical_volumes.size(); ++i) {
            if (group.physical_volumes[i].device != content.device) continue;
            if (group.missing)
                throw Error(ErrorKind::kNotFound,
                            "the volume group " + printable(group.name) + " on " + content.device +
                                " is not complete; give the other disks of it too (-a)");
            return {&group, i};
        }
    }
    throw Error(ErrorKind::kUnsupported,
                "the physical volume " + content.device + " belongs to no volume group that can be used");
}

VolumeGroup& StackPlan::group_of(const LogicalVolume& volume) {
    for (VolumeGroup& group : plan_.after.volume_groups) {
        for (const LogicalVolume& other : group.logical_volumes) {
            if (&other == &volume) return group;
        }
    }
    throw Error(ErrorKind::kInternal, "a logical volume without a group");
}

LogicalVolume* StackPlan::find_volume(const std::string& device) {
    const std::string name = from_mapper_name(device);
    for (VolumeGroup& group : plan_.after.volume_groups) {
        for (LogicalVolume& volume : group.logical_volumes) {
            if (volume.device == name) return &volume;
        }
    }
    return nullptr;
}

void StackPlan::require_plain(const LogicalVolume& volume) const {
    if (volume.plain) return;
    throw Error(ErrorKind::kUnsupported,
                "the logical volume " + volume.device + " is of the kind " + printable(volume.kind) +
                    ", or has snapshots; only linear ones without can be resized here");
}

// Whether the wishes name one of the group's volumes: then they say all that is wished of it.
bool StackPlan::is_named(const VolumeGroup& group) {
    auto in_group = [&](const std::string& device) {
        const LogicalVolume* found = find_volume(device);
        return found && &group_of(*found) == &group;
    };
    for (const auto* list : {&wishes_.expand, &wishes_.shrink, &wishes_.expand_volumes}) {
        if (std::any_of(list->begin(), list->end(), in_group)) return true;
    }
    return std::any_of(wishes_.resize.begin(), wishes_.resize.end(),
                       [&](const ResizeWishes::To& wish) { return in_group(wish.device); });
}

// Whether a volume may be made smaller because its group's physical volume is.
bool StackPlan::may_shrink(VolumeGroup& group, const LogicalVolume& volume) {
    for (const std::string& device : wishes_.shrink) {
        if (find_volume(device) == &volume) return true;
    }
    return !is_named(group) && obvious_volume(group) == &volume;
}

void StackPlan::shrink_physical_volume(DiskContent& content, uint64_t room) {
    const Place place = place_of(content);
    VolumeGroup& group = *place.group;
    PhysicalVolume& physical = place.volume();
    const uint64_t extents =
        room < physical.data_start ? 0 : (room - physical.data_start) / group.extent_bytes;
    if (extents >= physical.extents) return;
    clear_end(group, place.index, extents);
    const uint64_t new_size = physical.data_start + extents * group.extent_bytes;
    shrinking.push_back({.kind = Kind::kPhysicalVolume,
                         .device = content.device,
                         .old_size = content.size_bytes,
                         .new_size = new_size});
    physical.extents = extents;
    content.size_bytes = new_size;
}

// Brings what lies at or behind the extent `limit` of a physical volume before it: of volumes that may become
// smaller the end is cut, others are moved to where there is room, or is once those are smaller.
void StackPlan::clear_end(VolumeGroup& group, uint32_t index, uint64_t limit) {
    const PhysicalVolume& physical = group.physical_volumes[index];
    const LogicalVolume* in_the_way = nullptr;
    VolumeGroup cut = group;  // as it will be when all are as small as they are to be
    for (size_t i = 0; i < group.logical_volumes.size(); ++i) {
        const LogicalVolume& volume = group.logical_volumes[i];
        const uint64_t kept = extents_before(volume, index, limit);
        if (kept == extents_of(volume)) continue;
        if (kept > 0 && may_shrink(group, volume)) {
            set_extents(cut, cut.logical_volumes[i], kept);
        } else {
            in_the_way = &volume;
        }
    }
    const uint64_t moving = extents_behind(cut, index, limit);
    for (size_t i = 0; i < group.logical_volumes.size(); ++i) {
        LogicalVolume& volume = cut.logical_volumes[i];
        const uint64_t room = free_extents_before(cut, index, limit);
        if (room >= moving || volume.segments.empty()) continue;
        const VolumeSegment& last = volume.segments.back();
        const uint64_t wanted = moving - room;
        if (last.physical_volume == index && last.extents > wanted &&
            may_shrink(group, group.logical_volumes[i]))
            set_extents(cut, volume, extents_of(volume) - wanted);
    }
    for (size_t i = 0; i < group.logical_volumes.size(); ++i) {
        LogicalVolume& volume = group.logical_volumes[i];
        const uint64_t extents = extents_of(cut.logical_volumes[i]);
        if (extents < extents_of(volume)) shrink_volume(group, volume, extents);
    }
    if (!in_the_way) return;
    const uint64_t least = least_end(group, index);
    if (least > limit || free_extents_before(group, index, limit) < moving)
        throw Error(
            ErrorKind::kNoSpace,
            "the physical volume " + physical.device + " can't be made smaller than " +
                exact_size_text(physical.data_start + least * group.extent_bytes) + ": the logical volume " +
                in_the_way->device + " lies at its end" +
                (in_the_way->plain ? ", and there is no room to move it to; name one with --shrink that "
                                     "can be made smaller"
                                   : " and can't be moved here"));
    shrinking.push_back({.kind = Kind::kMoveExtents,
                         .device = physical.device,
                         .old_size = moving * group.extent_bytes,
                         .first_extent = limit});
    move_extents(group, index, limit);
}

void StackPlan::grow_physical_volume(DiskContent& content, uint64_t room) {
    const Place place = place_of(content);
    VolumeGroup& group = *place.group;
    PhysicalVolume& physical = place.volume();
    const uint64_t extents =
        room < physical.data_start ? 0 : (room - physical.data_start) / group.extent_bytes;
    if (extents <= physical.extents) return;
    const uint64_t gained = extents - physical.extents;
    const uint64_t new_size = physical.data_start + extents * group.extent_bytes;
    growing.push_back({.kind = Kind::kPhysicalVolume,
                       .device = content.device,
                       .old_size = content.size_bytes,
                       .new_size = new_size});
    physical.extents = extents;
    content.size_bytes = new_size;
    if (is_named(group)) return;  // grow_volumes() does what is wished
    LogicalVolume* volume = obvious_volume(group);
    const std::string why = volume ? why_not_growing(volume->content) : "it is not clear which one is meant";
    if (why.empty()) return grow_volume(group, *volume, extents_of(*volume) + gained);
    plan_.notes.push_back("the volume group " + printable(group.name) + " gets " +
                          size_text(gained * group.extent_bytes) + " that no logical volume takes: " + why +
                          " (--LV-expand)");
}

void StackPlan::shrink_volume(VolumeGroup& group, LogicalVolume& volume, uint64_t extents) {
    require_plain(volume);
    const uint64_t old_size = volume.size;
    const uint64_t new_size = extents * group.extent_bytes;
    if (new_size >= old_size) return;
    shrink(volume.content, new_size);
    shrinking.push_back(
        {.kind = Kind::kLogicalVolume, .device = volume.device, .old_size = old_size, .new_size = new_size});
    set_extents(group, volume, extents);
}

void StackPlan::grow_volume(VolumeGroup& group, LogicalVolume& volume, uint64_t extents) {
    require_plain(volume);
    const uint64_t old_size = volume.size;
    if (extents * group.extent_bytes > old_size) {
        set_extents(group, volume, extents);
        growing.push_back({.kind = Kind::kLogicalVolume,
                           .device = volume.device,
                           .old_size = old_size,
                           .new_size = volume.size});
    }
    if (wishes_.contents) grow(volume.content, volume.size);
}

uint64_t StackPlan::size_before(const std::string& volume) const {
    for (const VolumeGroup& group : plan_.before.volume_groups) {
        for (const LogicalVolume& other : group.logical_volumes) {
            if (other.device == volume) return other.size;
        }
    }
    return 0;
}

void StackPlan::shrink_volumes() {
    for (const ResizeWishes::To& wish : wishes_.resize) {
        LogicalVolume* volume = find_volume(wish.device);
        if (!volume) continue;
        VolumeGroup& group = group_of(*volume);
        const uint64_t size = wish.size.apply(size_before(volume->device));
        if (size < volume->size)
            shrink_volume(group, *volume, (size + group.extent_bytes - 1) / group.extent_bytes);
    }
}

void StackPlan::grow_volumes() {
    for (const ResizeWishes::To& wish : wishes_.resize) {
        LogicalVolume* volume = find_volume(wish.device);
        if (!volume) continue;
        VolumeGroup& group = group_of(*volume);
        const uint64_t size = wish.size.apply(size_before(volume->device));
        if (size <= volume->size) continue;
        const uint64_t extents = (size - 1) / group.extent_bytes + 1;
        const uint64_t most = extents_of(*volume) + free_extents(group);
        if (extents > most)
            throw Error(ErrorKind::kNoSpace, "the logical volume " + volume->device +
                                                 " can't be made larger than " +
                                                 exact_size_text(most * group.extent_bytes) + ": its group " +
                                                 printable(group.name) + " has no more room");
        grow_volume(group, *volume, extents);
    }
    for (const auto* list : {&wishes_.expand_volumes, &wishes_.expand}) {
        for (const std::string& device : *list) {
            LogicalVolume* volume = find_volume(device);
            if (!volume) continue;
            VolumeGroup& group = group_of(*volume);
            grow_volume(group, *volume, extents_of(*volume) + free_extents(group));
        }
    }
}

}  // namespace inspect
