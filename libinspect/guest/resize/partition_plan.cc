// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/resize/partition_plan.h"

#include <algorithm>

#include "base/checked.h"
#include "guest/printable.h"
#include "guest/resize/text.h"

namespace inspect {

namespace {

constexpr uint64_t kMbrSectors = uint64_t{1} << 32;

// By itself, or in an opened LUKS volume: one that is a part of something that other devices have parts of,
// too. nullptr: there is none.
const DiskContent* member_in(const DiskContent& content) {
    if (content.type.ends_with("_member") || content.devices > 1) return &content;
    return content.inner.empty() ? nullptr : member_in(content.inner[0]);
}

bool holds_physical_volume(const DiskContent& content) {
    const DiskContent* member = member_in(content);
    return member && member->type == "LVM2_member";
}

}  // namespace

uint64_t PartitionPlan::usable_end() {
    uint64_t end = align_down(disk().size, disk().sector_size);
    if (disk().table == TableKind::kMbr) end = std::min(end, kMbrSectors * disk().sector_size);
    return end - std::min(end, disk().reserved_at_end);
}

DiskPartition* PartitionPlan::find(const std::string& device) {
    for (DiskPartition& partition : disk().partitions) {
        if (partition.device == device) return &partition;
    }
    return nullptr;
}

DiskPartition& PartitionPlan::get(const std::string& device) {
    if (DiskPartition* found = find(device)) return *found;
    std::string message = "there is no " + quoted(device) + " to be resized; there is";
    bool any = false;
    for (const DiskPartition& partition : disk().partitions) {
        message += (any ? ", " : " ") + partition.device;
        any = true;
    }
    for (const VolumeGroup& group : disk().volume_groups) {
        for (const LogicalVolume& volume : group.logical_volumes) {
            message += (any ? ", " : " ") + printable(volume.device);
            any = true;
        }
    }
    throw Error(ErrorKind::kNotFound, message + (any ? "" : " no partition and no logical volume"));
}

DiskPartition* PartitionPlan::extended() {
    for (DiskPartition& partition : disk().partitions) {
        if (partition.extended) return &partition;
    }
    return nullptr;
}

// What begins behind a partition, of those that stand on its level. nullptr: nothing.
const DiskPartition* PartitionPlan::next(const DiskPartition& partition) {
    const DiskPartition* found = nullptr;
    for (const DiskPartition& other : disk().partitions) {
        if (other.number == partition.number || other.logical != partition.logical) continue;
        if (other.start < partition.start) continue;
        if (!found || other.start < found->start) found = &other;
    }
    return found;
}

// How far a partition could reach.
uint64_t PartitionPlan::limit(const DiskPartition& partition) {
    if (const DiskPartition* behind = next(partition)) return behind->reserved_from;
    if (partition.logical && extended()) return limit(*extended());
    return usable_end();
}

// The partition behind which there is none, the one that the end of the disk belongs to.
DiskPartition* PartitionPlan::last() {
    DiskPartition* found = nullptr;
    for (DiskPartition& partition : disk().partitions) {
        if (!partition.extended && (!found || partition.start > found->start)) found = &partition;
    }
    if (found && extended() && extended()->start > found->start) return nullptr;
    return found;
}

void PartitionPlan::remove() {
    for (const std::string& device : wishes_.remove) {
        DiskPartition& partition = get(device);
        if (partition.extended && std::any_of(disk().partitions.begin(), disk().partitions.end(),
                                              [](const DiskPartition& other) { return other.logical; }))
            throw Error(ErrorKind::kUsage,
                        device + " is an extended partition: remove the logical ones in it first");
        if (partition.logical)
            throw Error(
                ErrorKind::kUnsupported,
                device + " is a logical partition: removing it would give those behind it other numbers");
        refuse_member(partition);
        std::erase_if(disk().partitions, [&](const DiskPartition& other) { return other.device == device; });
        table_changes_ = true;
    }
}

// What would be gone with a partition that isn't all that it is a part of.
void PartitionPlan::refuse_member(const DiskPartition& partition) {
    const DiskContent* member = member_in(partition.content);
    if (!member) return;
    std::string of = "an array (" + printable(member->type) + ")";
    if (member->type == "btrfs") of = "a btrfs file system on several devices";
    if (member->type == "LVM2_member") {
        if (member->volume_group.empty()) return;
        of = "the volume group " + printable(member->volume_group);
    }
    throw Error(ErrorKind::kUnsupported,
                partition.device + " is a part of " + of + ": take it out of that first");
}

bool PartitionPlan::settle_wishes() {
    bool named = false;
    for (const ResizeWishes::To& wish : wishes_.resize) {
        if (stack_.find_volume(wish.device)) continue;
        named = true;
        DiskPartition& partition = get(wish.device);
        const uint64_t size = align_up(wish.size.apply(partition.size), disk().sector_size);
        settle(partition, size, true);
    }
    for (const std::string& device : wishes_.shrink) {
        if (stack_.find_volume(device)) continue;
        named = true;
        shrink_to_fit(get(device), true);
    }
    for (const std::string& device : wishes_.expand) {
        if (stack_.find_volume(device)) continue;
        named = true;
        expand(get(device), true);
    }
    for (const std::string& device : wishes_.expand_volumes) {
        if (stack_.find_volume(device)) continue;
        throw Error(ErrorKind::kUsage, get(device).device + " is no logical volume");
    }
    return named;
}

void PartitionPlan::settle(DiskPartition& partition, uint64_t size, bool wished) {
    if (partition.extended)
        throw Error(ErrorKind::kUsage, partition.device + " is an extended partition: resize what is in it");
    if (wished && !settled_.insert({partition.device, size}).second)
        throw Error(ErrorKind::kUsage, partition.device + " was given more than one size");
    settled_[partition.device] = size;
    const uint64_t end = checked_add(partition.start, size).value_or(UINT64_MAX);
    if (size > partition.size && end > limit(partition)) {
        const DiskPartition* behind = next(partition);
        throw Error(ErrorKind::kNoSpace,
                    partition.device + " can't be made larger than " +
                        exact_size_text(limit(partition) - std::min(limit(partition), partition.start)) +
                        ": " +
                        (behind ? behind->device + " begins there" : std::string("the disk ends there")) +
                        (behind ? "" : "; --size makes it larger"));
    }
    if (size >= partition.size || size >= partition.content.size_bytes) return;
    if (std::string why = stack_.why_not_shrinking(partition.content); !why.empty())
        throw Error(ErrorKind::kUnsupported, partition.device + " can't be made smaller: " + why);
    if (holds_physical_volume(partition.content)) return;  // its volumes may become smaller too
    const std::optional<uint64_t> least = stack_.minimum(partition.content);
    if (least && size < *least)
        throw Error(ErrorKind::kNoSpace, partition.device + " can't be made smaller than " +
                                             exact_size_text(align_up(*least, disk().sector_size)) +
                                             ", because of what is in it; it was to become " +
                                             exact_size_text(size) + least_disk(partition, *least));
}

// For errors: what --size would have to be, where it was the cause.
std::string PartitionPlan::least_disk(const DiskPartition& partition, uint64_t least) {
    if (!wishes_.size || disk().size >= disk_before().size || next(partition)) return {};
    const uint64_t end = align_up(partition.start + least, kAlignment);
    return "; the smallest --size is " + exact_size_text(align_up(end + disk().reserved_at_end, kAlignment));
}

void PartitionPlan::shrink_to_fit(DiskPartition& partition, bool wished) {
    const uint64_t end = limit(partition);
    if (partition.end() <= end) {
        if (wished)
            throw Error(ErrorKind::kUsage,
                        "there is no need to shrink " + partition.device +
                            ": it has its place in the image as it is going to be; --resize gives it a size");
        return;
    }
    uint64_t new_end = align_down(end, kAlignment);
    if (new_end <= partition.start)
        throw Error(ErrorKind::kNoSpace, partition.device + " begins at " + exact_size_text(partition.start) +
                                             ", where the image is to end already");
    settle(partition, new_end - partition.start, wished);
}

void PartitionPlan::expand(DiskPartition& partition, bool wished) {
    const uint64_t end = limit(partition);
    const uint64_t aligned = align_down(end, kAlignment);
    const uint64_t new_end = aligned > partition.end() ? aligned : std::max(end, partition.end());
    // Sizes below the alignment are not worth a change, unless it is all that was wished.
    const bool has_room = new_end > partition.end();
    const bool content_has_room = wishes_.contents && stack_.why_not_growing(partition.content).empty() &&
                                  stack_.has_room(partition.content, partition.size, kLeastRoom);
    if (!has_room && !content_has_room) {
        if (!wished) return;
        const DiskPartition* behind = next(partition);
        throw Error(ErrorKind::kNoSpace,
                    "there is no room behind " + partition.device + ": " +
                        (behind ? behind->device + " begins at " + exact_size_text(behind->start)
                                : std::string("it ends where the disk ends; --size makes that larger")));
    }
    settle(partition, new_end - partition.start, wished);
}

void PartitionPlan::follow() {
    DiskPartition* partition = last();
    if (!partition) return;
    const bool as_it_is = disk().size == disk_before().size;
    if (as_it_is && align_down(limit(*partition), kAlignment) <= partition->end()) return;
    if (disk().size < disk_before().size) return shrink_to_fit(*partition, false);
    std::string why = stack_.why_not_growing(partition->content);
    if (partition->content.type == "swap") why = "it is swap space";
    if (why.empty()) return expand(*partition, false);
    stack_.refuse_hindered(partition->content, why);
    plan_.notes.push_back(partition->device + ", the last partition, stays as it is: " + why);
}

uint64_t PartitionPlan::new_size(const DiskPartition& partition) const {
    const auto found = settled_.find(partition.device);
    return found == settled_.end() ? partition.size : found->second;
}

// The extended partition holds its logical ones, and nothing is beyond the disk's end.
void PartitionPlan::check_ends() {
    const uint64_t end = usable_end();
    if (DiskPartition* container = extended()) {
        uint64_t logical_end = 0;
        for (const DiskPartition& partition : disk().partitions) {
            if (partition.logical) logical_end = std::max(logical_end, partition.start + new_size(partition));
        }
        uint64_t wanted = std::max(container->end(), logical_end);
        if (wanted > end) wanted = std::max(logical_end, std::min(container->end(), end));
        settled_[container->device] = wanted - container->start;
    }
    // Nothing is made larger to reach what is nowhere, whatever the table says of the others.
    for (const DiskPartition& partition : disk().partitions) {
        if (new_size(partition) > partition.size && partition.start + new_size(partition) > end)
            throw Error(ErrorKind::kCorrupt,
                        partition.device +
                            " would reach beyond the end of the disk: the image was cut short, or its "
                            "partition table is wrong");
    }
    if (disk().size >= disk_before().size) return;
    uint64_t most = 0;
    const DiskPartition* farthest = nullptr;
    for (const DiskPartition& partition : disk().partitions) {
        if (partition.start + new_size(partition) <= most) continue;
        most = partition.start + new_size(partition);
        farthest = &partition;
    }
    if (most <= end) return;
    throw Error(ErrorKind::kNoSpace,
                farthest->device +
                    " reaches beyond the image's new size; without making it smaller the smallest is " +
                    exact_size_text(most + disk().reserved_at_end) +
                    "; --shrink or --resize make it smaller");
}

void PartitionPlan::shrink_contents() {
    for (DiskPartition& partition : disk().partitions) {
        const uint64_t size = new_size(partition);
        if (size >= partition.size) continue;
        if (!partition.extended) stack_.shrink(partition.content, size);
        partition.size = size;
        table_changes_ = true;
    }
}

void PartitionPlan::grow_contents() {
    for (DiskPartition& partition : disk().partitions) {
        const auto found = settled_.find(partition.device);
        if (found == settled_.end() || found->second < partition.size) continue;
        if (found->second > partition.size) table_changes_ = true;
        const bool shrunk = found->second < size_before(partition);
        partition.size = found->second;
        if (!shrunk && !partition.extended && wishes_.contents)
            stack_.grow(partition.content, partition.size);
    }
}

uint64_t PartitionPlan::size_before(const DiskPartition& partition) const {
    for (const DiskPartition& other : disk_before().partitions) {
        if (other.number == partition.number) return other.size;
    }
    return 0;
}

}  // namespace inspect
