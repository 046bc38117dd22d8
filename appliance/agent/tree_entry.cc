// SPDX-License-Identifier: GPL-2.0-or-later
#include "tree_entry.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "failure.h"
#include "file_stat.h"
#include "guest_tree.h"

namespace inspect::agent {

namespace {
constexpr size_t kMaxHardLinkBytes = 8 << 20;
}

std::string HardLinks::find_or_add(const struct stat& status, const std::string& path) {
    if (status.st_nlink < 2 || S_ISDIR(status.st_mode)) return {};
    auto key = std::pair(status.st_dev, status.st_ino);
    if (auto found = seen_.find(key); found != seen_.end()) return found->second;
    constexpr size_t kNodeOverhead = 100;
    if (bytes_ + path.size() + kNodeOverhead > kMaxHardLinkBytes) return {};
    bytes_ += path.size() + kNodeOverhead;
    seen_.emplace(key, path);
    return {};
}

std::string proc_path(int directory, const std::string& name) {
    return "/proc/self/fd/" + std::to_string(directory) + "/" + name;
}

void for_each_extent(int fd, uint64_t size, const std::string& path,
                     const std::function<void(uint64_t offset, uint64_t length)>& data) {
    uint64_t at = 0;
    while (at < size) {
        off_t start = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
        if (start < 0 && errno == ENXIO) return;  // a hole to the end
        if (start < 0 && errno == EINVAL) {       // a file system that knows no holes
            data(at, size - at);
            return;
        }
        if (start < 0) fail_errno("cannot read", path);
        off_t end = ::lseek(fd, start, SEEK_HOLE);
        if (end < 0) fail_errno("cannot read", path);
        uint64_t from = static_cast<uint64_t>(start);
        uint64_t to = std::min(static_cast<uint64_t>(end), size);
        // A damaged file system could stand still.
        if (from < at || to <= from) return;
        data(from, to - from);
        at = to;
    }
}

void make_node(int directory, const std::string& name, const proto::TreeEntry& entry,
               const std::string& path) {
    const proto::FileStat& stat = entry.stat();
    constexpr mode_t kPrivate = 0600;
    constexpr mode_t kPrivateDirectory = 0700;
    int result = -1;
    switch (stat.mode() & S_IFMT) {
        case S_IFDIR:
            result = ::mkdirat(directory, name.c_str(), kPrivateDirectory);
            break;
        case S_IFLNK:
            if (stat.link_target().find('\0') != std::string::npos)
                throw Failure(proto::USAGE,
                              "the target of the symbolic link " + path + " has a zero byte in it", EINVAL);
            result = ::symlinkat(stat.link_target().c_str(), directory, name.c_str());
            break;
        case S_IFIFO:
        case S_IFSOCK:
        case S_IFBLK:
        case S_IFCHR:
            result = ::mknodat(directory, name.c_str(), (stat.mode() & S_IFMT) | kPrivate,
                               makedev(stat.rdev_major(), stat.rdev_minor()));
            break;
        default:
            throw Failure(proto::USAGE, path + " has a type that no file has", EINVAL);
    }
    if (result < 0) fail_errno("cannot create", path);
}

void apply_entry_metadata(int directory, const std::string& name, const proto::TreeEntry& entry,
                          const std::string& path, const Warn& warn) {
    const proto::FileStat& stat = entry.stat();
    auto tolerate = [&](const char* what) {
        if (errno != EPERM && errno != EOPNOTSUPP)
            fail_errno(std::string("cannot set the ") + what + " of", path);
        warn(std::string("the ") + what + " of " + path + " could not be kept: " + errno_text(errno));
    };
    // The owner first: changing it takes set-id bits and file capabilities away.
    if (::fchownat(directory, name.c_str(), stat.uid(), stat.gid(), AT_SYMLINK_NOFOLLOW) < 0)
        tolerate("owner");
    write_xattrs(proc_path(directory, name).c_str(), entry.xattrs(), path, warn);
    if (S_ISLNK(stat.mode())) return;
    if (::fchmodat(directory, name.c_str(), stat.mode() & 07777, 0) < 0) tolerate("mode");
}

void apply_entry_times(int directory, const std::string& name, const proto::FileStat& stat,
                       const std::string& path) {
    timespec times[2] = {from_nanoseconds(stat.atime_ns()), from_nanoseconds(stat.mtime_ns())};
    if (::utimensat(directory, name.c_str(), times, AT_SYMLINK_NOFOLLOW) < 0)
        fail_errno("cannot set the times of", path);
}

}  // namespace inspect::agent
