// SPDX-License-Identifier: GPL-2.0-or-later
#include "file_stat.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <climits>

#include "failure.h"

namespace inspect::agent {

namespace {
constexpr int64_t kNsPerSecond = 1'000'000'000;
}

int64_t to_nanoseconds(const timespec& time) {
    int64_t ns;
    if (__builtin_mul_overflow(static_cast<int64_t>(time.tv_sec), kNsPerSecond, &ns) ||
        __builtin_add_overflow(ns, static_cast<int64_t>(time.tv_nsec), &ns))
        return time.tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

timespec from_nanoseconds(int64_t ns) {
    int64_t seconds = ns / kNsPerSecond;
    int64_t rest = ns % kNsPerSecond;
    if (rest < 0) {
        rest += kNsPerSecond;
        --seconds;
    }
    timespec time{};
    time.tv_sec = seconds;
    time.tv_nsec = rest;
    return time;
}

void to_proto(const struct stat& status, proto::FileStat& out) {
    out.set_mode(status.st_mode);
    out.set_inode(status.st_ino);
    out.set_links(static_cast<uint32_t>(status.st_nlink));
    out.set_uid(status.st_uid);
    out.set_gid(status.st_gid);
    out.set_size(static_cast<uint64_t>(status.st_size));
    out.set_blocks_512(static_cast<uint64_t>(status.st_blocks));
    out.set_atime_ns(to_nanoseconds(status.st_atim));
    out.set_mtime_ns(to_nanoseconds(status.st_mtim));
    out.set_ctime_ns(to_nanoseconds(status.st_ctim));
    out.set_device(status.st_dev);
    if (S_ISBLK(status.st_mode) || S_ISCHR(status.st_mode)) {
        out.set_rdev_major(major(status.st_rdev));
        out.set_rdev_minor(minor(status.st_rdev));
    }
}

std::string read_link(int directory, const char* name, const std::string& path) {
    char target[PATH_MAX];
    ssize_t size = ::readlinkat(directory, name, target, sizeof target);
    if (size < 0) fail_errno("cannot read the symbolic link", path);
    return std::string(target, static_cast<size_t>(size));
}

std::string readable_link_target(int directory, const char* name) {
    try {
        return read_link(directory, name, name);
    } catch (const Failure&) {
        return {};
    }
}

proto::FileStat stat_entry(int directory, const std::string& name, const std::string& path) {
    struct stat status;
    if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) fail_errno("cannot stat", path);
    proto::FileStat out;
    to_proto(status, out);
    if (S_ISLNK(status.st_mode)) out.set_link_target(read_link(directory, name.c_str(), path));
    return out;
}

proto::FileStat stat_handle(int fd, const std::string& path) {
    struct stat status;
    if (::fstat(fd, &status) < 0) fail_errno("cannot stat", path);
    proto::FileStat out;
    to_proto(status, out);
    if (S_ISLNK(status.st_mode)) out.set_link_target(read_link(fd, "", path));
    return out;
}

}  // namespace inspect::agent
