// SPDX-License-Identifier: GPL-2.0-or-later
//
// Operations of the open tree on attributes.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "failure.h"
#include "file_stat.h"
#include "open_tree.h"

namespace inspect::agent {

namespace {

using Object = OpenTree::Object;

constexpr size_t kMaxValue = 64 << 10;  // XATTR_SIZE_MAX and XATTR_LIST_MAX

void answer_stat(const Context& context, const Object& object) {
    *context.response.mutable_stat() = tree_stat_of(object.directory.get(), object.name);
}

void change_mode(const Object& object, mode_t mode) {
    if (!object.name.empty())
        return must(::fchmodat(object.directory.get(), object.name.c_str(), mode, 0), "change the mode");
    // By /proc, because an O_PATH descriptor has no fchmod().
    must(::chmod(object.proc_path().c_str(), mode), "change the mode");
}

// An absent time stays as it is.
timespec time_to_set(bool now, bool given, int64_t ns) {
    timespec time{};
    time.tv_nsec = now ? UTIME_NOW : UTIME_OMIT;
    return !now && given ? from_nanoseconds(ns) : time;
}

}  // namespace

void tree_stat(const Context& context, OpenTree& tree, const proto::TreeStat& request) {
    answer_stat(context, tree.object(request.place()));
}

void tree_change(const Context& context, OpenTree& tree, const proto::TreeChange& request) {
    if (request.has_size()) {
        OpenTree::Handle file = tree.file(request.place());
        must(::ftruncate(file.get(), static_cast<off_t>(request.size())), "change the size");
    }
    Object object = tree.object(request.place());
    if (request.has_uid() || request.has_gid()) {
        uid_t uid = request.has_uid() ? request.uid() : static_cast<uid_t>(-1);
        gid_t gid = request.has_gid() ? request.gid() : static_cast<gid_t>(-1);
        must(::fchownat(object.directory.get(), object.name.c_str(), uid, gid, object.at_flags()),
             "change the owner");
    }
    // After the owner, whose change takes the set-id bits away.
    if (request.has_mode()) change_mode(object, request.mode() & 07777);
    timespec times[2] = {time_to_set(request.atime_now(), request.has_atime_ns(), request.atime_ns()),
                         time_to_set(request.mtime_now(), request.has_mtime_ns(), request.mtime_ns())};
    if (times[0].tv_nsec != UTIME_OMIT || times[1].tv_nsec != UTIME_OMIT)
        must(::utimensat(object.directory.get(), object.name.c_str(), times, object.at_flags()),
             "change the times");
    answer_stat(context, object);
}

void tree_read_link(const Context& context, OpenTree& tree, const proto::TreeReadLink& request) {
    Object object = tree.object(request.place());
    context.response.set_value(read_link(object.directory.get(), object.name.c_str(), object.name));
}

void tree_get_xattr(const Context& context, OpenTree& tree, const proto::TreeGetXattr& request) {
    Object object = tree.object(request.place());
    std::string path = object.proc_path();
    bool follow = object.name.empty();
    auto list = [&](char* names, size_t size) {
        return follow ? ::listxattr(path.c_str(), names, size) : ::llistxattr(path.c_str(), names, size);
    };
    std::string value(kMaxValue, '\0');
    ssize_t size;
    if (request.name().empty()) {
        size = list(value.data(), value.size());
        if (size < 0 && errno == EOPNOTSUPP) size = 0;
    } else {
        const char* name = request.name().c_str();
        size = follow ? ::getxattr(path.c_str(), name, value.data(), value.size())
                      : ::lgetxattr(path.c_str(), name, value.data(), value.size());
        if (size < 0 && (errno == ENODATA || errno == EOPNOTSUPP)) {
            // The host needn't ask again when there are none at all.
            ssize_t names = list(nullptr, 0);
            context.response.set_no_xattrs(names == 0);
            return;
        }
    }
    if (size < 0) throw Failure::from_errno("read extended attributes", errno);
    if (request.name().empty() && size == 0) context.response.set_no_xattrs(true);
    value.resize(static_cast<size_t>(size));
    context.response.set_value(std::move(value));
}

void tree_set_xattr(const Context&, OpenTree& tree, const proto::TreeSetXattr& request) {
    Object object = tree.object(request.place());
    std::string path = object.proc_path();
    bool follow = object.name.empty();
    const char* name = request.name().c_str();
    if (request.remove())
        return must(follow ? ::removexattr(path.c_str(), name) : ::lremovexattr(path.c_str(), name),
                    "remove an extended attribute");
    const std::string& value = request.value();
    auto flags = static_cast<int>(request.flags());
    must(follow ? ::setxattr(path.c_str(), name, value.data(), value.size(), flags)
                : ::lsetxattr(path.c_str(), name, value.data(), value.size(), flags),
         "set an extended attribute");
}

void tree_statfs(const Context& context, OpenTree& tree, const proto::TreeStatfs& request) {
    Object object = tree.object(request.place());
    // Of the object itself: another file system may be mounted on it.
    Fd itself;
    if (!object.name.empty()) {
        itself = Fd(::openat(object.directory.get(), object.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
        must(itself.get(), "open");
    }
    struct statvfs status;
    must(::fstatvfs(itself ? itself.get() : object.directory.get(), &status),
         "ask for the file system's room");
    proto::FilesystemStat& out = *context.response.mutable_filesystem_stat();
    out.set_block_size(static_cast<uint32_t>(status.f_frsize ? status.f_frsize : status.f_bsize));
    out.set_blocks(status.f_blocks);
    out.set_blocks_free(status.f_bfree);
    out.set_blocks_available(status.f_bavail);
    out.set_files(status.f_files);
    out.set_files_free(status.f_ffree);
    out.set_name_max(static_cast<uint32_t>(status.f_namemax));
}

}  // namespace inspect::agent
