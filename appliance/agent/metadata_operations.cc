// SPDX-License-Identifier: GPL-2.0-or-later
//
// Chmod, Chown, Touch.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "accounts.h"
#include "file_stat.h"
#include "mode_expression.h"
#include "operations.h"
#include "walk.h"

namespace inspect::agent {

namespace {

// Walks what is below an opened directory; what can't be read fails the request.
void walk_all(const Context& context, const std::string& path,
              const std::function<void(const WalkEntry&)>& each) {
    WalkVisitor visitor;
    visitor.enter = [&](const WalkEntry& entry) {
        each(entry);
        context.connection.check_cancelled();
        return true;
    };
    visitor.error = [](const std::string&, const std::string& why, int errnum) {
        throw Failure(errno_kind(errnum), why, errnum);
    };
    Fd directory = context.tree.open(path, O_RDONLY | O_DIRECTORY);
    context.tree.settle_below(directory.get());
    walk(std::move(directory), path, visitor);
}

uid_t or_keep(std::optional<uint32_t> id) { return id.value_or(static_cast<uint32_t>(-1)); }

}  // namespace

void change_mode(const Context& context, const proto::Chmod& request) {
    ModeExpression expression(request.mode());
    const std::string& path = request.path();
    Fd handle = context.tree.open_path(path, true);
    struct stat status;
    if (::fstat(handle.get(), &status) < 0) fail_errno("cannot stat", path);
    if (::chmod(FdPath(handle.get()).c_str(), expression.apply(status.st_mode)) < 0)
        fail_errno("cannot change the mode of", path);
    if (!request.recursive() || !S_ISDIR(status.st_mode)) return;
    walk_all(context, path, [&](const WalkEntry& entry) {
        if (entry.type == DT_LNK) return;
        struct stat found;
        if (::fstatat(entry.directory, entry.name.c_str(), &found, AT_SYMLINK_NOFOLLOW) < 0 ||
            ::fchmodat(entry.directory, entry.name.c_str(), expression.apply(found.st_mode), 0) < 0)
            fail_errno("cannot change the mode of", join(path, entry.path));
    });
}

void change_owner(const Context& context, const proto::Chown& request) {
    Owner owner = parse_owner(context.tree, request.owner());
    const std::string& path = request.path();
    // With -R nothing is dereferenced below the top, and, as chown(1) does it, not the top either.
    Fd handle = context.tree.open_path(path, !request.no_dereference() && !request.recursive());
    struct stat status;
    if (::fstat(handle.get(), &status) < 0) fail_errno("cannot stat", path);
    if (::fchownat(handle.get(), "", or_keep(owner.uid), or_keep(owner.gid), AT_EMPTY_PATH) < 0)
        fail_errno("cannot change the owner of", path);
    if (!request.recursive() || !S_ISDIR(status.st_mode)) return;
    walk_all(context, path, [&](const WalkEntry& entry) {
        if (::fchownat(entry.directory, entry.name.c_str(), or_keep(owner.uid), or_keep(owner.gid),
                       AT_SYMLINK_NOFOLLOW) < 0)
            fail_errno("cannot change the owner of", join(path, entry.path));
    });
}

void touch(const Context& context, const proto::Touch& request) {
    std::string path = request.path();
    Fd handle = context.tree.try_open(path, O_PATH);
    if (!handle) {
        if (errno != ENOENT) fail_errno("cannot touch", path);
        if (request.no_create()) return;
        // Where a dangling symlink leads, as touch(1) has it.
        GuestTree::Place place = context.tree.followed_place(path, "cannot touch");
        constexpr mode_t kNewFile = 0644;
        int fd = ::openat(place.directory.get(), place.name.c_str(),
                          O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kNewFile);
        if (fd < 0) fail_errno("cannot create", path);
        handle = Fd(fd);
    }
    timespec now{};
    now.tv_nsec = UTIME_NOW;
    timespec time = request.has_time_ns() ? from_nanoseconds(request.time_ns()) : now;
    timespec omit{};
    omit.tv_nsec = UTIME_OMIT;
    bool both = !request.access() && !request.modification();
    timespec times[2] = {both || request.access() ? time : omit,
                         both || request.modification() ? time : omit};
    if (::utimensat(AT_FDCWD, FdPath(handle.get()).c_str(), times, 0) < 0)
        fail_errno("cannot change the times of", path);
}

}  // namespace inspect::agent
