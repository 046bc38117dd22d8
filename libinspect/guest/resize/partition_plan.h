// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Planning the partitions of a disk: which go, and where the others end.
//
// A partition's start never moves. So it can grow up to what begins behind it, and the room that it leaves
// when it shrinks is behind it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <inspect/resize.h>

#include "guest/resize/stack_plan.h"

namespace inspect {

// Where partitions end, so that what is in them and on the storage below is aligned.
constexpr uint64_t kAlignment = 1 << 20;

// The functions are called in their order. All throw Error.
class PartitionPlan {
  public:
    // The disk's new size is in plan.after.
    PartitionPlan(ResizePlan& plan, const ResizeWishes& wishes, StackPlan& stack)
        : plan_(plan), wishes_(wishes), stack_(stack) {}

    // Those that are wished away.
    void remove();
    // What each is to have by the wishes. False: they name none.
    bool settle_wishes();
    // Nothing was said of partitions: the last one goes with the disk. A disk of the size that was wished may
    // have been made larger by other means, and then there is room; otherwise nothing is to be done.
    void follow();
    // That it all has its place. The extended partition gets the size for its logical ones.
    void check_ends();
    // Those that get smaller, and after all else that does, those that get larger, with what is in them.
    void shrink_contents();
    void grow_contents();

    // Whether the table is to be written.
    bool table_changes() const { return table_changes_; }

  private:
    DiskState& disk() { return plan_.after; }
    const DiskState& disk_before() const { return plan_.before; }

    uint64_t usable_end();
    DiskPartition* find(const std::string& device);
    DiskPartition& get(const std::string& device);
    DiskPartition* extended();
    const DiskPartition* next(const DiskPartition& partition);
    uint64_t limit(const DiskPartition& partition);
    DiskPartition* last();
    static void refuse_member(const DiskPartition& partition);
    void settle(DiskPartition& partition, uint64_t size, bool wished);
    std::string least_disk(const DiskPartition& partition, uint64_t least);
    void shrink_to_fit(DiskPartition& partition, bool wished);
    void expand(DiskPartition& partition, bool wished);
    uint64_t new_size(const DiskPartition& partition) const;
    uint64_t size_before(const DiskPartition& partition) const;

    ResizePlan& plan_;
    const ResizeWishes& wishes_;
    StackPlan& stack_;
    std::map<std::string, uint64_t> settled_;  // new sizes
    bool table_changes_ = false;
};

}  // namespace inspect
