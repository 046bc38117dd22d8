// SPDX-License-Identifier: GPL-2.0-or-later
//
// xfsdump and xfsrestore know all that XFS keeps of a file: owners, modes, times, extended attributes and
// with them ACLs and labels, hard links, holes, devices, sockets, project numbers, flags such as immutable.
// tar doesn't know the last three. Inode numbers, times of change (ctime), and the times of
// symbolic links and of the root are new afterwards.
#include "recreate.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>

#include "base/checked.h"
#include "failure.h"
#include "programs.h"
#include "xfs_recreate.h"

namespace inspect::agent {

namespace {

// Where the dump is: a part of a disk, written from its start on.
class Room {
  public:
    Room(const Disk& disk, uint64_t start)
        : fd_(open_file(disk.node, O_RDWR)), start_(start), at_(start), end_(disk.size) {
        if (start > end_) throw Failure(proto::USAGE, "there is no such room on " + disk.name, EINVAL);
    }

    void append(std::string_view bytes) {
        if (!range_fits(at_, bytes.size(), end_))
            throw Failure(proto::NO_SPACE, "the dump of the file system is larger than was to be expected");
        while (!bytes.empty()) {
            const ssize_t written = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at_));
            if (written < 0) fail_errno("cannot write", "the dump of the file system");
            at_ += static_cast<uint64_t>(written);
            bytes.remove_prefix(static_cast<size_t>(written));
        }
    }
    // For a program that reads it from its standard input. What follows the dump isn't asked for.
    int from_start() {
        if (::lseek(fd_.get(), static_cast<off_t>(start_), SEEK_SET) < 0)
            fail_errno("cannot read", "the dump");
        return fd_.get();
    }

  private:
    Fd fd_;
    uint64_t start_;
    uint64_t at_;
    uint64_t end_;
};

std::array<uint8_t, kXfsSuperblockSize> read_superblock(const Volume& volume) {
    std::array<uint8_t, kXfsSuperblockSize> bytes;
    const Fd fd = open_file(volume.node, O_RDONLY);
    if (::pread(fd.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
        fail_errno("cannot read", volume.device);
    return bytes;
}

uint64_t inodes_in_use(const std::string& path) {
    struct statvfs status;
    if (::statvfs(path.c_str(), &status) < 0) fail_errno("cannot look at", path);
    return status.f_files - status.f_ffree;
}

void require_success(const ChildResult& result, const std::string& program, const Volume& volume) {
    if (!result.succeeded())
        throw Failure(proto::INTERNAL,
                      "cannot make the XFS on " + volume.device + " anew: " + result.describe(program));
}

}  // namespace

void recreate_xfs(const ResizeContext& context, Volume& volume, uint64_t size, const Disk& disk,
                  uint64_t room_start) {
    // What it can't be made anew with is to be found now, not after the dump.
    mkfs_xfs_like(read_superblock(volume), volume.node, size);
    Programs programs(context.connection);
    Room room(disk, room_start);
    uint64_t inodes = 0;
    with_mounted(context.mounts, volume, true, [&](const std::string& path) {
        inodes = inodes_in_use(path);
        // No inventory; the session and the medium want a name, or it would ask for one.
        const Fd nothing = open_file("/dev/null", O_RDONLY);
        require_success(run_child(context.connection,
                                  {"/usr/sbin/xfsdump", "-J", "-v", "silent", "-l", "0", "-L", "resize", "-M",
                                   "resize", "-", path},
                                  nothing.get(), [&](std::string_view bytes) { room.append(bytes); }),
                        "xfsdump", volume);
    });
    // After the mount, which replays the log.
    require(programs.run(mkfs_xfs_like(read_superblock(volume), volume.node, size)),
            "make an XFS on " + volume.device);
    volume.superblock.reset();
    with_mounted(context.mounts, volume, false, [&](const std::string& path) {
        require_success(
            run_child(context.connection, {"/usr/sbin/xfsrestore", "-J", "-v", "silent", "-F", "-", path},
                      room.from_start(), [](std::string_view) {}),
            "xfsrestore", volume);
    });
    // Mounted anew: inodes that the program removed count until the kernel has got round to them.
    with_mounted(context.mounts, volume, true, [&](const std::string& path) {
        if (const uint64_t found = inodes_in_use(path); found != inodes)
            throw Failure(proto::INTERNAL, "the XFS on " + volume.device + " was made anew, but of " +
                                               std::to_string(inodes) + " inodes " + std::to_string(found) +
                                               " came back");
    });
}

}  // namespace inspect::agent
