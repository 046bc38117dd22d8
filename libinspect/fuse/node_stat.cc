// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/node_stat.h"

#include <sys/sysmacros.h>

#include <cerrno>
#include <climits>

namespace inspect::fuse {

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr uint32_t kBlockSize = 4096;
constexpr uint32_t kLastErrno = 133;  // EHWPOISON: the kernel's own ones begin at 512

timespec to_timespec(int64_t ns) {
    timespec time{};
    time.tv_sec = ns / kNsPerSecond;
    time.tv_nsec = ns % kNsPerSecond;
    if (time.tv_nsec < 0) {
        time.tv_nsec += kNsPerSecond;
        --time.tv_sec;
    }
    return time;
}

bool is_type(uint32_t mode) {
    switch (mode & S_IFMT) {
        case S_IFREG:
        case S_IFDIR:
        case S_IFLNK:
        case S_IFBLK:
        case S_IFCHR:
        case S_IFIFO:
        case S_IFSOCK:
            return (mode & ~uint32_t{S_IFMT | 07777}) == 0;
        default:
            return false;
    }
}

}  // namespace

bool is_link_target(const std::string& target) {
    return !target.empty() && target.size() <= kMostLinkTarget && target.find('\0') == target.npos;
}

std::optional<NodeStat> checked_stat(const proto::FileStat& wire) {
    if (!is_type(wire.mode()) || wire.inode() == 0 || wire.size() > INT64_MAX ||
        wire.blocks_512() > INT64_MAX)
        return std::nullopt;
    NodeStat result;
    result.device = wire.device();
    result.inode = wire.inode();
    // What is none is asked for when it is needed, and that fails.
    if (is_link_target(wire.link_target())) result.link_target = wire.link_target();
    struct stat& out = result.attributes;
    out.st_mode = wire.mode();
    out.st_nlink = wire.links();
    out.st_uid = wire.uid();
    out.st_gid = wire.gid();
    out.st_rdev = makedev(wire.rdev_major(), wire.rdev_minor());
    out.st_size = static_cast<off_t>(wire.size());
    out.st_blksize = kBlockSize;
    out.st_blocks = static_cast<blkcnt_t>(wire.blocks_512());
    out.st_atim = to_timespec(wire.atime_ns());
    out.st_mtim = to_timespec(wire.mtime_ns());
    out.st_ctim = to_timespec(wire.ctime_ns());
    return result;
}

int errno_of(const proto::Response::Failure& failure) {
    uint32_t number = failure.errnum();
    // To the kernel ENOSYS means "never ask again", and that isn't the guest's to decide.
    if (number == ENOSYS) return EOPNOTSUPP;
    return number >= 1 && number <= kLastErrno ? static_cast<int>(number) : EIO;
}

}  // namespace inspect::fuse
