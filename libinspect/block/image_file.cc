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

std::string directory_of(const std::string& path) {
    return std::filesystem::path(path).parent_path().string();
}

bool directory_is_writable(const std::string& directory) {
    return ::faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) == 0;
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
    const bool show_journal = settle_journal();
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
    const struct stat st = examine(fd_.get(), path_);
    std::optional<dev_t> device;
    if (S_ISBLK(st.st_mode)) device = st.st_rdev;
    return PosixJournalFile(journal_path(resolved_path_, device, create_directory), st.st_uid, st.st_gid);
}

// True when there is a committed journal that can't be finished here and now. The lock says that nobody else
// is about to write, so whatever journal there is was left by somebody who is gone.
bool ImageFile::settle_journal() {
    PosixJournalFile journal = journal_file(false);
    const JournalReader reader(journal);
    if (reader.state() == JournalState::kNone) return false;
    const bool committed = reader.state() == JournalState::kCommitted;
    if (!lock_) return committed;
    const bool name_can_go = directory_is_writable(directory_of(journal.name()));
    const bool grown = reader.size_to_restore(file_or_device_size(fd_.get(), path_)).has_value();
    if (!committed && !grown && !writable_) {
        // Other readers may be about to do the same; what counts is that it is gone, or means nothing.
        if (!name_can_go) return false;
        journal.remove();
        recovery_ = Recovery::kDiscarded;
        return false;
    }
    Fd writer = writable_ ? fd_.dup() : Fd(::open(resolved_path_.c_str(), O_RDWR | O_CLOEXEC));
    const bool right_file = writer && same_file(examine(writer.get(), path_), examine(fd_.get(), path_));
    if (!right_file || !name_can_go || !lock_->try_change(LockMode::kWrite)) {
        if (writable_) {
            throw Error(ErrorKind::kDenied, "a change to '" + path_ +
                                                "' that was cut short can't be finished, as the "
                                                "journal '" +
                                                journal.name() + "' may not be removed");
        }
        return committed;
    }
    RawDevice device(std::move(writer), false, path_);
    recovery_ = recover(device, journal);
    log(LogLevel::kVerbose, "a change to '" + path_ + "' that was cut short was " +
                                (recovery_ == Recovery::kFinished ? "finished" : "discarded"));
    if (!writable_) lock_->try_change(LockMode::kRead);
    return false;
}

// The image as it will be when somebody who may finishes the change.
void ImageFile::load_pending() {
    PosixJournalFile journal = journal_file(false);
    JournalReader reader(journal);
    if (reader.state() != JournalState::kCommitted) return;
    auto below = std::make_unique<RawDevice>(fd_.dup(), true, path_);
    reader.verify(*below);
    pending_ = std::make_shared<OverlayStore>(OverlayStore::create(size_, {}));
    Overlay overlay(std::move(below), pending_);
    reader.apply(overlay);
    log(LogLevel::kVerbose, "a change to '" + path_ + "' that was cut short is shown, but not finished");
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
