// SPDX-License-Identifier: GPL-2.0-or-later
#include "attributes.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "failure.h"
#include "guest_tree.h"

namespace inspect::agent {

namespace {
// The kernel's bounds, XATTR_LIST_MAX and XATTR_SIZE_MAX.
constexpr size_t kMaxList = 64 << 10;
constexpr size_t kMaxValue = 64 << 10;
// All of one file's, so that an entry of a tree stays well below a frame.
constexpr size_t kMaxAll = 512 << 10;

// "/proc/self/fd/N" is a link itself, and only following it leads to the file; of any other path the last
// component is not followed.
bool is_handle(const char* path) {
    constexpr size_t kPrefix = 14;
    return std::strncmp(path, "/proc/self/fd/", kPrefix) == 0 && !std::strchr(path + kPrefix, '/');
}

}  // namespace

google::protobuf::RepeatedPtrField<proto::Xattr> read_xattrs(const char* proc_path, const std::string& path) {
    google::protobuf::RepeatedPtrField<proto::Xattr> result;
    bool handle = is_handle(proc_path);
    // Mostly there are none: asked for the size first, that is one call.
    ssize_t size = handle ? ::listxattr(proc_path, nullptr, 0) : ::llistxattr(proc_path, nullptr, 0);
    if (size == 0 || (size < 0 && errno == EOPNOTSUPP)) return result;
    std::string names(kMaxList, '\0');
    size = handle ? ::listxattr(proc_path, names.data(), names.size())
                  : ::llistxattr(proc_path, names.data(), names.size());
    if (size < 0) fail_errno("cannot list the extended attributes of", path);
    std::string value(kMaxValue, '\0');
    size_t all = 0;
    for (const char* name = names.data(); name < names.data() + size; name += std::strlen(name) + 1) {
        ssize_t length = handle ? ::getxattr(proc_path, name, value.data(), value.size())
                                : ::lgetxattr(proc_path, name, value.data(), value.size());
        if (length < 0 && (errno == ENODATA || errno == EOPNOTSUPP)) continue;
        if (length < 0) fail_errno("cannot read the extended attribute " + std::string(name) + " of", path);
        all += std::strlen(name) + static_cast<size_t>(length);
        if (all > kMaxAll)
            throw Failure(proto::UNSUPPORTED, path + " has more extended attributes than can be carried",
                          E2BIG);
        proto::Xattr& xattr = *result.Add();
        xattr.set_name(name);
        xattr.set_value(value.data(), static_cast<size_t>(length));
    }
    return result;
}

void write_xattrs(const char* proc_path, const google::protobuf::RepeatedPtrField<proto::Xattr>& xattrs,
                  const std::string& path, const Warn& warn) {
    bool handle = is_handle(proc_path);
    for (const proto::Xattr& xattr : xattrs) {
        const char* name = xattr.name().c_str();
        int result = handle ? ::setxattr(proc_path, name, xattr.value().data(), xattr.value().size(), 0)
                            : ::lsetxattr(proc_path, name, xattr.value().data(), xattr.value().size(), 0);
        if (result == 0) continue;
        if (errno == EOPNOTSUPP || errno == EPERM || errno == EINVAL) {
            warn("the extended attribute " + xattr.name() + " of " + path +
                 " could not be kept: " + errno_text(errno));
            continue;
        }
        fail_errno("cannot set the extended attribute " + xattr.name() + " of", path);
    }
}

void copy_attributes(int from, int to, const std::string& path, const Warn& warn) {
    struct stat status;
    if (::fstat(from, &status) < 0) fail_errno("cannot stat", path);
    // The owner first: changing it takes the set-id bits and file capabilities away.
    if (::fchown(to, status.st_uid, status.st_gid) < 0) {
        if (errno != EPERM && errno != EOPNOTSUPP) fail_errno("cannot set the owner of", path);
        warn("the owner of " + path + " could not be kept: " + errno_text(errno));
    }
    write_xattrs(FdPath(to).c_str(), read_xattrs(FdPath(from).c_str(), path), path, warn);
    // Last, because an ACL brings its own idea of the mode's group bits, which this one agrees with.
    if (::fchmod(to, status.st_mode & 07777) < 0) {
        if (errno != EPERM && errno != EOPNOTSUPP) fail_errno("cannot set the mode of", path);
        warn("the mode of " + path + " could not be kept: " + errno_text(errno));
    }
}

}  // namespace inspect::agent
