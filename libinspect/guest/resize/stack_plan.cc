// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/resize/stack_plan.h"

#include <algorithm>
#include <set>

#include "base/checked.h"
#include "guest/filesystem_type.h"
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

// Of LUKS, whose sectors may have this many bytes.
constexpr uint64_t kLuksUnit = 4096;

uint64_t floor_to(uint64_t value, uint64_t unit) { return unit > 1 ? value / unit * unit : value; }

// What is written to a disk that is only read would be lost.
void require_changeable(const VolumeGroup& group) {
    if (group.missing)
        throw Error(ErrorKind::kNotFound, "the volume group " + printable(group.name) +
                                              " is not complete; give the other disks of it too (-a)");
    if (group.read_only)
        throw Error(ErrorKind::kDenied, "the volume group " + printable(group.name) +
                                            " has a part on another disk, which is only read here");
}

// Whether it could grow if somebody did something about it.
bool is_hindered(const DiskContent& content) {
    if (!content.obstacle.empty()) return true;
    if (content.type != "crypto_LUKS") return false;
    return content.inner.empty() || is_hindered(content.inner[0]);
}

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

void StackPlan::refuse_hindered(const DiskContent& content, const std::string& why) const {
    if (!is_hindered(content)) return;
    throw Error(
        content.type == "crypto_LUKS" ? ErrorKind::kDenied : ErrorKind::kUnsupported,
        content.device + " can't grow with the disk: " + why + "; --no-follow makes the disk alone larger");
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
        const uint64_t inner = floor_to(room - content.header_bytes, kLuksUnit);
        shrink(content.inner[0], inner);
        shrinking.push_back({.kind = Kind::kLuks,
                             .device = content.device,
                             .old_size = content.size_bytes,
                             .new_size = content.header_bytes + inner});
        content.size_bytes = content.header_bytes + inner;
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
    if (content.type == "crypto_LUKS") return grow_luks(content, room);
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

// An opened volume may have all of its device already, and what is in it may not.
void StackPlan::grow_luks(DiskContent& content, uint64_t room) {
    if (room <= content.header_bytes) return;
    const uint64_t inner = floor_to(room - content.header_bytes, kLuksUnit);
    const uint64_t new_size = content.header_bytes + inner;
    if (new_size > content.size_bytes) {
        growing.push_back({.kind = Kind::kLuks,
                           .device = content.device,
                           .old_size = content.size_bytes,
                           .new_size = new_size});
        content.size_bytes = new_size;
    }
    grow(content.inner[0], inner);
}

bool StackPlan::has_room(const DiskContent& content, uint64_t room, uint64_t least) {
    if (content.type == "crypto_LUKS")
        return !content.inner.empty() && room > content.header_bytes &&
               has_room(content.inner[0], room - content.header_bytes, least);
    if (content.type == "LVM2_member") {
        const std::optional<Place> place = find_place(content);
        return place && extents_in(*place, room) > place->volume().extents;
    }
    if (!ability(content)) return !content.type.empty() && room >= content.size_bytes + least;
    const uint64_t most = std::min(room, content.maximum_bytes.value_or(room));
    return floor_to(most, content.granule_bytes) >= content.size_bytes + least;
}

// ---- LVM

std::optional<StackPlan::Place> StackPlan::find_place(const DiskContent& content) {
    for (VolumeGroup& group : plan_.after.volume_groups) {
        for (uint32_t i = 0; i < group.physical_volumes.size(); ++i) {
            if (group.physical_volumes[i].device == content.device) return Place{&group, i};
        }
    }
    return std::nullopt;
}

// How many extents the physical volume could have on a device of that size.
uint64_t StackPlan::extents_in(const Place& place, uint64_t room) {
    const uint64_t data_start = place.volume().data_start;
    return room < data_start ? 0 : (room - data_start) / place.group->extent_bytes;
}

StackPlan::Place StackPlan::place_of(const DiskContent& content) {
    const std::optional<Place> place = find_place(content);
    if (!place)
        throw Error(ErrorKind::kUnsupported,
                    "the physical volume " + content.device + " belongs to no volume group that can be used");
    require_changeable(*place->group);
    return *place;
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

void StackPlan::require_resizable(const VolumeGroup& group, const LogicalVolume& volume) {
    require_changeable(group);
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
    if (room < physical.data_start)
        throw Error(ErrorKind::kNoSpace, "the physical volume " + content.device + " needs " +
                                             exact_size_text(physical.data_start) + " for LVM's notes alone");
    // LVM notes its device's size, even what is less than an extent of it.
    const uint64_t extents = std::min(extents_in(place, room), physical.extents);
    if (extents < physical.extents) clear_end(group, place.index, extents);
    const uint64_t new_size = physical.data_start + extents * group.extent_bytes;
    shrinking.push_back({.kind = Kind::kPhysicalVolume,
                         .device = content.device,
                         .old_size = content.size_bytes,
                         .new_size = new_size});
    physical.extents = extents;
    content.size_bytes = new_size;
}

// Brings what lies at or behind the extent `limit` of a physical volume before it: it is moved to where there
// is room, and where there is too little, volumes that may become smaller are, by what is lacking.
void StackPlan::clear_end(VolumeGroup& group, uint32_t index, uint64_t limit) {
    VolumeGroup cut = group;  // as it will be when all are as small as they are to be
    // What lies behind the limit itself goes first, so that less has to move.
    for (const bool behind : {true, false}) {
        for (size_t i = 0; i < group.logical_volumes.size(); ++i) {
            LogicalVolume& volume = cut.logical_volumes[i];
            if (!volume.plain || !may_shrink(group, group.logical_volumes[i])) continue;
            const uint64_t moving = extents_behind(cut, index, limit);
            const uint64_t room = free_extents_before(cut, index, limit);
            if (moving <= room) break;
            uint64_t kept = extents_without(volume, index, moving - room);
            if (behind) kept = std::max(kept, extents_before(volume, index, limit));
            set_extents(cut, volume, std::max<uint64_t>(kept, 1));
        }
    }
    for (size_t i = 0; i < group.logical_volumes.size(); ++i) {
        const uint64_t extents = extents_of(cut.logical_volumes[i]);
        if (extents < extents_of(group.logical_volumes[i]))
            shrink_volume(group, group.logical_volumes[i], extents);
    }
    move_end(group, index, limit);
}

void StackPlan::move_end(VolumeGroup& group, uint32_t index, uint64_t limit) {
    const auto in_the_way = std::find_if(group.logical_volumes.begin(), group.logical_volumes.end(),
                                         [&](const LogicalVolume& volume) {
                                             return extents_before(volume, index, limit) < extents_of(volume);
                                         });
    if (in_the_way == group.logical_volumes.end()) return;
    const PhysicalVolume& physical = group.physical_volumes[index];
    const uint64_t moving = extents_behind(group, index, limit);
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
    const uint64_t extents = extents_in(place, room);
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
    require_resizable(group, volume);
    const uint64_t old_size = volume.size;
    const uint64_t new_size = extents * group.extent_bytes;
    if (new_size >= old_size) return;
    shrink(volume.content, new_size);
    shrinking.push_back(
        {.kind = Kind::kLogicalVolume, .device = volume.device, .old_size = old_size, .new_size = new_size});
    set_extents(group, volume, extents);
}

void StackPlan::grow_volume(VolumeGroup& group, LogicalVolume& volume, uint64_t extents) {
    require_resizable(group, volume);
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

// One that is named twice would get what is said last, or nothing.
void StackPlan::require_single_wishes() {
    std::set<const LogicalVolume*> named;
    auto add = [&](const std::string& device) {
        const LogicalVolume* volume = find_volume(device);
        if (volume && !named.insert(volume).second)
            throw Error(ErrorKind::kUsage, volume->device + " was given more than one size");
    };
    for (const ResizeWishes::To& wish : wishes_.resize) add(wish.device);
    for (const auto* list : {&wishes_.shrink, &wishes_.expand, &wishes_.expand_volumes})
        std::for_each(list->begin(), list->end(), add);
}

void StackPlan::shrink_volumes() {
    require_single_wishes();
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
            expand_volume(group_of(*volume), *volume);
        }
    }
    for (const std::string& device : wishes_.shrink) {
        if (const LogicalVolume* volume = find_volume(device)) say_whether_shrunk(*volume);
    }
}

void StackPlan::expand_volume(VolumeGroup& group, LogicalVolume& volume) {
    require_resizable(group, volume);
    const uint64_t free = free_extents(group);
    const bool content_has_room = wishes_.contents && why_not_growing(volume.content).empty() &&
                                  has_room(volume.content, volume.size, kLeastRoom);
    if (free == 0 && !content_has_room)
        throw Error(ErrorKind::kNoSpace, "there is no room for the logical volume " + volume.device +
                                             ": its group " + printable(group.name) +
                                             " has no extents that are free, or that no other volume "
                                             "takes");
    grow_volume(group, volume, extents_of(volume) + free);
}

// Named by --shrink, for the room that its group's physical volume is to have no more.
void StackPlan::say_whether_shrunk(const LogicalVolume& volume) {
    if (volume.size < size_before(volume.device)) return;
    for (const ResizeStep& step : shrinking) {
        if (step.kind != Kind::kPhysicalVolume) continue;
        for (const PhysicalVolume& physical : group_of(volume).physical_volumes) {
            if (physical.device != step.device) continue;
            plan_.notes.push_back(volume.device + " stays as it is: without it there is room enough in " +
                                  physical.device);
            return;
        }
    }
    throw Error(ErrorKind::kUsage, "there is no need to shrink " + volume.device +
                                       ": no physical volume of its group becomes smaller; --resize gives "
                                       "it a size");
}

}  // namespace inspect
