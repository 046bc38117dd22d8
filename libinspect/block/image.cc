// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/image.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <inspect/error.h>

#include "base/log.h"
#include "block/format.h"
#include "block/overlay.h"
#include "block/raw.h"

namespace inspect {

namespace {

constexpr uint64_t kSectorSize = 512;

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
Fd reopen_read_only(const Fd& fd, const std::string& path) {
    int again = ::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_RDONLY | O_CLOEXEC);
    if (again >= 0) return Fd(again);
    Fd by_path = open_file(path, O_RDONLY);  // a system without /proc
    if (!same_file(examine(fd.get(), path), examine(by_path.get(), path))) {
        throw Error(ErrorKind::kBusy, "'" + path + "' was replaced while it was being opened; try again");
    }
    return by_path;
}

}  // namespace

ImageFormat parse_image_format(std::string_view name) {
    if (name == "raw") return ImageFormat::kRaw;
    constexpr std::string_view kKnown[] = {"qcow2", "qcow", "vmdk",      "vhdx", "vdi",
                                           "vpc",   "qed",  "parallels", "luks"};
    if (std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown)) {
        throw Error(ErrorKind::kUnsupported, "images of the format " + std::string(name) +
                                                 " can't be opened by this version, only raw ones");
    }
    throw Error(ErrorKind::kUsage, "there is no image format '" + std::string(name) + "'; use raw");
}

std::unique_ptr<Image> Image::open(const std::string& path, const ImageOptions& options) {
    std::unique_ptr<Image> image(new Image);
    image->path_ = path;
    image->writable_ = options.writable;
    image->open_file_at_path();
    image->lock_.emplace(image->image_fd_.get(), options.writable ? LockMode::kWrite : LockMode::kRead, path);
    bool show_journal = false;
    image->settle_journal(show_journal);
    image->size_ = file_or_device_size(image->image_fd_.get(), path);
    image->at_open_ = examine(image->image_fd_.get(), path);
    image->settle_format(options);
    OverlayStore::Options store{options.memory_limit, {}};
    if (options.writable) store.spill_directories.push_back(directory_of(image->resolved_path_));
    image->overlay_ = std::make_shared<OverlayStore>(OverlayStore::create(image->size_, store));
    if (show_journal) image->show_unfinished_change();
    if (options.writable) image->read_fd_ = reopen_read_only(image->image_fd_, image->resolved_path_);
    return image;
}

void Image::open_file_at_path() {
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
    image_fd_.reset(::open(resolved_path_.c_str(), flags));
    if (!image_fd_) {
        const int saved = errno;
        if (saved == EBUSY) {
            throw Error(ErrorKind::kBusy,
                        "the block device '" + path_ +
                            "' is in use by this host, perhaps mounted; release it to change it");
        }
        throw Error::from_errno("cannot open '" + path_ + "' for " + (writable_ ? "writing" : "reading"),
                                saved, ErrorKind::kCorrupt);
    }
    st = examine(image_fd_.get(), path_);
    require_image_file(st, path_);
    if (S_ISBLK(st.st_mode)) {
        int bytes = 0;
        if (::ioctl(image_fd_.get(), BLKSSZGET, &bytes) == 0 && bytes >= 512) {
            logical_block_size_ = static_cast<uint32_t>(bytes);
        }
    } else if (writable_ && !directory_is_writable(directory_of(resolved_path_))) {
        throw Error(ErrorKind::kDenied,
                    "cannot change '" + path_ + "' safely, because its directory '" +
                        directory_of(resolved_path_) +
                        "' may not be written, where the journal of a change has its place");
    }
}

PosixJournalFile Image::journal_file(bool create_directory) const {
    const struct stat st = examine(image_fd_.get(), path_);
    std::optional<dev_t> device;
    if (S_ISBLK(st.st_mode)) device = st.st_rdev;
    return PosixJournalFile(journal_path(resolved_path_, device, create_directory), st.st_uid, st.st_gid);
}

