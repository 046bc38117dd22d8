// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The two files of a snapshot.
//
//   state file    header { magic "INSPSNAP", format version, build id, snapshot id, memory size, slots,
//   length and
//                 CRC32C of what follows, CRC32C of the header }, then the state: a byte stream
//                 (state_stream.h)
//   memory file   the guest's RAM, pages of zeros left as holes; then one page { magic "INSPMEMO", snapshot
//   id }
//
// The snapshot id is random: it tells that the two files are of one snapshot. The page that carries it is
// written last, behind an fsync, so a memory file that has it is complete.
//
// Both are only trusted as far as their owner: checksums find what tore or rotted, and whatever they say is
// bounded, but who can write to them can write to the guest.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/guest_memory.h"

namespace inspect {

// What must be equal for a snapshot to be restored.
struct SnapshotShape {
    uint64_t memory_bytes = 0;
    uint64_t root_bytes = 0;
    uint32_t slots = 0;
    bool operator==(const SnapshotShape&) const = default;
};

using SnapshotId = std::array<std::byte, 16>;

// A fresh random one. Throws Error.
SnapshotId make_snapshot_id();

// The whole state file for this state.
std::vector<std::byte> encode_state_file(const SnapshotShape& shape, const SnapshotId& id,
                                         std::span<const std::byte> state);

struct DecodedState {
    SnapshotId id;
    std::span<const std::byte> state;  // within what was decoded
};
// Throws Error(kCorrupt) when `file` is torn, damaged, of another build, or of a VM of another shape.
DecodedState decode_state_file(std::span<const std::byte> file, const SnapshotShape& shape);

// All of a state file. Throws Error(kCorrupt) when it is larger than any state file.
std::vector<std::byte> read_state_file(int fd);

// Writes the RAM to an empty file and makes it durable. Throws Error.
void write_memory_file(int fd, std::span<const std::byte> ram, const SnapshotId& id);

// Maps a memory file privately. Its size and id are checked first, so that no access can find it too short.
// Throws Error(kCorrupt).
Mapping map_memory_file(int fd, uint64_t memory_bytes, const SnapshotId& id);

}  // namespace inspect
