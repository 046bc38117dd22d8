// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Resizing: what a disk looks like (asked of the agent), a plan (made here), and its steps (done by the
// agent, one request each).
#include <algorithm>
#include <set>

#include <inspect/resize.h>

#include "base/checked.h"
#include "base/range_set.h"
#include "block/ext_free_space.h"
#include "block/partitions.h"
#include "guest/printable.h"
#include "guest/resize/image_size.h"
#include "guest/resize/plan.h"
#include "guest/resize/survey.h"
#include "guest/resize/text.h"
#include "guest/session_impl.h"

namespace inspect {

namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 59;  // of an image; twice as much doesn't overflow

// Behind the image's end there is room for what is kept meanwhile (ResizeWishes::recreate), in the session
// alone.
uint64_t room_start(uint64_t image_size) { return align_up(image_size, uint64_t{1} << 20); }

proto::Request step_request(const ResizeStep& step, const ResizePlan& plan) {
    proto::Request request;
    proto::ResizeStep& wire = *request.mutable_resize_step();
    auto resize = [&](proto::ResizeStep::Resize& to) {
        to.set_device(step.device);
        to.set_size(step.new_size);
        to.set_grow(step.new_size > step.old_size);
    };
    switch (step.kind) {
        case ResizeStep::Kind::kCheck:
            wire.set_check(step.device);
            break;
        case ResizeStep::Kind::kTable: {
            proto::ResizeStep::Table& table = *wire.mutable_table();
            table.set_disk(step.device);
            table.set_disk_size(step.new_size);
            for (const DiskPartition& before : plan.before.partitions) {
                const auto after = std::find_if(
                    plan.after.partitions.begin(), plan.after.partitions.end(),
                    [&](const DiskPartition& candidate) { return candidate.number == before.number; });
                if (after == plan.after.partitions.end()) {
                    table.add_removed(before.number);
                } else if (after->size != before.size) {
                    proto::ResizeStep::Table::Partition& partition = *table.add_partitions();
                    partition.set_number(before.number);
                    partition.set_size(after->size);
                }
            }
            break;
        }
        case ResizeStep::Kind::kFilesystem:
            resize(*wire.mutable_filesystem());
            break;
        case ResizeStep::Kind::kRecreate: {
            proto::ResizeStep::Recreate& recreate = *wire.mutable_recreate();
            recreate.set_device(step.device);
            recreate.set_size(step.new_size);
            recreate.set_room_disk(plan.before.device);
            recreate.set_room_start(room_start(plan.before.size));
            break;
        }
        case ResizeStep::Kind::kSwap:
            wire.mutable_swap()->set_device(step.device);
            wire.mutable_swap()->set_uuid(step.uuid);
            wire.mutable_swap()->set_label(step.label);
            // Its device becomes smaller afterwards.
            if (step.new_size < step.old_size) wire.mutable_swap()->set_size(step.new_size);
            break;
        case ResizeStep::Kind::kLuks:
            resize(*wire.mutable_luks());
            break;
        case ResizeStep::Kind::kMoveExtents:
            wire.mutable_move_extents()->set_device(step.device);
            wire.mutable_move_extents()->set_first_extent(step.first_extent);
            break;
        case ResizeStep::Kind::kPhysicalVolume:
            resize(*wire.mutable_physical_volume());
            break;
        case ResizeStep::Kind::kLogicalVolume:
            resize(*wire.mutable_logical_volume());
            break;
        case ResizeStep::Kind::kImage:
            break;
    }
    return request;
}

// Where a disk is changed directly, what it had goes to a journal, but for what its file systems call free.
// There must not be another disk that changes.
void make_undoable(Image& image, uint32_t sector_size) {
    const auto disk = image.contents();
    RangeSet unused;
    for (const PartitionRange& partition : find_partitions(*disk, sector_size))
        find_ext_free_space(*disk, partition.offset, partition.length, unused);
    image.make_undoable(unused);
}

// Marks groups that have a part elsewhere than in what lies on the disk.
void mark_groups_elsewhere(DiskState& state) {
    std::set<std::string> here;
    const std::function<void(const DiskContent&)> add = [&](const DiskContent& content) {
        here.insert(content.device);
        for (const DiskContent& inner : content.inner) add(inner);
    };
    add(state.whole);
    for (const DiskPartition& partition : state.partitions) add(partition.content);
    for (VolumeGroup& group : state.volume_groups) {
        group.read_only =
            std::any_of(group.physical_volumes.begin(), group.physical_volumes.end(),
                        [&](const PhysicalVolume& physical) { return !here.contains(physical.device); });
    }
}

// The session's disk gets its new size before the appliance sees it.
void settle_session_size(Image& image, const ResizeWishes& wishes, uint32_t sector_size) {
    uint64_t size = image.size();
    const auto wished = [&] {
        return wished_image_size(size, std::max<uint64_t>(sector_size, image.size_unit()), *wishes.size);
    };
    // The host's lvm is asked only when it will be needed.
    if (wishes.recreate || (wishes.size && wished() != size)) image.find_volume();
    if (wishes.size && image.resizable()) size = wished();
    if (size != image.size()) image.require_possible(size);
    if (std::max(size, image.size()) > kMostBytes)
        throw Error(ErrorKind::kUsage, "an image can't have more than " + exact_size_text(kMostBytes));
    if (!wishes.recreate) {
        if (size > image.size()) image.grow_session(size);
        return;
    }
    if (!image.resizable())
        throw Error(ErrorKind::kUnsupported,
                    "--recreate can only be done in a raw or qcow2 image's file, or on a logical volume of "
                    "this host's");
    if (size > image.size())
        throw Error(ErrorKind::kUsage,
                    "--recreate is for making smaller: make the image larger first, alone");
    // More than a dump of all that is in it can be.
    constexpr uint64_t kMore = uint64_t{64} << 20;
    const uint64_t start = room_start(image.size());
    image.grow_session(start + start + start / 8 + kMore);
    image.set_new_size(image.size());
}

}  // namespace