// Sets show_journal when there is a committed journal that can't be finished here and now. The lock says that
// nobody else is about to write, so whatever journal there is was left by somebody who is gone.
void Image::settle_journal(bool& show_journal) {
    PosixJournalFile journal = journal_file(false);
    const JournalState state = JournalReader(journal).state();
    if (state == JournalState::kNone) return;
    const bool name_can_go = directory_is_writable(directory_of(journal.name()));
    if (state == JournalState::kUncommitted && !writable_) {
        // Other readers may be about to do the same; what counts is that it is gone, or means nothing.
        if (!name_can_go) return;
        journal.remove();
        recovery_ = Recovery::kDiscarded;
        return;
    }
    Fd writer = writable_ ? image_fd_.dup() : Fd(::open(resolved_path_.c_str(), O_RDWR | O_CLOEXEC));
    const bool right_file =
        writer && same_file(examine(writer.get(), path_), examine(image_fd_.get(), path_));
    if (!right_file || !name_can_go || !lock_->try_change(LockMode::kWrite)) {
        if (writable_) {
            throw Error(ErrorKind::kDenied, "a change to '" + path_ +
                                                "' that was cut short can't be finished, as the "
                                                "journal '" +
                                                journal.name() + "' may not be removed");
        }
        show_journal = true;
        return;
    }
    RawDevice device(std::move(writer), false, path_);
    recovery_ = recover(device, journal);
    log(LogLevel::kVerbose, "a change to '" + path_ + "' that was cut short was " +
                                (recovery_ == Recovery::kFinished ? "finished" : "discarded"));
    if (!writable_) lock_->try_change(LockMode::kRead);
}

// The image as it will be when somebody who may finishes the change.
void Image::show_unfinished_change() {
    PosixJournalFile journal = journal_file(false);
    JournalReader reader(journal);
    if (reader.state() != JournalState::kCommitted) return;
    auto below = std::make_unique<RawDevice>(image_fd_.dup(), true, path_);
    reader.verify(*below);
    Overlay overlay(std::move(below), overlay_);
    reader.apply(overlay);
    log(LogLevel::kVerbose, "a change to '" + path_ + "' that was cut short is shown, but not finished");
}

void Image::settle_format(const ImageOptions& options) {
    detected_ = !options.format;
    if (size_ == 0) throw Error(ErrorKind::kCorrupt, "'" + path_ + "' is empty, not a disk image");
    if (detected_) {
        std::array<std::byte, kSectorSize> sector;
        const size_t n = pread_full(image_fd_.get(), sector, 0, ("cannot read '" + path_ + "'").c_str());
        if (auto format = foreign_format(std::span(sector).first(n))) {
            throw Error(
                ErrorKind::kUnsupported,
                "'" + path_ + "' is a " + std::string(*format) +
                    " image; this version opens raw images only; convert it with 'qemu-img convert -O raw', "
                    "or give --format=raw to treat its bytes as a disk's");
        }
    }
    if (size_ < kSectorSize) {
        throw Error(ErrorKind::kCorrupt,
                    "'" + path_ + "' has only " + std::to_string(size_) + " bytes, too few for a disk image");
    }
}

void Image::check_not_changed() const {
    const struct stat now = examine(image_fd_.get(), path_);
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

bool Image::commit() {
    if (!writable_) throw Error(ErrorKind::kDenied, "'" + path_ + "' was not opened for writing");
    if (committed_) throw Error(ErrorKind::kUsage, "the changes to '" + path_ + "' were committed already");
    if (overlay_->empty()) return false;
    check_not_changed();
    RawDevice device(image_fd_.dup(), false, path_);
    PosixJournalFile journal = journal_file(true);
    committed_ = true;
    return inspect::commit(*overlay_, device, journal, {.protect_first_sector = detected_});
}

}  // namespace inspect
