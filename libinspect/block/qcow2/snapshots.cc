// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2/snapshots.h"

#include <algorithm>
#include <cstring>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/qcow2/table_reader.h"

namespace inspect {

using namespace qcow2_format;

namespace {

[[noreturn]] void corrupt_snapshots(const std::string& what) {
    throw Error(ErrorKind::kCorrupt, "the qcow2 image's snapshot table is damaged: " + what);
}

}  // namespace

std::vector<Qcow2Snapshot> read_snapshots(BlockDevice& file, const Qcow2Header& header,
                                          uint64_t* table_bytes) {
    std::vector<Qcow2Snapshot> snapshots;
    if (header.snapshot_count == 0) {
        if (table_bytes != nullptr) *table_bytes = 0;
        return snapshots;
    }
    TableReader reader(file, header.snapshots_offset, kMaxSnapshotTableBytes, "the snapshot table");
    for (uint32_t i = 0; i < header.snapshot_count; ++i) {
        const auto raw = reader.take<SnapshotEntry>();
        if (raw.extra_length > kMaxSnapshotExtra) corrupt_snapshots("an entry has too much extra data");
        const std::string extra = reader.take_text(raw.extra_length);
        Qcow2Snapshot snapshot;
        snapshot.id = reader.take_text(raw.id_length);
        snapshot.name = reader.take_text(raw.name_length);
        reader.align(8);
        snapshot.seconds = raw.seconds;
        snapshot.nanoseconds = raw.nanoseconds;
        snapshot.vm_clock = raw.vm_clock;
        snapshot.vm_state_size = raw.vm_state_size;
        snapshot.disk_size = header.size;
        snapshot.l1_offset = raw.l1_offset;
        snapshot.l1_entries = raw.l1_entries;
        SnapshotExtra more{};
        std::memcpy(&more, extra.data(), std::min(extra.size(), sizeof more));
        if (extra.size() >= 8) snapshot.vm_state_size = more.vm_state_size;
        if (extra.size() >= 16) snapshot.disk_size = more.disk_size;
        snapshots.push_back(std::move(snapshot));
    }
    if (table_bytes != nullptr) *table_bytes = reader.position() - header.snapshots_offset;
    for (const Qcow2Snapshot& snapshot : snapshots) {
        const uint64_t bytes = uint64_t{snapshot.l1_entries} * 8;
        if (bytes > kMaxL1Bytes || snapshot.l1_offset % header.cluster_size() != 0 ||
            snapshot.l1_offset < header.cluster_size() ||
            !range_fits(snapshot.l1_offset, bytes, file.size())) {
            corrupt_snapshots("the L1 table of a snapshot can't be where it is said to be");
        }
        if (snapshot.disk_size > uint64_t{INT64_MAX} ||
            snapshot.l1_entries < header.l1_entries_for(snapshot.disk_size)) {
            corrupt_snapshots("the L1 table of a snapshot is too small for its disk");
        }
    }
    return snapshots;
}

const Qcow2Snapshot& find_snapshot(const std::vector<Qcow2Snapshot>& snapshots,
                                   const std::string& id_or_name) {
    for (const Qcow2Snapshot& snapshot : snapshots) {
        if (snapshot.id == id_or_name) return snapshot;
    }
    for (const Qcow2Snapshot& snapshot : snapshots) {
        if (snapshot.name == id_or_name) return snapshot;
    }
    throw Error(ErrorKind::kNotFound, "the qcow2 image has no snapshot with the id or name '" + id_or_name +
                                          "'; it has " + std::to_string(snapshots.size()) +
                                          " (`qemu-img snapshot -l` lists them)");
}

}  // namespace inspect
