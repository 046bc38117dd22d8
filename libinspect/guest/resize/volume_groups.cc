// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/resize/volume_groups.h"

#include <algorithm>

#include "base/range_set.h"

namespace inspect {

namespace {

// The first free run of extents on a physical volume at or after `from`; extents 0: there is none.
VolumeSegment free_run(const VolumeGroup& group, uint32_t index, uint64_t from) {
    const uint64_t end = group.physical_volumes[index].extents;
    for (bool moved = true; moved && from < end;) {
        moved = false;
        for (const LogicalVolume& volume : group.logical_volumes) {
            for (const VolumeSegment& segment : volume.segments) {
                if (segment.physical_volume != index || from < segment.first_extent ||
                    from >= segment.first_extent + segment.extents)
                    continue;
                from = segment.first_extent + segment.extents;
                moved = true;
            }
        }
    }
    if (from >= end) return {index, end, 0};
    uint64_t until = end;
    for (const LogicalVolume& volume : group.logical_volumes) {
        for (const VolumeSegment& segment : volume.segments) {
            if (segment.physical_volume == index && segment.first_extent > from)
                until = std::min(until, segment.first_extent);
        }
    }
    return {index, from, until - from};
}

}  // namespace

uint64_t extents_of(const LogicalVolume& volume) {
    uint64_t sum = 0;
    for (const VolumeSegment& segment : volume.segments) sum += segment.extents;
    return sum;
}

uint64_t least_end(const VolumeGroup& group, uint32_t physical_volume) {
    uint64_t sum = 0, fixed = 0;
    for (const LogicalVolume& volume : group.logical_volumes) {
        for (const VolumeSegment& segment : volume.segments) {
            if (segment.physical_volume != physical_volume) continue;
            sum += segment.extents;
            if (!volume.plain) fixed = std::max(fixed, segment.first_extent + segment.extents);
        }
    }
    return std::max(sum, fixed);
}

uint64_t extents_behind(const VolumeGroup& group, uint32_t physical_volume, uint64_t limit) {
    uint64_t sum = 0;
    for (const LogicalVolume& volume : group.logical_volumes) {
        for (const VolumeSegment& segment : volume.segments) {
            const uint64_t end = segment.first_extent + segment.extents;
            if (volume.plain && segment.physical_volume == physical_volume && end > limit)
                sum += end - std::max(segment.first_extent, limit);
        }
    }
    return sum;
}

uint64_t free_extents_before(const VolumeGroup& group, uint32_t physical_volume, uint64_t limit) {
    RangeSet used;
    for (const LogicalVolume& volume : group.logical_volumes) {
        for (const VolumeSegment& segment : volume.segments) {
            if (segment.physical_volume == physical_volume) used.add(segment.first_extent, segment.extents);
        }
    }
    uint64_t sum = 0;
    used.for_each_gap(0, limit, [&](uint64_t, uint64_t extents) { sum += extents; });
    return sum;
}

void move_extents(VolumeGroup& group, uint32_t physical_volume, uint64_t limit) {
    for (LogicalVolume& volume : group.logical_volumes) {
        if (!volume.plain) continue;
        for (size_t i = 0; i < volume.segments.size(); ++i) {
            VolumeSegment behind = volume.segments[i];
            const uint64_t end = behind.first_extent + behind.extents;
            if (behind.physical_volume != physical_volume || end <= limit) continue;
            if (behind.first_extent < limit) {  // what lies before the limit stays
                volume.segments[i].extents = limit - behind.first_extent;
                behind = {physical_volume, limit, end - limit};
                volume.segments.insert(volume.segments.begin() + static_cast<std::ptrdiff_t>(++i), behind);
            }
            VolumeSegment run = free_run(group, physical_volume, 0);
            if (run.extents == 0 || run.first_extent >= limit) return;
            run.extents = std::min({run.extents, limit - run.first_extent, behind.extents});
            volume.segments[i] = run;
            if (run.extents == behind.extents) continue;
            behind.first_extent += run.extents;
            behind.extents -= run.extents;
            volume.segments.insert(volume.segments.begin() + static_cast<std::ptrdiff_t>(i) + 1, behind);
        }
    }
}

uint64_t free_extents(const VolumeGroup& group) {
    uint64_t all = 0;
    uint64_t used = 0;
    for (const PhysicalVolume& volume : group.physical_volumes) all += volume.extents;
    for (const LogicalVolume& volume : group.logical_volumes) used += extents_of(volume);
    return all > used ? all - used : 0;
}

uint64_t extents_before(const LogicalVolume& volume, uint32_t physical_volume, uint64_t limit) {
    uint64_t kept = 0;
    for (const VolumeSegment& segment : volume.segments) {
        const bool crosses =
            segment.physical_volume == physical_volume && segment.first_extent + segment.extents > limit;
        if (crosses) return kept + (limit > segment.first_extent ? limit - segment.first_extent : 0);
        kept += segment.extents;
    }
    return kept;
}

uint64_t extents_without(const LogicalVolume& volume, uint32_t physical_volume, uint64_t count) {
    uint64_t kept = extents_of(volume);
    uint64_t behind = 0;  // of other physical volumes
    for (size_t i = volume.segments.size(); i > 0 && count > 0; --i) {
        const VolumeSegment& segment = volume.segments[i - 1];
        if (segment.physical_volume != physical_volume) {
            behind += segment.extents;
            continue;
        }
        const uint64_t cut = std::min(segment.extents, count);
        kept -= behind + cut;
        behind = 0;
        count -= cut;
    }
    return kept;
}

void set_extents(VolumeGroup& group, LogicalVolume& volume, uint64_t extents) {
    uint64_t has = extents_of(volume);
    while (has > extents) {
        VolumeSegment& last = volume.segments.back();
        const uint64_t cut = std::min(last.extents, has - extents);
        last.extents -= cut;
        has -= cut;
        if (last.extents == 0) volume.segments.pop_back();
    }
    for (uint32_t i = 0; i < group.physical_volumes.size() && has < extents;) {
        VolumeSegment run = free_run(group, i, 0);
        if (run.extents == 0) {
            ++i;
            continue;
        }
        run.extents = std::min(run.extents, extents - has);
        has += run.extents;
        volume.segments.push_back(run);
    }
    volume.size = extents * group.extent_bytes;
}

LogicalVolume* obvious_volume(VolumeGroup& group) {
    LogicalVolume* found = nullptr;
    for (LogicalVolume& volume : group.logical_volumes) {
        if (volume.content.type == "swap") continue;
        if (found || !volume.plain) return nullptr;
        found = &volume;
    }
    return found;
}

}  // namespace inspect
