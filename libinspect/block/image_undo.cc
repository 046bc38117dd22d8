// SPDX-License-Identifier: LGPL-2.1-or-later
//
// An Image that is written directly, and can still become what it was.
#include <inspect/error.h>

#include "base/log.h"
#include "block/image.h"
#include "block/qcow2/qcow2.h"
#include "block/raw.h"
#include "block/undo_log.h"

namespace inspect {

namespace {

// Where in the file of a qcow2 image the unused parts of its disk are.
RangeSet in_file(const DiskNode& qcow2, const RangeSet& unused) {
    const auto device = qcow2.open();
    RangeSet result;
    for (const RangeSet::Range& range : unused.ranges()) {
        dynamic_cast<Qcow2Device&>(*device).for_each_own_cluster(
            range.begin, range.end - range.begin,
            [&](uint64_t offset, uint64_t length) { result.add(offset, length); });
    }
    return result;
}

RangeSet holes_of(BlockDevice& device) {
    RangeSet holes;
    for (const Extent& extent : device.extents(0, device.size()))
        if (extent.kind == ExtentKind::kHole) holes.add(extent.offset, extent.length);
    return holes;
}

}  // namespace

// The part of the node that is the file which the journal is about.
DiskNode& Image::journalled_node() { return node_.kind == DiskNode::Kind::kQcow2 ? *node_.file : node_; }

void Image::require_undoable() const {
    const bool possible = written_directly() && !overlay_ && !files_.empty() && data_file_ == nullptr &&
                          (node_.kind == DiskNode::Kind::kQcow2 || node_.kind == DiskNode::Kind::kRaw);
    if (possible) return;
    throw Error(ErrorKind::kUnsupported,
                "'" + path() +
                    "' can't be changed directly in a way that could be taken back: that can be done with "
                    "local raw images, and qcow2 images without a data file; use --write-mode=atomic");
}

void Image::begin_trial() {
    require_undoable();
    make_overlay();
}

void Image::end_trial() noexcept {
    overlay_.reset();
    session_size_ = new_size_ = size_;
}

void Image::make_undoable(const RangeSet& unused) {
    if (undo_journal_) return;
    require_undoable();
    const bool qcow2 = node_.kind == DiskNode::Kind::kQcow2;
    RawDevice file(dup_fd(files_[0]->write_fd()), true, path());
    PosixJournalFile journal = files_[0]->journal_file(true);
    UndoLog::create(journal, file.size(), holes_of(file), qcow2 ? in_file(node_, unused) : unused);
    undo_journal_.emplace(std::move(journal));

    DiskNode& below = journalled_node();
    DiskNode undo;
    undo.kind = DiskNode::Kind::kUndo;
    undo.name = below.name;
    undo.journal = undo_journal_->fd();
    undo.file = std::make_unique<DiskNode>(std::move(below));
    // What writing means stays with the topmost node.
    std::swap(undo.sync_writes, undo.file->sync_writes);
    std::swap(undo.ignore_flush, undo.file->ignore_flush);
    std::swap(undo.guard_first_sector, undo.file->guard_first_sector);
    below = std::move(undo);
}

void Image::commit_undoable() {
    if (node_.kind == DiskNode::Kind::kQcow2 && new_size_ != session_size_) {
        const auto device = node_.open();
        device->resize(new_size_);
        device->flush();
    }
    RawDevice file(dup_fd(files_[0]->write_fd()), false, path());
    // A qcow2 image's file could be shorter now, but stays as it is.
    const bool raw_file = node_.kind != DiskNode::Kind::kQcow2 && !files_[0]->is_block_device();
    file.flush();
    UndoLog(*undo_journal_).finish(raw_file ? new_size_ : file.size());
    PosixJournalFile journal = *std::exchange(undo_journal_, std::nullopt);
    try {
        undo(file, journal);
        remove_for_good(journal);
    } catch (const Error& error) {
        throw error.with_context("the change is made but for the end, which is done when '" + path() +
                                 "' is next opened");
    }
}

// What was not committed. A failure leaves the journal, for who opens the image next.
void Image::take_back() noexcept {
    if (!undo_journal_) return;
    try {
        RawDevice file(dup_fd(files_[0]->write_fd()), false, path());
        undo(file, *undo_journal_);
        remove_for_good(*undo_journal_);
    } catch (const std::exception& error) {
        log(LogLevel::kVerbose,
            "the change to '" + path() + "' is taken back when it is next opened, not now: " + error.what());
    }
    undo_journal_.reset();
}

}  // namespace inspect
