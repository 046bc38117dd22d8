// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What is done about a journal that a commit left when it was cut short (block/commit.h, docs/journal.md): it
// is thrown away when it lacks the mark, and finished when it has it. Of an undo journal (block/undo_log.h),
// which a direct change left, the image gets back what it had. All that can be repeated any number of times.
// The image must be locked for writing (block/lock.h) throughout.
//
// A journal may be about several images. It is beside the first of them; beside each other one is a pointer
// to it, made before that image was touched and removed after all of them were done. So whoever opens any of
// the images finds the journal, and an image without its pointer has nothing to do with it any more.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "block/block_device.h"
#include "block/journal.h"
#include "block/journal_file.h"

namespace inspect {

enum class Recovery { kNothing, kDiscarded, kFinished };

// How recovery gets at what it needs besides the image that was opened and the file beside it. A seam: the
// real one is in block/image_file.h, tests have faulty ones.
class OtherFiles {
  public:
    // Another image: it is open and locked for writing while this lives.
    struct Image {
        std::shared_ptr<void> lock;  // whatever keeps it locked; goes last
        std::shared_ptr<BlockDevice> device;
        std::shared_ptr<JournalFile> journal;  // the file beside it, not opened
    };
    virtual ~OtherFiles() = default;
    // The journal at this path, not opened.
    virtual std::shared_ptr<JournalFile> journal(const std::string& path) = 0;
    // The file beside the image at `path`, not opened: whether or not that image, or this file, is there.
    virtual std::shared_ptr<JournalFile> beside(const std::string& path) = 0;
    // The image at `path`, which `journal`, a file's path, wants to change. Throws Error: kNotFound when
    // there is none, kBusy when others use it, kDenied when it can't be written, or when the journal belongs
    // to somebody who has no say in this image.
    virtual Image open(const std::string& path, const std::string& journal) = 0;
};

// The journal that the file beside an image is, or leads to. Not thread-safe.
class FoundJournal {
  public:
    // Reads what `beside` is. Both must outlive this; without `others` (null) an image is only taken for
    // itself, and a journal of several is Error(kUnsupported). Throws Error(kCorrupt) when the journal is
    // damaged, or when the image has a pointer to one that isn't there.
    FoundJournal(JournalFile& beside, OtherFiles* others);

    // Of the journal that counts: never kPointer.
    JournalState state() const noexcept { return reader_->state(); }
    // It is about this image and no other.
    bool alone() const noexcept { return !main_ && reader_->targets().size() <= 1; }
    // For an uncommitted one: the size to which the image, now `now` bytes long, is to be cut back.
    std::optional<uint64_t> size_to_restore(uint64_t now) const noexcept;

    // For a committed one: what it says of this image is done to `overlay`, which is over `image`. Throws
    // Error as JournalReader::verify() does.
    void show(BlockDevice& image, BlockDevice& overlay);
    // Finishes or discards the change, in all images that it is about. Throws Error, with everything
    // untouched, when the journal is damaged, an image has been changed since, or one can't be had: what
    // OtherFiles::open() throws.
    Recovery recover(BlockDevice& image);

  private:
    void discard(BlockDevice& image);
    void finish(BlockDevice& image);
    OtherFiles::Image open_other(size_t target) const;
    bool is_ours(JournalFile& pointer, size_t target) const;

    JournalFile& beside_;
    OtherFiles* others_;
    std::shared_ptr<JournalFile> main_;  // if `beside` is a pointer: what it points to
    std::unique_ptr<JournalReader> reader_;
    JournalPointer pointer_{};
    size_t self_ = 0;  // the image's number in the journal
};

// FoundJournal's recover(), for an image whose journal is about no other.
Recovery recover(BlockDevice& image, JournalFile& journal);

// Removes the file, for good.
void remove_for_good(JournalFile& journal);
// Cuts an image back that has grown for a change that was not committed; durable.
void restore_size(BlockDevice& image, uint64_t size, uint64_t new_size);

}  // namespace inspect
