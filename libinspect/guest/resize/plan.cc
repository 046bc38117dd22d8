// SPDX-License-Identifier: LGPL-2.1-or-later
//
// plan_resize(): the image, what is on a disk without a table, and the order of it all. Partitions are
// partition_plan.cc's, what lies in them is stack_plan.cc's.
//
// Everything that shrinks is planned before the table is written, everything that grows after.
#include "guest/resize/plan.h"

#include <algorithm>

#include <inspect/resize.h>

#include "guest/printable.h"
#include "guest/resize/image_size.h"
#include "guest/resize/partition_plan.h"
#include "guest/resize/stack_plan.h"
#include "guest/resize/text.h"

namespace inspect {

namespace {

using Kind = ResizeStep::Kind;

class Planner {
  public:
    Planner(const DiskState& state, const ResizeWishes& wishes)
        : wishes_(wishes), stack_(plan_, wishes), partitions_(plan_, wishes, stack_) {
        plan_.before = state;
        plan_.after = state;
    }

    ResizePlan plan() {
        settle_image_size();
        partitions_.remove();
        refuse_hibernated();
        if (!partitions_.settle_wishes() && wishes_.follow && wishes_.size) follow();
        if (!plan_.minimum_wanted.empty()) return unfinished();
        partitions_.check_ends();
        check_whole();
        stack_.shrink_volumes();
        partitions_.shrink_contents();
        if (whole_follows_ && shrinks()) stack_.shrink(disk().whole, disk().size);
        if (!plan_.minimum_wanted.empty()) return unfinished();
        partitions_.grow_contents();
        if (whole_follows_ && !shrinks() && wishes_.contents) stack_.grow(disk().whole, disk().size);
        stack_.grow_volumes();
        assemble();
        return std::move(plan_);
    }

  private:
    DiskState& disk() { return plan_.after; }
    const DiskState& disk_before() const { return plan_.before; }
    bool shrinks() { return disk().size < disk_before().size; }

    ResizePlan unfinished() {
        plan_.steps.clear();
        plan_.after = plan_.before;
        return std::move(plan_);
    }

    // A guest that wakes up knows its file systems as they were.
    void refuse_hibernated() {
        for (const DiskPartition& partition : disk().partitions) refuse_hibernated(partition.content);
        refuse_hibernated(disk().whole);
        for (const VolumeGroup& group : disk().volume_groups) {
            for (const LogicalVolume& volume : group.logical_volumes) refuse_hibernated(volume.content);
        }
    }
    static void refuse_hibernated(const DiskContent& content) {
        if (content.type == "swsuspend")
            throw Error(ErrorKind::kUnsupported,
                        "the guest hibernates: it is suspended to " + content.device +
                            ", and would find its file systems changed; start it and shut it down");
        for (const DiskContent& inner : content.inner) refuse_hibernated(inner);
    }

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

    void follow() {
        if (disk().table != TableKind::kNone) return partitions_.follow();
        const DiskContent& content = disk().whole;
        const bool as_it_is = disk().size == disk_before().size;
        if (as_it_is && !stack_.has_room(content, disk().size, kAlignment)) return;
        const std::string why =
            shrinks() ? stack_.why_not_shrinking(content) : stack_.why_not_growing(content);
        if (why.empty()) {
            whole_follows_ = true;
        } else if (shrinks()) {
            throw Error(ErrorKind::kUnsupported, content.device + " can't be made smaller: " + why);
        } else {
            stack_.refuse_hindered(content, why);
            plan_.notes.push_back(content.device +
                                  " has no partitions, and what is on it stays as it is: " + why);
        }
    }

    // What is on a disk without a table, and doesn't follow, keeps its place.
    void check_whole() {
        const DiskContent& whole = disk().whole;
        if (disk().table != TableKind::kNone || !shrinks() || whole_follows_ ||
            whole.size_bytes <= disk().size)
            return;
        if (whole.type.empty())
            throw Error(ErrorKind::kUnsupported,
                        disk().device + " can't be made smaller: it is not known what is on it");
        throw Error(ErrorKind::kNoSpace,
                    printable(whole.type) + " on " + disk().device +
                        " reaches beyond the image's new size; without making it smaller the smallest is " +
                        exact_size_text(whole.size_bytes) +
                        (stack_.why_not_shrinking(whole).empty() ? "; without --no-follow it follows" : ""));
    }

    void assemble() {
        const uint64_t old_size = disk_before().size;
        const uint64_t size = disk().size;
        const bool gpt = disk().table == TableKind::kGpt;
        const bool table_changes = partitions_.table_changes() || (gpt && size != old_size);
        // One that can't be read at all is one that must not lose what is left of it.
        const bool unreadable = disk().table == TableKind::kNone && size != old_size;
        if ((table_changes || unreadable) && !disk().table_obstacle.empty())
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
        if (table_changes)
            steps.push_back(
                {.kind = Kind::kTable, .device = disk().device, .old_size = old_size, .new_size = size});
        append(stack_.growing);
        if (size < old_size) steps.push_back(image);
    }

    const ResizeWishes& wishes_;
    ResizePlan plan_;
    StackPlan stack_;
    PartitionPlan partitions_;
    bool whole_follows_ = false;
};

}  // namespace

ResizePlan plan_resize(const DiskState& state, const ResizeWishes& wishes) {
    return Planner(state, wishes).plan();
}

ResizePlan plan_surveyed(const DiskSurvey& survey, const ResizeWishes& wishes) {
    constexpr int kMostRounds = 5;  // partitions, then volumes, and what their sizes bring up
    std::vector<std::string> known;
    for (int round = 0;; ++round) {
        ResizePlan plan = plan_resize(survey(known), wishes);
        if (plan.minimum_wanted.empty()) return plan;
        for (const std::string& device : plan.minimum_wanted) {
            if (round == kMostRounds || std::find(known.begin(), known.end(), device) != known.end())
                throw Error(ErrorKind::kUnsupported,
                            "it can't be found out how small " + printable(device) + " can be made");
            known.push_back(device);
        }
    }
}

}  // namespace inspect
