// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/image_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <inspect/error.h>

#include "base/host_paths.h"
#include "base/log.h"
#include "block/overlay.h"
#include "block/raw.h"

namespace inspect {

namespace {

// Throws for everything that is neither a regular file nor a block device. Before it is opened: opening may
// block, or do something.
void require_image_file(const struct stat& st, const std::string& path) {
    if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) return;
    const char* what = S_ISDIR(st.st_mode)    ? "a directory"
                       : S_ISFIFO(st.st_mode) ? "a named pipe"
                       : S_ISSOCK(st.st_mode) ? "a socket"
                                              : "a character device";
    throw Error(ErrorKind::kUnsupported, "'" + path + "' is " + what + ", not a disk image");
}

struct stat examine(int fd, const std::string& path) {
    struct stat st;
    if (::fstat(fd, &st) < 0) throw Error::from_errno("cannot examine '" + path + "'", errno);
    return st;
}

bool same_file(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool directory_is_writable(const std::string& directory) {
    return ::faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) == 0;
}

PosixJournalFile journal_beside(const std::string& resolved_path, const struct stat& image,
                                bool create_directory) {
    std::optional<dev_t> device;
    if (S_ISBLK(image.st_mode)) device = image.st_rdev;
    return PosixJournalFile(journal_path(resolved_path, device, create_directory), image.st_uid,
                            image.st_gid);
}

// A second, read-only open file description of the same file, so that what is given away can't write or
// unlock.
Fd reopen_read_only(const Fd& fd, const std::string& path, int extra_flags) {
    int again =
        ::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDONLY | O_CLOEXEC | extra_flags);
    if (again >= 0) return Fd(again);
    Fd by_path = open_file(path, O_RDONLY | extra_flags);  // a system without /proc
    if (!same_file(examine(fd.get(), path), examine(by_path.get(), path))) {
        throw Error(ErrorKind::kBusy, "'" + path + "' was replaced while it was being opened; try again");
    }
    return by_path;
}

}  // namespace

ImageFile::ImageFile(const std::string& path, const ImageFileOptions& options)
    : path_(path), writable_(options.writable) {
    open_at_path(options);
    if (!options.force_share || writable_)
        lock_.emplace(fd_.get(), writable_ ? LockMode::kWrite : LockMode::kRead, path_);
    const bool show_journal = options.settle && settle_journal();
    size_ = file_or_device_size(fd_.get(), path_);
    at_open_ = examine(fd_.get(), path_);
    if (show_journal) load_pending();
    if (writable_) read_fd_ = reopen_read_only(fd_, resolved_path_, options.direct_io ? O_DIRECT : 0);
}

void ImageFile::open_at_path(const ImageFileOptions& options) {
    char* resolved = ::realpath(path_.c_str(), nullptr);
    if (resolved == nullptr) throw Error::from_errno("cannot open '" + path_ + "'", errno, ErrorKind::kUsage);
    resolved_path_ = resolved;
    ::free(resolved);
    struct stat st;
    if (::stat(resolved_path_.c_str(), &st) < 0)
        throw Error::from_errno("cannot open '" + path_ + "'", errno);
    require_image_file(st, path_);
    int flags = (writable_ ? O_RDWR : O_RDONLY) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
    // A block device that the host has mounted says EBUSY to this.
    if (writable_ && S_ISBLK(st.st_mode)) flags |= O_EXCL;
    if (options.direct_io) flags |= O_DIRECT;
    fd_.reset(::open(resolved_path_.c_str(), flags));
    if (!fd_) {
        const int saved = errno;
        if (saved == EBUSY) {
            throw Error(ErrorKind::kBusy,
                        "the block device '" + path_ +
                            "' is in use by this host, perhaps mounted; release it to change it");
        }
        if (saved == EINVAL && options.direct_io) {
            throw Error(ErrorKind::kUnsupported,
                        "the file system of '" + path_ +
                            "' can't go past the host's page cache; use --cache=writeback or writethrough");
        }
        throw Error::from_errno("cannot open '" + path_ + "' for " + (writable_ ? "writing" : "reading"),
                                saved, ErrorKind::kCorrupt);
    }
    st = examine(fd_.get(), path_);
    require_image_file(st, path_);
    if (S_ISBLK(st.st_mode)) {
        int bytes = 0;
        if (::ioctl(fd_.get(), BLKSSZGET, &bytes) == 0 && bytes >= 512) {
            logical_block_size_ = static_cast<uint32_t>(bytes);
        }
    } else if (writable_ && options.journalled && !directory_is_writable(directory_of(resolved_path_))) {
        throw Error(ErrorKind::kDenied,
                    "cannot change '" + path_ + "' safely, because its directory '" +
                        directory_of(resolved_path_) +
                        "' may not be written, where the journal of a change has its place");
    }
}

PosixJournalFile ImageFile::journal_file(bool create_directory) const {
    return journal_beside(resolved_path_, examine(fd_.get(), path_), create_directory);
}

