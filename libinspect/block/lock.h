// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Locks on an image that QEMU understands.
//
// QEMU (block/file-posix.c) says what it does with an image, and what it lets others do, by locks on single
// bytes of the file: byte 100 + p is locked while somebody uses permission p, byte 200 + p while somebody
// does not share permission p. All of them are read locks on the open file description (F_OFD_SETLK), so that
// any number of holders can state the same and a read-only descriptor will do; whoever comes locks his own
// bytes first and then tests (F_OFD_GETLK) that nobody's contradict: that no one refuses to share what he
// uses, and that no one uses what he refuses to share. Two that come at the same moment may both be refused;
// never are both let in.
//
//   kRead    uses "consistent read"; shares everything but "write" and "resize"
//   kWrite   uses "consistent read", "write" and "resize"; does not share "write" and "resize"
//
// So readers go together; a writer goes with nobody but a reader that insists (qemu-img -U); and a virtual
// machine that runs on the image counts as a writer.
#pragma once

#include <string>

namespace inspect {

enum class LockMode { kRead, kWrite };

// Holds the locks while it lives. Not thread-safe.
class ImageLock {
  public:
    // Locks the file of `fd`, which must be open for reading, stay open while this lives and not be a
    // duplicate of a descriptor that another ImageLock uses. Throws Error(kBusy) at once, naming `name`, when
    // another program's use of the image forbids it. On a file system that has no locks: kWrite throws
    // Error(kUnsupported); kRead goes on without.
    ImageLock(int fd, LockMode mode, std::string name);
    ~ImageLock();
    ImageLock(const ImageLock&) = delete;
    ImageLock& operator=(const ImageLock&) = delete;

    LockMode mode() const noexcept { return mode_; }
    // Changes the mode. False, and the old mode still holds, when others forbid the new one.
    bool try_change(LockMode mode);

  private:
    int fd_;
    LockMode mode_;
    std::string name_;
};

}  // namespace inspect
