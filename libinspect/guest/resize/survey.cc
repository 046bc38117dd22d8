// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/resize/survey.h"

#include <algorithm>
#include <bit>
#include <set>
#include <string>

namespace inspect {

namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 62;
constexpr int kMostItems = 4096;
constexpr int kMostSegments = 65536;

[[noreturn]] void reject() {
    throw Error(ErrorKind::kCorrupt, "the appliance's description of the disk makes no sense");
}

uint64_t sane(uint64_t size) {
    if (size > kMostBytes) reject();
    return size;
}

DiskContent to_content(const proto::DiskSurvey::Content& from, unsigned depth = 0) {
    constexpr unsigned kMostDepth = 8;
    if (depth > kMostDepth || from.inner_size() > 1) reject();
    DiskContent content;
    content.device = from.device();
    content.type = from.type();
    content.label = from.label();
    content.uuid = from.uuid();
    content.size_bytes = sane(from.size());
    content.granule_bytes = from.granule();
    if (from.has_minimum()) content.minimum_bytes = sane(from.minimum());
    if (from.has_used()) content.used_bytes = sane(from.used());
    content.obstacle = from.obstacle();
    content.header_bytes = from.header();
    if (content.header_bytes > content.size_bytes) reject();
    content.volume_group = from.volume_group();
    content.fixed = from.fixed();
    content.devices = from.devices();
    if (from.has_maximum()) content.maximum_bytes = sane(from.maximum());
    for (const auto& inner : from.inner()) content.inner.push_back(to_content(inner, depth + 1));
    return content;
}

DiskPartition to_partition(const proto::DiskSurvey::Partition& from) {
    DiskPartition partition;
    partition.number = from.number();
    partition.device = from.device();
    partition.start = sane(from.start());
    partition.size = sane(from.size());
    partition.type = from.type();
    partition.uuid = from.uuid();
    partition.name = from.name();
    partition.attributes = from.attributes();
    partition.extended = from.extended();
    partition.logical = from.logical();
    partition.reserved_from = std::min(sane(from.reserved_from()), partition.start);
    partition.content = to_content(from.content());
    return partition;
}

VolumeGroup to_group(const proto::DiskSurvey::VolumeGroup& from) {
    VolumeGroup group;
    group.name = from.name();
    group.extent_bytes = from.extent_size();
    group.missing = from.missing();
    // LVM2 has others than powers of two. So that no number of extents of a physical volume can overflow.
    if (group.extent_bytes == 0 || group.extent_bytes % 512 != 0 || group.extent_bytes > uint64_t{1} << 40)
        reject();
    if (from.physical_volumes_size() > kMostItems || from.logical_volumes_size() > kMostItems) reject();
    auto extents = [&](uint64_t count) {
        if (count > kMostBytes / group.extent_bytes / kMostItems) reject();
        return count;
    };
    for (const auto& volume : from.physical_volumes())
        group.physical_volumes.push_back(
            {volume.device(), sane(volume.data_start()), extents(volume.extents())});
    for (const auto& volume : from.logical_volumes()) {
        LogicalVolume logical;
        logical.name = volume.name();
        logical.device = volume.device();
        logical.size = sane(volume.size());
        logical.kind = volume.kind();
        logical.plain = volume.plain();
        if (volume.segments_size() > kMostSegments) reject();
        uint64_t sum = 0;
        for (const auto& segment : volume.segments()) {
            if (segment.physical_volume() >= group.physical_volumes.size()) reject();
            logical.segments.push_back(
                {segment.physical_volume(), extents(segment.first_extent()), extents(segment.extents())});
            sum = extents(sum + segment.extents());
        }
        logical.content = to_content(volume.content());
        group.logical_volumes.push_back(std::move(logical));
    }
    return group;
}

}  // namespace

DiskState to_disk_state(const proto::DiskSurvey& survey) {
    DiskState state;
    state.sector_size = survey.sector_size();
    if (!std::has_single_bit(state.sector_size) || state.sector_size < 512 || state.sector_size > 65536)
        reject();
    if (survey.table() == "gpt") {
        state.table = TableKind::kGpt;
    } else if (survey.table() == "dos") {
        state.table = TableKind::kMbr;
    } else if (!survey.table().empty()) {
        reject();
    }
    state.table_obstacle = survey.table_obstacle();
    state.reserved_at_end = sane(survey.reserved_at_end());
    if (survey.partitions_size() > kMostItems || survey.volume_groups_size() > kMostItems) reject();
    std::set<uint32_t> numbers;
    std::set<std::string> devices;
    for (const auto& partition : survey.partitions()) {
        state.partitions.push_back(to_partition(partition));
        const DiskPartition& added = state.partitions.back();
        if (!numbers.insert(added.number).second || !devices.insert(added.device).second) reject();
    }
    state.whole = to_content(survey.whole());
    for (const auto& group : survey.volume_groups()) state.volume_groups.push_back(to_group(group));
    return state;
}

}  // namespace inspect