// True when there is a committed journal that can't be finished here and now. The lock says that nobody else
// is about to write, so whatever journal there is was left by somebody who is gone.
bool ImageFile::settle_journal() {
    PosixJournalFile journal = journal_file(false);
    OtherImageFiles others(examine(fd_.get(), path_));
    FoundJournal found(journal, &others);
    if (found.state() == JournalState::kNone) return false;
    const bool committed = found.state() == JournalState::kCommitted;
    const bool undo = found.state() == JournalState::kUndo;
    if (!lock_ && !undo) return committed;
    const bool name_can_go = directory_is_writable(directory_of(journal.name()));
    const bool grown = found.size_to_restore(file_or_device_size(fd_.get(), path_)).has_value();
    if (!committed && !undo && !grown && !writable_ && found.alone()) {
        // Other readers may be about to do the same; what counts is that it is gone, or means nothing.
        if (!name_can_go) return false;
        journal.remove();
        recovery_ = Recovery::kDiscarded;
        return false;
    }
    if (lock_ && name_can_go && finish_journal(found)) return false;
    if (undo) {
        throw Error(ErrorKind::kDenied,
                    "a direct change to '" + path_ +
                        "' was cut short, and the image must become what it was before anything else: run "
                        "'insp recover' on it as a user who may write it and remove '" +
                        journal.name() + "', while nothing else uses it");
    }
    if (writable_) {
        throw Error(ErrorKind::kDenied, "a change to '" + path_ +
                                            "' that was cut short can't be finished, as the "
                                            "journal '" +
                                            journal.name() + "' may not be removed");
    }
    return committed;
}

// False when it can't be done now: the image can't be written or isn't ours alone, or, for a reader, another
// image that the journal is about can't be had.
bool ImageFile::finish_journal(FoundJournal& found) {
    Fd writer = writable_ ? fd_.dup() : Fd(::open(resolved_path_.c_str(), O_RDWR | O_CLOEXEC));
    const bool right_file = writer && same_file(examine(writer.get(), path_), examine(fd_.get(), path_));
    if (!right_file || !lock_->try_change(LockMode::kWrite)) return false;
    RawDevice device(std::move(writer), false, path_);
    bool done = true;
    try {
        recovery_ = found.recover(device);
        log(LogLevel::kVerbose, "a change to '" + path_ + "' that was cut short was " +
                                    (recovery_ == Recovery::kFinished ? "finished" : "discarded"));
    } catch (const Error& error) {
        const bool not_now = error.kind() == ErrorKind::kBusy || error.kind() == ErrorKind::kDenied ||
                             error.kind() == ErrorKind::kNotFound;
        if (writable_ || found.alone() || !not_now) throw;
        done = false;
    }
    if (!writable_) lock_->try_change(LockMode::kRead);
    return done;
}

// The image as it will be when somebody who may finishes the change.
void ImageFile::load_pending() {
    PosixJournalFile journal = journal_file(false);
    OtherImageFiles others(at_open_);
    FoundJournal found(journal, &others);
    if (found.state() != JournalState::kCommitted) return;
    auto below = std::make_unique<RawDevice>(fd_.dup(), true, path_);
    RawDevice& image = *below;
    auto store = std::make_shared<OverlayStore>(OverlayStore::create(size_, {}));
    Overlay overlay(std::move(below), store);
    found.show(image, overlay);
    pending_ = std::move(store);
    log(LogLevel::kVerbose, "a change to '" + path_ + "' that was cut short is shown, but not finished");
}

std::shared_ptr<JournalFile> OtherImageFiles::journal(const std::string& path) {
    const std::filesystem::path given(path);
    std::error_code missing;
    const auto directory = std::filesystem::canonical(given.parent_path(), missing);
    return std::make_shared<PosixJournalFile>(missing ? path : (directory / given.filename()).string(),
                                              owner_, group_);
}

std::shared_ptr<JournalFile> OtherImageFiles::beside(const std::string& path) {
    struct stat st = {};
    if (::stat(path.c_str(), &st) < 0) st.st_uid = owner_;
    return std::make_shared<PosixJournalFile>(journal_beside(path, st, false));
}

OtherFiles::Image OtherImageFiles::open(const std::string& path, const std::string& journal) {
    ImageFileOptions options;
    options.writable = true;
    options.settle = false;
    auto file = std::make_shared<ImageFile>(path, options);
    // Whoever may not write the other image could have written the journal.
    PosixJournalFile(journal, file->status().st_uid, file->status().st_gid).open();
    return {file, std::make_shared<RawDevice>(dup_fd(file->write_fd()), false, path),
            std::make_shared<PosixJournalFile>(file->journal_file(false))};
}

void ImageFile::check_not_changed() const {
    const struct stat now = examine(fd_.get(), path_);
    struct stat named;
    if (::stat(resolved_path_.c_str(), &named) < 0 || !same_file(named, now)) {
        throw Error(ErrorKind::kBusy, "'" + path_ +
                                          "' was replaced by another file or removed while it was open; "
                                          "nothing was changed");
    }
    if (!S_ISREG(now.st_mode)) return;
    if (now.st_size != at_open_.st_size || now.st_mtim.tv_sec != at_open_.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != at_open_.st_mtim.tv_nsec) {
        throw Error(ErrorKind::kBusy, "'" + path_ +
                                          "' was written by another program while it was open; nothing "
                                          "was changed");
    }
}

}  // namespace inspect
