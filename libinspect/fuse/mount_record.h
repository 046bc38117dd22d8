// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How `insp umount` finds the process of a mount, and hears what became of it.
//
// A process that shows a tree listens on a Unix socket, whose name is made from the mount point's:
//
//     $XDG_RUNTIME_DIR/libinspect/mount-<hash of the mount point>.sock      (or /tmp/libinspect-<uid>/...)
//
// A client connects and sends one message: "unmount", "lazy" or "wait". The answer, one message, comes when
// all is over: "changed", "unchanged", or the kind of an error, a newline and its message. A mount point that
// is in use is answered at once, by "busy". At the end the answer is also left in a file beside the socket
// (.result), for one that comes later; who has heard it removes it, or else the next mount there does.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <inspect/error.h>
#include <inspect/host_mount.h>

#include "base/fd.h"

namespace inspect::fuse {

// What became of a mount: true when an image changed, or the error.
struct MountResult {
    bool changed = false;
    std::optional<Error> error;
};

std::string encode_result(const MountResult& result);
std::optional<MountResult> decode_result(const std::string& text);

// The mount point as the host's kernel spells it. The last component is not looked at where that fails: a
// dead mount can't be. Throws Error(kNotFound).
std::string canonical_mount_point(const std::string& directory);

// The side of the process that has the mount. Not thread-safe.
class MountRecord {
  public:
    // Throws Error; kBusy when another process has a mount there.
    explicit MountRecord(const std::string& mount_point);
    ~MountRecord();
    MountRecord(const MountRecord&) = delete;
    MountRecord& operator=(const MountRecord&) = delete;

    enum class Wish { kNone, kUnmount, kLazy };
    struct Client {
        Fd socket;
        std::optional<Wish> wish = {};  // none: it hasn't asked yet
    };
    // To poll: the listening socket, then the clients'.
    std::vector<int> descriptors() const;
    // Accepts who is there, and reads what they ask. What those want who have asked now.
    Wish serve();
    // Somebody waits who asked for a lazy unmount.
    bool wants_lazy() const;
    // Tells those who asked to unmount, and those who did lazily as well where that was tried, that it can't
    // be; they are gone then. Who waits goes on waiting.
    void refuse(const std::string& why, bool lazy);
    // It is over.
    void finish(const MountResult& result);

  private:
    std::string path_;  // without the suffix
    Fd listener_;
    std::vector<Client> clients_;
};

// The side of `insp umount`: asks and waits. nullopt when no process has a mount there.
std::optional<MountResult> ask_mount(const std::string& mount_point, const UnmountOptions& options);

}  // namespace inspect::fuse
