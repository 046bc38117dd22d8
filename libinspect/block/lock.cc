// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/lock.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdint>

#include <inspect/error.h>

#include "base/log.h"

namespace inspect {

namespace {

constexpr off_t kUsedBase = 100;
constexpr off_t kUnsharedBase = 200;

enum Permission : unsigned { kConsistentRead = 1, kWriting = 2, kWriteUnchanged = 4, kResize = 8 };
constexpr unsigned kPermissions = 4;  // the bits above; QEMU's lower four

struct Stance {
    unsigned used;
    unsigned unshared;
};

constexpr Stance stance_of(LockMode mode) {
    constexpr unsigned kChanging = kWriting | kResize;
    return mode == LockMode::kRead ? Stance{kConsistentRead, kChanging}
                                   : Stance{kConsistentRead | kChanging, kChanging};
}

// 0 or an errno.
int set_byte(int fd, off_t byte, short type) {
    struct flock lock = {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    while (::fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        if (errno != EINTR) return errno;
    }
    return 0;
}

int set_bytes(int fd, off_t base, unsigned bits, bool also_unlock) {
    for (unsigned i = 0; i < kPermissions; ++i) {
        const bool wanted = bits >> i & 1;
        if (!wanted && !also_unlock) continue;
        if (int error = set_byte(fd, base + i, wanted ? F_RDLCK : F_UNLCK)) return error;
    }
    return 0;
}

int take(int fd, Stance stance, bool also_unlock) {
    if (int error = set_bytes(fd, kUsedBase, stance.used, also_unlock)) return error;
    return set_bytes(fd, kUnsharedBase, stance.unshared, also_unlock);
}

// EAGAIN when somebody else has locked one of these bytes, 0 or another errno otherwise.
int test_bytes(int fd, off_t base, unsigned bits) {
    for (unsigned i = 0; i < kPermissions; ++i) {
        if (!(bits >> i & 1)) continue;
        struct flock lock = {};
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        lock.l_start = base + i;
        lock.l_len = 1;
        if (::fcntl(fd, F_OFD_GETLK, &lock) < 0) return errno;
        if (lock.l_type != F_UNLCK) return EAGAIN;
    }
    return 0;
}

int test(int fd, Stance stance) {
    if (int error = test_bytes(fd, kUnsharedBase, stance.used)) return error;
    return test_bytes(fd, kUsedBase, stance.unshared);
}

bool is_conflict(int error) { return error == EAGAIN || error == EACCES; }

}  // namespace

ImageLock::ImageLock(int fd, LockMode mode, std::string name) : fd_(fd), mode_(mode), name_(std::move(name)) {
    int error = take(fd_, stance_of(mode), false);
    if (error == 0) error = test(fd_, stance_of(mode));
    if (error == 0) return;
    take(fd_, {0, 0}, true);
    if (is_conflict(error)) {
        throw Error(ErrorKind::kBusy,
                    mode == LockMode::kRead
                        ? "'" + name_ +
                              "' is being written by another program, perhaps a running virtual "
                              "machine; shut it down or wait for it, then try again"
                        : "'" + name_ +
                              "' is in use by another program, perhaps a running virtual machine, so "
                              "it cannot be changed; shut it down or wait for it, then try again");
    }
    if (mode == LockMode::kWrite) {
        throw Error::from_errno(ErrorKind::kUnsupported,
                                "cannot lock '" + name_ +
                                    "' against other programs, as its file system has no working file locks; "
                                    "copy the image elsewhere to change it",
                                error);
    }
    log(LogLevel::kVerbose, "'" + name_ + "' is read without a lock, as its file system has none");
}

ImageLock::~ImageLock() { take(fd_, {0, 0}, true); }

bool ImageLock::try_change(LockMode mode) {
    if (mode == mode_) return true;
    int error = take(fd_, stance_of(mode), false);  // what the old mode has is kept until the new one stands
    if (error == 0) error = test(fd_, stance_of(mode));
    if (error == 0) mode_ = mode;
    take(fd_, stance_of(mode_), true);
    return error == 0;
}

}  // namespace inspect
