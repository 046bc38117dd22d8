// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/host_tree_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "guest/names.h"
#include "guest/printable.h"
#include "guest/wire_convert.h"

namespace inspect {

namespace {

constexpr size_t kBufferSize = 256 << 10;
constexpr size_t kMaxXattrBytes = 768 << 10;  // of one entry, which must fit a frame

bool is_kept(std::string_view xattr) {
    return xattr.starts_with("user.") || xattr.starts_with("trusted.") ||
           xattr.starts_with("system.posix_acl_") || xattr == "security.capability";
}

int64_t to_ns(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

FileStat to_file_stat(const struct stat& status) {
    FileStat stat;
    stat.mode = status.st_mode;
    stat.inode = status.st_ino;
    stat.links = static_cast<uint32_t>(status.st_nlink);
    stat.uid = status.st_uid;
    stat.gid = status.st_gid;
    stat.size = static_cast<uint64_t>(status.st_size);
    stat.blocks_512 = static_cast<uint64_t>(status.st_blocks);
    stat.atime_ns = to_ns(status.st_atim);
    stat.mtime_ns = to_ns(status.st_mtim);
    stat.ctime_ns = to_ns(status.st_ctim);
    stat.rdev_major = major(status.st_rdev);
    stat.rdev_minor = minor(status.st_rdev);
    stat.device = status.st_dev;
    return stat;
}

std::string read_link(int directory, const std::string& name, const std::string& shown) {
    std::array<char, PATH_MAX> target;
    ssize_t length = readlinkat(directory, name.c_str(), target.data(), target.size());
    if (length < 0) throw Error::from_errno("cannot read the symlink " + shown, errno);
    return {target.data(), static_cast<size_t>(length)};
}

std::vector<std::string> names_in(const Fd& directory, const std::string& shown) {
    std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(directory.dup().release()), closedir);
    if (!stream) throw Error::from_errno("cannot read the directory " + shown, errno);
    std::vector<std::string> names;
    for (;;) {
        errno = 0;
        const dirent* entry = readdir(stream.get());
        if (!entry) break;
        std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) throw Error::from_errno("cannot read the directory " + shown, errno);
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace

HostTreeReader::HostTreeReader(const std::string& path, const CopyOptions& options,
                               std::function<void(const std::string&)> warn)
    : options_(options), warn_(std::move(warn)), buffer_(kBufferSize) {
    struct stat status;
    if (path.find('\0') != path.npos) throw Error(ErrorKind::kUsage, quoted(path) + " holds a NUL byte");
    if (lstat(path.c_str(), &status) != 0) throw Error::from_errno("cannot copy " + quoted(path), errno);
    // ".", "x/.." and "link/" mean what they lead to; "link" means the link.
    std::string whole = path;
    if (path.ends_with('/') || last_name(path) == "." || last_name(path) == "..") {
        std::unique_ptr<char, void (*)(void*)> real(realpath(path.c_str(), nullptr), std::free);
        if (!real) throw Error::from_errno("cannot copy " + quoted(path), errno);
        whole = real.get();
    }
    name_ = last_name(whole);
    if (!is_entry_name(name_)) {
        throw Error(ErrorKind::kUsage,
                    "cannot copy " + quoted(path) +
                        ": it has no name that it could get in the guest; copy what is in it");
    }
    parent_ = whole.substr(0, whole.size() - name_.size());
    if (parent_.empty()) parent_ = "./";
}

std::string HostTreeReader::shown(const std::string& path) const {
    return quoted(parent_ == "./" ? path : parent_ + path);
}

void HostTreeReader::done(const std::string& path) {
    if (options_.on_entry) options_.on_entry(path);
}

void HostTreeReader::send(Connection::Upload& upload) {
    upload_ = &upload;
    Fd parent = open_file(parent_, O_RDONLY | O_DIRECTORY);
    send_entry(parent.get(), name_, name_);
}

bool HostTreeReader::send_entry(int directory, const std::string& name, const std::string& path) {
    struct stat status;
    if (fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        throw Error::from_errno("cannot look at " + shown(path), errno);
    if (S_ISSOCK(status.st_mode)) {
        warn_(shown(path) + " was left out: it is a socket");
        return true;
    }
    Fd opened;
    if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) {
        opened = open_entry(directory, name, status, path);
        if (fstat(opened.get(), &status) != 0)
            throw Error::from_errno("cannot look at " + shown(path), errno);
    }
    proto::Item item;
    proto::TreeEntry& entry = *item.mutable_tree_entry();
    entry.set_path(path);
    FileStat stat = to_file_stat(status);
    if (S_ISLNK(status.st_mode)) stat.link_target = read_link(directory, name, shown(path));
    to_wire(stat, *entry.mutable_stat());
    if (link_to_earlier(status, path, entry)) {
        bool more = upload_->item(item);
        done(path);
        return more;
    }
    if (options_.preserve_xattrs) {
        if (opened) {
            add_xattrs("/proc/self/fd/" + std::to_string(opened.get()), true, path, entry);
        } else {
            add_xattrs("/proc/self/fd/" + std::to_string(directory) + "/" + name, false, path, entry);
        }
    }
    if (S_ISDIR(status.st_mode)) return send_directory(opened, path, item);
    if (!upload_->item(item)) return false;
    if (S_ISREG(status.st_mode) && !send_file(opened, status, path)) return false;
    done(path);
    return true;
}

Fd HostTreeReader::open_entry(int directory, const std::string& name, const struct stat& expected,
                              const std::string& path) {
    // O_NONBLOCK: should it have become a FIFO meanwhile, nobody must wait for its writer.
    Fd opened(openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!opened) throw Error::from_errno("cannot open " + shown(path) + " for reading", errno);
    struct stat status;
    if (fstat(opened.get(), &status) != 0) throw Error::from_errno("cannot look at " + shown(path), errno);
    if (status.st_dev != expected.st_dev || status.st_ino != expected.st_ino ||
        (status.st_mode & S_IFMT) != (expected.st_mode & S_IFMT))
        throw Error(ErrorKind::kBusy, shown(path) + " was replaced while it was being copied");
    return opened;
}

bool HostTreeReader::link_to_earlier(const struct stat& status, const std::string& path,
                                     proto::TreeEntry& entry) {
    if (S_ISDIR(status.st_mode) || status.st_nlink < 2) return false;
    auto [link, first] = links_.try_emplace({status.st_dev, status.st_ino}, path);
    if (!first) entry.set_hard_link_to(link->second);
    return !first;
}

bool HostTreeReader::send_directory(const Fd& directory, const std::string& path, proto::Item& item) {
    if (!upload_->item(item)) return false;
    done(path);
    for (const std::string& name : names_in(directory, shown(path)))
        if (!send_entry(directory.get(), name, path + "/" + name)) return false;
    return true;
}

// ---- contents

bool HostTreeReader::send_file(const Fd& file, const struct stat& status, const std::string& path) {
    uint64_t size = static_cast<uint64_t>(status.st_size);
    for (uint64_t at = 0; at < size;) {
        off_t data = lseek(file.get(), static_cast<off_t>(at), SEEK_DATA);
        off_t hole = static_cast<off_t>(size);
        if (data < 0 && errno == ENXIO) return send_hole(size);  // nothing but a hole is left
        if (data < 0) {
            data = static_cast<off_t>(at);  // the file system can't tell: all is data
        } else {
            hole = lseek(file.get(), data, SEEK_HOLE);
            if (hole <= data) hole = static_cast<off_t>(size);
        }
        uint64_t begin = std::min(static_cast<uint64_t>(data), size);
        uint64_t end = std::min(static_cast<uint64_t>(hole), size);
        if (begin > at && !send_hole(begin)) return false;
        if (!send_data(file, begin, end, path)) return false;
        at = end;
    }
    return true;
}

bool HostTreeReader::send_hole(uint64_t offset) {
    proto::Item item;
    item.mutable_seek()->set_offset(offset);
    return upload_->item(item);
}

// What a growing file gets after its size was taken is left out; a shrinking one is an error.
bool HostTreeReader::send_data(const Fd& file, uint64_t begin, uint64_t end, const std::string& path) {
    std::string what = "cannot read " + shown(path);
    while (begin < end) {
        auto piece = std::span(buffer_).first(std::min<uint64_t>(buffer_.size(), end - begin));
        if (pread_full(file.get(), piece, begin, what.c_str()) < piece.size())
            throw Error(ErrorKind::kBusy, shown(path) + " became shorter while it was being copied");
        if (!upload_->data(piece)) return false;
        begin += piece.size();
    }
    return true;
}

// ---- attributes

void HostTreeReader::add_xattrs(const std::string& proc_path, bool follow, const std::string& path,
                                proto::TreeEntry& entry) {
    auto list = follow ? listxattr : llistxattr;
    auto get = follow ? getxattr : lgetxattr;
    std::vector<char> names(XATTR_LIST_MAX);
    ssize_t length = list(proc_path.c_str(), names.data(), names.size());
    if (length < 0) {
        if (errno != EOPNOTSUPP) warn_("the extended attributes of " + shown(path) + " could not be read");
        return;
    }
    size_t total = 0;
    std::string_view rest(names.data(), static_cast<size_t>(length));
    for (size_t end; (end = rest.find('\0')) != rest.npos; rest.remove_prefix(end + 1)) {
        std::string name(rest.substr(0, end));
        if (!is_kept(name)) continue;
        std::string value(XATTR_SIZE_MAX, '\0');
        ssize_t size = get(proc_path.c_str(), name.c_str(), value.data(), value.size());
        if (size >= 0) total += name.size() + static_cast<size_t>(size) + 16;
        if (size < 0 || total > kMaxXattrBytes) {
            warn_("the extended attribute " + quoted(name) + " of " + shown(path) + " could not be kept");
            continue;
        }
        value.resize(static_cast<size_t>(size));
        proto::Xattr& xattr = *entry.add_xattrs();
        xattr.set_name(name);
        xattr.set_value(std::move(value));
    }
}

}  // namespace inspect
