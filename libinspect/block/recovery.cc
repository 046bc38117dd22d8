// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/recovery.h"

#include <vector>

#include <inspect/error.h>

#include "block/undo_log.h"

namespace inspect {

void remove_for_good(JournalFile& journal) {
    journal.remove();
    journal.sync_name();
}

void restore_size(BlockDevice& image, uint64_t size, uint64_t new_size) {
    const auto wanted = size_to_restore(image.size(), size, new_size);
    if (!wanted) return;
    image.resize(*wanted);
    image.flush();
}

FoundJournal::FoundJournal(JournalFile& beside, OtherFiles* others) : beside_(beside), others_(others) {
    reader_ = std::make_unique<JournalReader>(beside_);
    const bool needs_others = reader_->state() == JournalState::kPointer || reader_->targets().size() > 1;
    if (needs_others && others_ == nullptr) {
        throw Error(ErrorKind::kUnsupported, "the journal '" + beside_.name() +
                                                 "' is about several images, which this image can't be");
    }
    if (reader_->state() != JournalState::kPointer) return;
    pointer_ = reader_->pointer();
    self_ = pointer_.target;
    main_ = others_->journal(pointer_.journal);
    reader_ = std::make_unique<JournalReader>(*main_);
    // It was there before its pointers were, and goes after them.
    if (reader_->is_meant_by(pointer_)) return;
    throw Error(ErrorKind::kCorrupt,
                "a change to the image and to others was cut short, and its journal is not at '" +
                    pointer_.journal + "', where '" + beside_.name() +
                    "' says it is; put it back there, or remove '" + beside_.name() +
                    "' to use the image as it is");
}

std::optional<uint64_t> FoundJournal::size_to_restore(uint64_t now) const noexcept {
    if (state() != JournalState::kUncommitted || reader_->targets().empty()) return std::nullopt;
    const JournalTarget& target = reader_->targets()[self_];
    return inspect::size_to_restore(now, target.size, target.new_size);
}

void FoundJournal::show(BlockDevice& image, BlockDevice& overlay) {
    std::vector<BlockDevice*> images(reader_->targets().size());
    images[self_] = &image;
    reader_->verify(images);
    images[self_] = &overlay;
    reader_->apply(images);
}

Recovery FoundJournal::recover(BlockDevice& image) {
    switch (state()) {
        case JournalState::kNone:
        case JournalState::kPointer:
            return Recovery::kNothing;
        case JournalState::kUncommitted:
            discard(image);
            return Recovery::kDiscarded;
        case JournalState::kUndo: {
            const Recovery done = undo(image, beside_);
            remove_for_good(beside_);
            return done;
        }
        case JournalState::kCommitted:
            break;
    }
    finish(image);
    return Recovery::kFinished;
}

// True while the file beside that target is a pointer to this journal.
bool FoundJournal::is_ours(JournalFile& pointer, size_t target) const {
    const JournalReader reader(pointer);
    return reader.state() == JournalState::kPointer && reader.pointer().target == target &&
           reader_->is_meant_by(reader.pointer());
}

// Nothing when that target, not the first, has no pointer any more: then it is none of our business, whoever
// may use it now.
OtherFiles::Image FoundJournal::open_other(size_t target) const {
    const std::string& path = reader_->targets()[target].path;
    if (target > 0 && !is_ours(*others_->beside(path), target)) return {};
    OtherFiles::Image image;
    try {
        image = others_->open(path, reader_->name());
    } catch (const Error& error) {
        throw error.with_context("a change that was cut short is about another image as well");
    }
    // Only now it is locked.
    if (target > 0 && !is_ours(*image.journal, target)) return {};
    // The first one's lock is what keeps others away from the journal.
    if (target == 0 && image.journal->name() != reader_->name()) {
        throw Error(ErrorKind::kCorrupt, "the journal '" + reader_->name() + "' is not beside the image '" +
                                             path + "', which it is about");
    }
    return image;
}

// The images are as they were but for, perhaps, their lengths. Opened by its pointer, that is all there is to
// undo: the others are left to who opens them. Else all pointers go before the journal does.
void FoundJournal::discard(BlockDevice& image) {
    const std::vector<JournalTarget>& targets = reader_->targets();
    std::vector<OtherFiles::Image> others(targets.size());
    for (size_t i = 1; !main_ && i < targets.size(); ++i) {
        try {
            others[i] = open_other(i);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kNotFound) throw;
        }
    }
    for (size_t i = 1; i < targets.size(); ++i) {
        if (!others[i].device) continue;
        restore_size(*others[i].device, targets[i].size, targets[i].new_size);
        remove_for_good(*others[i].journal);
    }
    if (!targets.empty()) restore_size(image, targets[self_].size, targets[self_].new_size);
    remove_for_good(beside_);
}

void FoundJournal::finish(BlockDevice& image) {
    const size_t count = reader_->targets().size();
    std::vector<OtherFiles::Image> others(count);
    std::vector<BlockDevice*> images(count);
    for (size_t i = 0; i < count; ++i) {
        if (i != self_) others[i] = open_other(i);
        images[i] = i == self_ ? &image : others[i].device.get();
    }
    reader_->verify(images);
    reader_->carry_out(images);
    for (size_t i = 1; i < count; ++i)
        if (images[i] != nullptr) remove_for_good(i == self_ ? beside_ : *others[i].journal);
    remove_for_good(main_ ? *main_ : beside_);
}

Recovery recover(BlockDevice& image, JournalFile& journal) {
    return FoundJournal(journal, nullptr).recover(image);
}

}  // namespace inspect
