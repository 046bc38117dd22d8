// SPDX-License-Identifier: LGPL-2.1-or-later
//
// plan_resize(): the image, its partition table and its partitions. What lies in a partition is
// stack_plan.cc's.
//
// A partition's start never moves. So it can grow up to what begins behind it, and the room that it leaves
// when it shrinks is behind it. Everything that shrinks is planned before the table is written, everything
// that grows after.
#include <algorithm>
#include <map>

#include <inspect/resize.h>

#include "base/checked.h"
#include "guest/printable.h"
#include "guest/resize/image_size.h"
#include "guest/resize/stack_plan.h"
#include "guest/resize/text.h"

namespace inspect {

namespace {

// Where partitions end, so that what is in them and on the storage below is aligned.
constexpr uint64_t kAlignment = 1 << 20;
constexpr uint64_t kMbrSectors = uint64_t{1} << 32;

using Kind = ResizeStep::Kind;

// By itself, or in an opened LUKS volume.
bool holds_physical_volume(const DiskContent& content) {
    return content.type == "LVM2_member" ||
           (!content.inner.empty() && holds_physical_volume(content.inner[0]));
}

class Planner {
  public:
    Planner(const DiskState& state, const ResizeWishes& wishes) : wishes_(wishes), stack_(plan_, wishes) {
        plan_.before = state;
        plan_.after = state;
    }

    ResizePlan plan() {
        settle_image_size();
        remove_partitions();
        settle_partitions();
        if (!plan_.minimum_wanted.empty()) return unfinished();
        check_ends();
        stack_.shrink_volumes();
        shrink_contents();
        if (!plan_.minimum_wanted.empty()) return unfinished();
        grow_contents();
        stack_.grow_volumes();
        assemble();
        return std::move(plan_);
    }

  private:
    DiskState& disk() { return plan_.after; }
    const DiskState& disk_before() const { return plan_.before; }

    ResizePlan unfinished() {
        plan_.steps.clear();
        plan_.after = plan_.before;
        return std::move(plan_);
    }

    // ---- the image

    void settle_image_size() {
        if (!wishes_.size) return;
        const uint64_t unit = std::max<uint64_t>(disk().sector_size, disk().size_unit);
        const uint64_t size = wished_image_size(disk().size, unit, *wishes_.size);
        if (size == disk().size) return;
        if (size == 0) throw Error(ErrorKind::kUsage, "nothing would be left of the disk");
        if (!disk().resizable)
            throw Error(ErrorKind::kUnsupported,
                        "the size of this image can't be changed here (that of raw files and qcow2 images "
                        "can, and with --write-mode=atomic that of logical volumes); make it larger by its "
                        "own means, then give --size the size that it has");
        disk().size = size;
    }

    uint64_t usable_end() {
        uint64_t end = align_down(disk().size, disk().sector_size);
        if (disk().table == TableKind::kMbr) end = std::min(end, kMbrSectors * disk().sector_size);
        return end - std::min(end, disk().reserved_at_end);
    }

    // ---- partitions

    DiskPartition* find(const std::string& device) {
        for (DiskPartition& partition : disk().partitions) {
            if (partition.device == device) return &partition;
        }
        return nullptr;
    }

    DiskPartition& get(const std::string& device) {
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

    DiskPartition* extended() {
        for (DiskPartition& partition : disk().partitions) {
            if (partition.extended) return &partition;
        }
        return nullptr;
    }

    // What begins behind a partition, of those that stand on its level. nullptr: nothing.
    const DiskPartition* next(const DiskPartition& partition) {
        const DiskPartition* found = nullptr;
        for (const DiskPartition& other : disk().partitions) {
            if (other.number == partition.number || other.logical != partition.logical) continue;
            if (other.start < partition.start) continue;
            if (!found || other.start < found->start) found = &other;
        }
        return found;
    }

    // How far a partition could reach.
    uint64_t limit(const DiskPartition& partition) {
        if (const DiskPartition* behind = next(partition)) return behind->reserved_from;
        if (partition.logical && extended()) return limit(*extended());
        return usable_end();
    }

    // The partition behind which there is none, the one that the end of the disk belongs to.
    DiskPartition* last() {
        DiskPartition* found = nullptr;
        for (DiskPartition& partition : disk().partitions) {
            if (!partition.extended && (!found || partition.start > found->start)) found = &partition;
        }
        if (found && extended() && extended()->start > found->start) return nullptr;
        return found;
    }

    void remove_partitions() {
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
            if (partition.content.type == "LVM2_member" && !partition.content.volume_group.empty())
                throw Error(ErrorKind::kUnsupported, device + " is a physical volume of the volume group " +
                                                         printable(partition.content.volume_group) +
                                                         ": take it out of that first");
            std::erase_if(disk().partitions,
                          [&](const DiskPartition& other) { return other.device == device; });
            table_changes_ = true;
        }
    }

