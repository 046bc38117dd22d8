// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/snapshot_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/endian.h"
#include "base/fd.h"
#include "base/uuid.h"
#include "block/crc32c.h"
#include "vmm/layout.h"

namespace inspect {

namespace {

constexpr char kStateMagic[8] = {'I', 'N', 'S', 'P', 'S', 'N', 'A', 'P'};
constexpr char kMemoryMagic[8] = {'I', 'N', 'S', 'P', 'M', 'E', 'M', 'O'};
constexpr uint32_t kFormatVersion = 1;
// A state is stored as this build has it in memory, so a new build is a new format.
constexpr char kBuild[32] = INSP_VERSION;
constexpr uint64_t kMaxStateFile = uint64_t{1} << 20;

struct StateHeader {
    char magic[8];
    le32 version;
    le32 slots;
    char build[32];
    SnapshotId id;
    le64 memory_bytes;
    le64 root_bytes;
    le64 state_bytes;
    le32 state_crc;
    le32 header_crc;  // of all before it
};
static_assert(sizeof(StateHeader) == 96);

struct MemoryTrailer {
    char magic[8];
    SnapshotId id;
};

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

uint32_t header_crc(const StateHeader& header) {
    return crc32c(bytes_of(header).first(offsetof(StateHeader, header_crc)));
}

[[noreturn]] void reject(const char* why) { throw Error(ErrorKind::kCorrupt, why); }

bool is_zero_page(std::span<const std::byte> page) {
    return page[0] == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

uint64_t regular_file_size(int fd) {
    struct stat st;
    if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) reject("the snapshot is not a regular file");
    return static_cast<uint64_t>(st.st_size);
}

void sync_or_throw(int fd) {
    if (::fdatasync(fd) != 0) throw Error::from_errno("cannot store the snapshot", errno);
}

}  // namespace

SnapshotId make_snapshot_id() {
    SnapshotId id;
    draw_random(std::as_writable_bytes(std::span(id)));
    return id;
}

std::vector<std::byte> encode_state_file(const SnapshotShape& shape, const SnapshotId& id,
                                         std::span<const std::byte> state) {
    StateHeader header{};
    std::memcpy(header.magic, kStateMagic, sizeof header.magic);
    header.version = kFormatVersion;
    header.slots = shape.slots;
    std::memcpy(header.build, kBuild, sizeof header.build);
    header.id = id;
    header.memory_bytes = shape.memory_bytes;
    header.root_bytes = shape.root_bytes;
    header.state_bytes = state.size();
    header.state_crc = crc32c(state);
    header.header_crc = header_crc(header);
    std::vector<std::byte> file(sizeof header + state.size());
    std::memcpy(file.data(), &header, sizeof header);
    std::ranges::copy(state, file.begin() + sizeof header);
    return file;
}

DecodedState decode_state_file(std::span<const std::byte> file, const SnapshotShape& shape) {
    StateHeader header;
    if (file.size() < sizeof header) reject("the snapshot's state file is too short");
    std::memcpy(&header, file.data(), sizeof header);
    if (std::memcmp(header.magic, kStateMagic, sizeof header.magic) != 0)
        reject("the snapshot's state file is something else");
    if (header.version != kFormatVersion) reject("the snapshot is of another version");
    if (header.header_crc != header_crc(header)) reject("the snapshot's state file is damaged");
    if (std::memcmp(header.build, kBuild, sizeof header.build) != 0)
        reject("the snapshot is of another version");
    if (SnapshotShape{header.memory_bytes, header.root_bytes, header.slots} != shape)
        reject("the snapshot is of another kind of appliance");
    auto state = file.subspan(sizeof header);
    if (header.state_bytes != state.size() || header.state_crc != crc32c(state))
        reject("the snapshot's state file is torn");
    return {header.id, state};
}

std::vector<std::byte> read_state_file(int fd) {
    const uint64_t size = regular_file_size(fd);
    if (size > kMaxStateFile) reject("the snapshot's state file is too large");
    std::vector<std::byte> file(size);
    if (pread_full(fd, file, 0, "cannot read the snapshot's state") != size)
        reject("the snapshot's state file is torn");
    return file;
}

void write_memory_file(int fd, std::span<const std::byte> ram, const SnapshotId& id) {
    constexpr const char* kWhat = "cannot store the snapshot's memory";
    constexpr uint64_t kMaxRun = uint64_t{1} << 20;
    if (::ftruncate(fd, static_cast<off_t>(ram.size() + kPageSize)) != 0)
        throw Error::from_errno(kWhat, errno);
    uint64_t run_start = 0, run_end = 0;  // pages to be written
    auto write_run = [&] {
        if (run_end > run_start)
            pwrite_full(fd, ram.subspan(run_start, run_end - run_start), run_start, kWhat);
    };
    for (uint64_t at = 0; at < ram.size(); at += kPageSize) {
        if (is_zero_page(ram.subspan(at, kPageSize))) continue;
        if (at != run_end || run_end - run_start >= kMaxRun) {
            write_run();
            run_start = at;
        }
        run_end = at + kPageSize;
    }
    write_run();
    sync_or_throw(fd);
    MemoryTrailer trailer{};
    std::memcpy(trailer.magic, kMemoryMagic, sizeof trailer.magic);
    trailer.id = id;
    pwrite_full(fd, bytes_of(trailer), ram.size(), kWhat);
    sync_or_throw(fd);
}

Mapping map_memory_file(int fd, uint64_t memory_bytes, const SnapshotId& id) {
    if (regular_file_size(fd) != memory_bytes + kPageSize) reject("the snapshot's memory file is torn");
    MemoryTrailer trailer;
    if (pread_full(fd, std::as_writable_bytes(std::span(&trailer, 1)), memory_bytes,
                   "cannot read the snapshot's memory") != sizeof trailer ||
        std::memcmp(trailer.magic, kMemoryMagic, sizeof trailer.magic) != 0)
        reject("the snapshot's memory file is torn");
    if (trailer.id != id) reject("the snapshot's files are of two snapshots");
    return Mapping::private_file(fd, memory_bytes, "the snapshot's memory");
}

}  // namespace inspect
