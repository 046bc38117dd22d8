// SPDX-License-Identifier: GPL-2.0-or-later
//
// What an appliance that was taken over might say of a disk (proto::DiskSurvey), and plans made of it: they
// are made or refused, and those that are made stay within the disk.
//
// The first byte chooses what is wished, the next four the image's size in MiB; the rest is the message.
#include <cstdlib>
#include <cstring>

#include <inspect/resize.h>

#include "guest/resize/survey.h"
#include "protocol/insp.pb.h"

using namespace inspect;

namespace {

ResizeWishes wishes_of(uint8_t choice, const DiskState& state) {
    static constexpr const char* kSizes[] = {"+1G", "-1G", "50%", "1G", "-1b", "200%"};
    ResizeWishes wishes;
    const SizeChange size = SizeChange::parse(kSizes[choice % std::size(kSizes)]);
    const std::string first = state.partitions.empty() ? "/dev/sda1" : state.partitions[0].device;
    std::string volume = "/dev/vg/root";
    if (!state.volume_groups.empty() && !state.volume_groups[0].logical_volumes.empty())
        volume = state.volume_groups[0].logical_volumes[0].device;
    if (choice & 0x08) wishes.size = size;
    if (choice & 0x10) wishes.resize.push_back({first, size});
    if (choice & 0x20) wishes.expand_volumes.push_back(volume);
    if (choice & 0x40) wishes.resize.push_back({volume, size});
    wishes.recreate = choice & 0x80;
    return wishes;
}

void require_sane(const ResizePlan& plan) {
    for (const DiskPartition& after : plan.after.partitions) {
        for (const DiskPartition& before : plan.before.partitions) {
            // One that was beyond the end before is none of the plan's doing.
            if (before.number == after.number && after.size > before.size && after.end() > plan.after.size)
                std::abort();
        }
    }
    for (const ResizeStep& step : plan.steps) describe(step);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    constexpr size_t kHead = 5;
    if (size < kHead) return 0;
    uint32_t mebibytes;
    std::memcpy(&mebibytes, data + 1, sizeof mebibytes);
    proto::DiskSurvey survey;
    if (!survey.ParseFromArray(data + kHead, static_cast<int>(size - kHead))) return 0;
    try {
        DiskState state = to_disk_state(survey);
        state.size = uint64_t{mebibytes} << 20;
        const ResizePlan plan = plan_resize(state, wishes_of(data[0], state));
        if (plan.minimum_wanted.empty()) require_sane(plan);
    } catch (const Error&) {
    }
    return 0;
}
