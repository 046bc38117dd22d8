// SPDX-License-Identifier: LGPL-2.1-or-later
//
// ImageFile: a local file or block device that is an image or a part of one: found, locked, and recovered
// from a commit that was cut short.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"
#include "block/lock.h"
#include "block/overlay_store.h"
#include "block/recovery.h"

namespace inspect {

struct ImageFileOptions {
    bool writable = false;
    // A change will be committed by way of a journal, for which there must be room beside the file.
    bool journalled = true;
    bool force_share = false;  // readers: no lock
    bool direct_io = false;    // O_DIRECT
    bool settle = true;        // false: what is to be done about a journal is the caller's business
};

// Not thread-safe.
class ImageFile {
  public:
    // Opens the file or block device at `path`; symbolic links are followed. What a commit that was cut short
    // left is finished or discarded first; where that must not be (a reader who may not write, or isn't
    // alone), a finished change is shown through pending(). Throws Error:
    //   kNotFound     there is no such file
    //   kDenied       it may not be read, or not be written when `writable` (the directory of a regular file
    //                 too when `journalled`: the journal of a change has its place there)
    //   kBusy         another program has it in use
    //   kUnsupported  it is a directory, a pipe...; or the file system can't do O_DIRECT
    //   kCorrupt      its journal is damaged or not its own
    ImageFile(const std::string& path, const ImageFileOptions& options);

    // As it was given.
    const std::string& path() const noexcept { return path_; }
    // Absolute, without symbolic links.
    const std::string& resolved_path() const noexcept { return resolved_path_; }
    bool is_block_device() const noexcept { return S_ISBLK(at_open_.st_mode); }
    const struct stat& status() const noexcept { return at_open_; }
    uint64_t size() const noexcept { return size_; }
    // The logical sector size of a block device in bytes; 512 for a file.
    uint32_t logical_block_size() const noexcept { return logical_block_size_; }
    // Open read-only, without the lock, for the VMM's process; and open for writing, if writable. This owns
    // both.
    int read_fd() const noexcept { return read_fd_ ? read_fd_.get() : fd_.get(); }
    int write_fd() const noexcept { return fd_.get(); }
    // What was done about a journal when this was opened.
    Recovery recovery() const noexcept { return recovery_; }
    // A change that was committed and isn't finished, as an overlay over the file; null: there is none.
    const OverlayStore* pending() const noexcept { return pending_.get(); }

    // Throws Error(kBusy) when the file was changed or replaced by another program since it was opened.
    void check_not_changed() const;
    PosixJournalFile journal_file(bool create_directory) const;

  private:
    void open_at_path(const ImageFileOptions& options);
    bool settle_journal();
    bool finish_journal(FoundJournal& found);
    void load_pending();

    std::string path_;
    std::string resolved_path_;
    bool writable_;
    uint64_t size_ = 0;
    uint32_t logical_block_size_ = 512;
    struct stat at_open_ = {};
    Recovery recovery_ = Recovery::kNothing;
    Fd fd_;                          // read-write if writable_; the lock is its
    Fd read_fd_;                     // if writable_
    std::optional<ImageLock> lock_;  // goes before fd_ does
    std::shared_ptr<OverlayStore> pending_;
};

// The other images of a journal, for recovery, as ImageFiles.
class OtherImageFiles final : public OtherFiles {
  public:
    // `image` is the one that was opened; its owner has to be trusted with where its journal is.
    explicit OtherImageFiles(const struct stat& image) : owner_(image.st_uid), group_(image.st_gid) {}

    std::shared_ptr<JournalFile> journal(const std::string& path) override;
    std::shared_ptr<JournalFile> beside(const std::string& path) override;
    Image open(const std::string& path, const std::string& journal) override;

  private:
    uid_t owner_;
    gid_t group_;
};

}  // namespace inspect