    // ---- what each partition is to have

    void settle_partitions() {
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
        if (!named && wishes_.follow && wishes_.size) follow();
    }

    void settle(DiskPartition& partition, uint64_t size, bool wished) {
        if (partition.extended)
            throw Error(ErrorKind::kUsage,
                        partition.device + " is an extended partition: resize what is in it");
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
    std::string least_disk(const DiskPartition& partition, uint64_t least) {
        if (!wishes_.size || disk().size >= disk_before().size || next(partition)) return {};
        const uint64_t end = align_up(partition.start + least, kAlignment);
        return "; the smallest --size is " +
               exact_size_text(align_up(end + disk().reserved_at_end, kAlignment));
    }

    void shrink_to_fit(DiskPartition& partition, bool wished) {
        const uint64_t end = limit(partition);
        if (partition.end() <= end) {
            if (wished)
                throw Error(
                    ErrorKind::kUsage,
                    "there is no need to shrink " + partition.device +
                        ": it has its place in the image as it is going to be; --resize gives it a size");
            return;
        }
        uint64_t new_end = align_down(end, kAlignment);
        if (new_end <= partition.start)
            throw Error(ErrorKind::kNoSpace, partition.device + " begins at " +
                                                 exact_size_text(partition.start) +
                                                 ", where the image is to end already");
        settle(partition, new_end - partition.start, wished);
    }

    void expand(DiskPartition& partition, bool wished) {
        const uint64_t end = limit(partition);
        const uint64_t aligned = align_down(end, kAlignment);
        const uint64_t new_end = aligned > partition.end() ? aligned : std::max(end, partition.end());
        // Sizes below the alignment are not worth a change, unless it is all that was wished.
        const bool has_room = new_end > partition.end();
        const bool content_has_room = partition.content.size_bytes < align_down(partition.size, 4096);
        if (!has_room && !(content_has_room && stack_.why_not_growing(partition.content).empty())) {
            if (!wished) return;
            const DiskPartition* behind = next(partition);
            throw Error(ErrorKind::kNoSpace,
                        "there is no room behind " + partition.device + ": " +
                            (behind ? behind->device + " begins at " + exact_size_text(behind->start)
                                    : std::string("it ends where the disk ends; --size makes that larger")));
        }
        settle(partition, new_end - partition.start, wished);
    }

    // Nothing was said of partitions: the last one goes with the disk. A disk of the size that was wished may
    // have been made larger by other means, and then there is room; otherwise nothing is to be done.
    void follow() {
        const bool grows = disk().size >= disk_before().size;
        const bool as_it_is = disk().size == disk_before().size;
        if (disk().table == TableKind::kNone) {
            const uint64_t filled = disk().whole.size_bytes;
            if (as_it_is && (filled == 0 || disk().size < filled + kAlignment)) return;
            return follow_whole(grows);
        }
        DiskPartition* partition = last();
        if (!partition) return;
        if (as_it_is && align_down(limit(*partition), kAlignment) <= partition->end()) return;
        if (!grows) return shrink_to_fit(*partition, false);
        std::string why = stack_.why_not_growing(partition->content);
        if (partition->content.type == "swap") why = "it is swap space";
        if (why.empty()) return expand(*partition, false);
        refuse_hindered(partition->content, why);
        plan_.notes.push_back(partition->device + ", the last partition, stays as it is: " + why);
    }

    void follow_whole(bool grows) {
        const DiskContent& content = disk().whole;
        const std::string why = grows ? stack_.why_not_growing(content) : stack_.why_not_shrinking(content);
        if (why.empty()) {
            whole_follows_ = true;
        } else if (grows) {
            refuse_hindered(content, why);
            plan_.notes.push_back(content.device +
                                  " has no partitions, and what is on it stays as it is: " + why);
        } else {
            throw Error(ErrorKind::kUnsupported, content.device + " can't be made smaller: " + why);
        }
    }

    // What somebody can help is no matter for a warning.
    void refuse_hindered(const DiskContent& content, const std::string& why) {
        if (!stack_.is_hindered(content)) return;
        throw Error(content.type == "crypto_LUKS" ? ErrorKind::kDenied : ErrorKind::kUnsupported,
                    content.device + " can't grow with the disk: " + why +
                        "; --no-follow makes the disk alone larger");
    }

    // ---- the table as a whole

    uint64_t new_size(const DiskPartition& partition) const {
        const auto found = settled_.find(partition.device);
        return found == settled_.end() ? partition.size : found->second;
    }

    // The extended partition holds its logical ones, and nothing is beyond the disk's end.
    void check_ends() {
        const uint64_t end = usable_end();
        if (DiskPartition* container = extended()) {
            uint64_t logical_end = 0;
            for (const DiskPartition& partition : disk().partitions) {
                if (partition.logical)
                    logical_end = std::max(logical_end, partition.start + new_size(partition));
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

    void shrink_contents() {
        for (DiskPartition& partition : disk().partitions) {
            const uint64_t size = new_size(partition);
            if (size >= partition.size) continue;
            if (!partition.extended) stack_.shrink(partition.content, size);
            partition.size = size;
            table_changes_ = true;
        }
        if (whole_follows_ && disk().size < disk_before().size) stack_.shrink(disk().whole, disk().size);
    }

    void grow_contents() {
        for (DiskPartition& partition : disk().partitions) {
            const auto found = settled_.find(partition.device);
            if (found == settled_.end() || found->second < partition.size) continue;
            if (found->second > partition.size) table_changes_ = true;
            const bool shrunk = found->second < size_before(partition);
            partition.size = found->second;
            if (!shrunk && !partition.extended && wishes_.contents)
                stack_.grow(partition.content, partition.size);
        }
        if (whole_follows_ && disk().size >= disk_before().size && wishes_.contents)
            stack_.grow(disk().whole, disk().size);
    }

    uint64_t size_before(const DiskPartition& partition) const {
        for (const DiskPartition& other : disk_before().partitions) {
            if (other.number == partition.number) return other.size;
        }
        return 0;
    }

    void assemble() {
        const uint64_t old_size = disk_before().size;
        const uint64_t size = disk().size;
        const bool gpt = disk().table == TableKind::kGpt;
        if (gpt && size != old_size) table_changes_ = true;
        // One that can't be read at all is one that must not lose what is left of it.
        const bool unreadable = disk().table == TableKind::kNone && size != old_size;
        if ((table_changes_ || unreadable) && !disk().table_obstacle.empty())
            throw Error(ErrorKind::kUnsupported, "the partition table of " + disk().device +
                                                     " can't be changed as it is: " + disk().table_obstacle);
        const ResizeStep image = {
            .kind = Kind::kImage, .device = disk().device, .old_size = old_size, .new_size = size};
        std::vector<ResizeStep>& steps = plan_.steps;
        auto append = [&](const std::vector<ResizeStep>& more) {
            steps.insert(steps.end(), more.begin(), more.end());
        };
        if (size > old_size) steps.push_back(image);
        append(stack_.checks);
        append(stack_.shrinking);
        if (table_changes_)
            steps.push_back(
                {.kind = Kind::kTable, .device = disk().device, .old_size = old_size, .new_size = size});
        append(stack_.growing);
        if (size < old_size) steps.push_back(image);
    }

    const ResizeWishes& wishes_;
    ResizePlan plan_;
    StackPlan stack_;
    std::map<std::string, uint64_t> settled_;  // new sizes of partitions
    bool whole_follows_ = false;
    bool table_changes_ = false;
};

}  // namespace

ResizePlan plan_resize(const DiskState& state, const ResizeWishes& wishes) {
    return Planner(state, wishes).plan();
}

}  // namespace inspect