// The state of a disk, with the least sizes of those that are asked for.
DiskState Session::Impl::survey_disk(const ResizeWishes& wishes, const std::vector<std::string>& minimum_of) {
    const Image& image = disks_->image(0);
    proto::Request request;
    request.mutable_survey_disk()->set_device("/dev/sda");
    request.mutable_survey_disk()->set_ntfs_force(wishes.ntfs_force);
    request.mutable_survey_disk()->set_recreate(wishes.recreate);
    for (const std::string& device : minimum_of) request.mutable_survey_disk()->add_minimum_of(device);
    const proto::Response answer = call(std::move(request));
    if (!answer.has_survey())
        throw Error(ErrorKind::kInternal, "the appliance didn't say what is on the disk");
    DiskState state = to_disk_state(answer.survey());
    state.format = image.format();
    state.size = image.size();
    state.resizable = image.resizable();
    state.size_unit = image.size_unit();
    if (std::any_of(options.disks.begin(), options.disks.end(),
                    [](const DiskSpec& disk) { return disk.read_only; }))
        mark_groups_elsewhere(state);
    // The appliance's disk has the new size already.
    state.whole.size_bytes = std::min(state.whole.size_bytes, state.size);
    return state;
}

ResizePlan Session::plan_resize(const ResizeWishes& wishes) { return impl_->plan_resize(wishes); }

ResizePlan Session::Impl::plan_resize(const ResizeWishes& wishes) {
    check_usable();
    if (options.disks.empty()) throw Error(ErrorKind::kUsage, "there is no disk");
    if (machine_ || direct_size_)
        throw Error(ErrorKind::kUsage, "a resize is planned before anything else in a session");
    Image& image = disks_->image(0);
    if (!image.writable() || options.write_mode != WriteMode::kDirect) return plan_aside(wishes);
    if (wishes.recreate)
        throw Error(ErrorKind::kUnsupported,
                    "--recreate needs --write-mode=atomic: what it keeps meanwhile "
                    "lies behind the session's disk");
    for (size_t i = 1; i < options.disks.size(); ++i)
        if (!options.disks[i].read_only)
            throw Error(ErrorKind::kUnsupported,
                        "only one disk can be resized with --write-mode=direct, and no other be changed "
                        "with it; use --write-mode=atomic");
    image.begin_trial();
    try {
        ResizePlan plan = plan_aside(wishes);
        stop_machine();
        direct_size_ = image.session_size();
        image.end_trial();
        return plan;
    } catch (const Error& error) {
        if (!ended_) end(error);
        throw;
    }
}

// The disk is looked at with an overlay, which takes what that writes.
ResizePlan Session::Impl::plan_aside(const ResizeWishes& wishes) {
    settle_session_size(disks_->image(0), wishes, disks_->sector_size(0));
    return plan_surveyed(
        [&](const std::vector<std::string>& minimum_of) { return survey_disk(wishes, minimum_of); }, wishes);
}

// Where the image is written directly it was not touched before there was a plan.
void Session::Impl::begin_direct_resize() {
    if (!direct_size_) return;
    if (machine_)
        throw Error(ErrorKind::kUsage, "between a resize and its plan nothing else is done in a session");
    Image& image = disks_->image(0);
    make_undoable(image, disks_->sector_size(0));
    if (*direct_size_ > image.size()) image.grow_session(*direct_size_);
    survey_disk({}, {});  // puts together what is on the disk
}

void Session::resize(const ResizePlan& plan, const std::function<void(const ResizeStep&)>& on_step) {
    impl_->resize(plan, on_step);
}

void Session::Impl::resize(const ResizePlan& plan, const std::function<void(const ResizeStep&)>& on_step) {
    check_usable();
    require_writable();
    if (!machine_ && !direct_size_)
        throw Error(ErrorKind::kUsage, "a resize is planned by the session that does it");
    try {
        begin_direct_resize();
        for (const ResizeStep& step : plan.steps) {
            if (on_step) on_step(step);
            if (step.kind == ResizeStep::Kind::kImage) {
                disks_->image(0).set_new_size(step.new_size);
            } else {
                call(step_request(step, plan));
            }
        }
    } catch (const Error& error) {
        if (!ended_) end(error);
        throw;
    } catch (...) {
        if (!ended_) end(Error(ErrorKind::kCancelled, "a resize was broken off"));
        throw;
    }
}

}  // namespace inspect
