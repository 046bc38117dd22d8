// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2_commit.h"

#include <algorithm>
#include <optional>

#include "base/checked.h"
#include "block/differences.h"
#include "block/iovec.h"
#include "block/overlay.h"

namespace inspect {

namespace {

using Run = OverlayStore::Run;
using State = OverlayStore::State;
constexpr uint64_t kBlockSize = OverlayStore::kBlockSize;
constexpr uint64_t kCommitChunk = 1 << 20;

// Writes what `changes` has, where it differs, to `disk`; what is beyond its end is left out.
class Writer {
  public:
    Writer(const OverlayStore& changes, BlockDevice& disk) : changes_(changes), disk_(disk) {}

    void write() {
        for (auto run = changes_.next_changed(0); run && run->offset < disk_.size();
             run = changes_.next_changed(run->end())) {
            run->length = std::min(run->end(), disk_.size()) - run->offset;
            if (run->state == State::kZero) {
                write_zeros(*run);
                continue;
            }
            for (uint64_t at = run->offset; at < run->end(); at += kCommitChunk)
                write_data({at, std::min(kCommitChunk, run->end() - at), run->state});
        }
    }

  private:
    void write_zeros(const Run& run) {
        for (const Extent& extent : disk_.extents(run.offset, run.length))
            if (extent.kind == ExtentKind::kData) disk_.write_zeroes(extent.offset, extent.length, true);
    }

    void write_data(const Run& run) {
        new_.resize(run.length);
        old_.resize(run.length);
        const iovec piece = to_iovec(std::span(new_));
        changes_.read(run.state, run.offset, {&piece, 1});
        disk_.read(run.offset, old_);
        for_each_difference(new_, old_, kBlockSize, [&](uint64_t at, uint64_t length) {
            disk_.write(run.offset + at, std::span(new_).subspan(at, length));
        });
    }

    const OverlayStore& changes_;
    BlockDevice& disk_;
    std::vector<std::byte> new_, old_;
};

// More than the file can need: each changed block a cluster of its own, and what maps and counts them.
uint64_t room_to_grow(const OverlayStore& changes, const Qcow2Header& header) {
    uint64_t clusters = 0;
    for (auto run = changes.next_changed(0); run; run = changes.next_changed(run->end())) {
        clusters += (run->end() - 1) / header.cluster_size() - run->offset / header.cluster_size() + 1;
    }
    // For a data cluster at most an L2 table, a refcount block and their share of the tables above.
    return (4 * clusters + 64) * header.cluster_size() + (uint64_t{64} << 20);
}

// An overlay over a file, in which it can grow to `room` bytes.
class Stage {
  public:
    Stage(std::unique_ptr<BlockDevice>& file, uint64_t room)
        : store_(std::make_shared<OverlayStore>(OverlayStore::create(align_up(room, kBlockSize), {}))) {
        auto overlay = std::make_unique<Overlay>(std::move(file), store_);
        overlay_ = overlay.get();
        file = std::move(overlay);
    }
    // While the file is there.
    FileChange change() const { return {store_, overlay_->size()}; }

  private:
    std::shared_ptr<OverlayStore> store_;
    const Overlay* overlay_;
};

}  // namespace

Qcow2Change stage_qcow2(const OverlayStore& changes, Qcow2Files before, uint64_t new_size) {
    const Qcow2Header header = Qcow2Header::parse(*before.file);
    const uint64_t file_size = before.file->size();
    const Stage file(before.file, file_size + room_to_grow(changes, header));
    std::optional<Stage> data_file;
    if (before.data_file) {
        // Data is there at its own offset in the disk, in whole clusters.
        const uint64_t disk_size = align_up(std::max(header.size, new_size), header.cluster_size());
        data_file.emplace(before.data_file, std::max(before.data_file->size(), disk_size));
    }
    Qcow2Device disk(header, std::move(before), {.read_only = false, .snapshot = {}});
    if (new_size != 0) disk.resize(new_size);
    Writer(changes, disk).write();
    disk.flush();
    Qcow2Change result{file.change(), {}};
    // It could be shorter now, but stays as it is: what is beyond its last cluster is of no concern.
    result.file.size = std::max(result.file.size, file_size);
    if (data_file) result.data_file = data_file->change();
    return result;
}

}  // namespace inspect
