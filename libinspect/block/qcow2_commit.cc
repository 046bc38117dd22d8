// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2_commit.h"

#include <algorithm>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/commit.h"
#include "block/differences.h"
#include "block/iovec.h"
#include "block/overlay.h"
#include "block/qcow2/qcow2.h"

namespace inspect {

namespace {

using Run = OverlayStore::Run;
using State = OverlayStore::State;
constexpr uint64_t kBlockSize = OverlayStore::kBlockSize;
constexpr uint64_t kChunk = 1 << 20;

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
            for (uint64_t at = run->offset; at < run->end(); at += kChunk)
                write_data({at, std::min(kChunk, run->end() - at), run->state});
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

}  // namespace

bool commit_to_qcow2(const OverlayStore& changes, std::unique_ptr<BlockDevice> before,
                     std::unique_ptr<BlockDevice> backing, BlockDevice& file, JournalFile& journal,
                     uint64_t new_size, bool give_back) {
    const Qcow2Header header = Qcow2Header::parse(*before);
    if (header.external_data()) {
        throw Error(
            ErrorKind::kUnsupported,
            "the image keeps its data in another file, and two files can't be changed as one; nothing "
            "was changed; use --write-mode=direct");
    }
    const uint64_t room = align_up(before->size() + room_to_grow(changes, header), kBlockSize);
    auto stage = std::make_shared<OverlayStore>(OverlayStore::create(room, {}));
    auto staged = std::make_unique<Overlay>(std::move(before), stage);
    const Overlay& image = *staged;
    Qcow2Device disk(header, {std::move(staged), std::move(backing), nullptr},
                     {.read_only = false, .snapshot = {}});
    if (new_size != 0) disk.resize(new_size);
    Writer(changes, disk).write();
    disk.flush();
    if (stage->empty()) return false;
    // A file that could be shorter now stays as it is: what is beyond its last cluster is of no concern.
    const uint64_t new_file_size = std::max(image.size(), file.size());
    return commit(*stage, file, journal,
                  {.protect_first_sector = false, .new_size = new_file_size, .give_back = give_back});
}

}  // namespace inspect
