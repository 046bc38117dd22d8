// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Image: a disk image that the library has opened for a session: found, recovered, locked, its format
// settled, and with an overlay for what the session changes.
//
// The library keeps the Image; the VMM's process gets fd() and the overlay's two descriptors and serves an
// Overlay over them. When that process has ended the library calls commit(), or just destroys the Image, and
// then the session has changed nothing.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "block/commit.h"
#include "block/lock.h"
#include "block/overlay_store.h"

namespace inspect {

enum class ImageFormat { kRaw };

// "raw". Throws Error(kUnsupported) for the names of other known formats, Error(kUsage) for anything else.
ImageFormat parse_image_format(std::string_view name);

struct ImageOptions {
    // As the user gave it; if he didn't, it is detected, and then never believed to be another on the guest's
    // word alone.
    std::optional<ImageFormat> format;
    bool writable = false;
    uint64_t memory_limit = OverlayStore::kDefaultMemoryLimit;  // bytes of changes that are kept in memory
};

// Not thread-safe.
class Image {
  public:
    // Opens the file or block device at `path`; symbolic links are followed. What a commit that was cut short
    // left is finished or discarded first; where that must not be (a reader who may not write, or isn't
    // alone), a finished change is shown through the overlay. Throws Error:
    //   kNotFound     there is no such file
    //   kDenied       it may not be read, or not be written when `writable` (the directory of a regular file
    //                 too: the journal of a change has its place there)
    //   kBusy         another program has it in use
    //   kUnsupported  it is a directory, a pipe...; or of a format that this version can't open
    //   kCorrupt      it is empty or shorter than a sector; or its journal is damaged or not its own
    static std::unique_ptr<Image> open(const std::string& path, const ImageOptions& options);

    // As it was given.
    const std::string& path() const noexcept { return path_; }
    uint64_t size() const noexcept { return size_; }
    bool writable() const noexcept { return writable_; }
    bool format_was_detected() const noexcept { return detected_; }
    // The logical sector size of a block device in bytes; 512 for a file.
    uint32_t logical_block_size() const noexcept { return logical_block_size_; }
    // Open read-only, for the VMM's process. Owned by this.
    int fd() const noexcept { return read_fd_ ? read_fd_.get() : image_fd_.get(); }
    const OverlayStore& overlay() const noexcept { return *overlay_; }
    // What was done about a journal when this was opened.
    Recovery recovery() const noexcept { return recovery_; }

    // Makes the overlay's changes the image's, atomically and durably (block/commit.h). False when there was
    // nothing to change. The process that wrote the overlay must have ended. Once only. Throws Error; kBusy
    // when the image was changed or replaced by another program meanwhile, kDenied when it isn't writable.
    bool commit();

  private:
    Image() = default;
    void open_file_at_path();
    void settle_journal(bool& show_journal);
    void settle_format(const ImageOptions& options);
    void show_unfinished_change();
    PosixJournalFile journal_file(bool create_directory) const;
    void check_not_changed() const;

    std::string path_;
    std::string resolved_path_;
    bool writable_ = false;
    bool detected_ = false;
    bool committed_ = false;
    uint64_t size_ = 0;
    uint32_t logical_block_size_ = 512;
    struct stat at_open_ = {};
    Recovery recovery_ = Recovery::kNothing;
    Fd image_fd_;                    // read-write if writable_; the lock is its
    Fd read_fd_;                     // if writable_
    std::optional<ImageLock> lock_;  // goes before image_fd_ does
    std::shared_ptr<OverlayStore> overlay_;
};

}  // namespace inspect
