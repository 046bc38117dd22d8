// SPDX-License-Identifier: GPL-2.0-or-later
//
// MakeDirectory, Remove, Rename, Link.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "copy_tree.h"
#include "new_file.h"
#include "operations.h"
#include "remove_tree.h"

namespace inspect::agent {

namespace {

constexpr mode_t kNewDirectory = 0755;

// Where "mv SOURCE TO" or "ln SOURCE TO" ends: in the directory `to`, when it is one, else at `to` itself.
GuestTree::Place destination(const Context& context, const std::string& source, std::string& to,
                             const char* verb) {
    if (Fd directory = context.tree.try_open(to, O_PATH | O_DIRECTORY)) {
        std::string name(last_component(source));
        if (name.empty() || name == "." || name == "..")
            throw Failure(proto::USAGE,
                          std::string(verb) + " " + shown(source) + ": the path has no last name", EINVAL);
        to = join(to, name);
        return {std::move(directory), name};
    }
    if (!to.empty() && to.back() == '/') throw Failure::from_errno(std::string(verb) + " to " + to, ENOTDIR);
    return context.tree.place(to, std::string(verb) + " to");
}

void set_mode(const GuestTree::Place& place, mode_t mode, const std::string& path) {
    if (::fchmodat(place.directory.get(), place.name.c_str(), mode, 0) < 0)
        fail_errno("cannot change the mode of", path);
}

}  // namespace

void make_directory(const Context& context, const proto::MakeDirectory& request) {
    const std::string& path = request.path();
    if (!request.parents()) {
        GuestTree::Place place = context.tree.place(path, "cannot create the directory");
        if (::mkdirat(place.directory.get(), place.name.c_str(), kNewDirectory) < 0)
            fail_errno("cannot create the directory", path);
        if (request.has_permissions()) set_mode(place, request.permissions() & 07777, path);
        return;
    }
    for (size_t at = 0; at < path.size();) {
        size_t end = path.find('/', at);
        if (end == std::string::npos) end = path.size();
        bool empty = end == at;
        at = end + 1;
        if (empty) continue;
        std::string prefix = path.substr(0, end);
        if (context.tree.try_open(prefix, O_PATH | O_DIRECTORY)) continue;
        if (errno != ENOENT) fail_errno("cannot create the directory", prefix);
        GuestTree::Place place = context.tree.place(prefix, "cannot create the directory");
        if (::mkdirat(place.directory.get(), place.name.c_str(), kNewDirectory) < 0)
            fail_errno("cannot create the directory", prefix);
        bool last = path.find_first_not_of('/', end) == std::string::npos;
        if (last && request.has_permissions()) set_mode(place, request.permissions() & 07777, path);
    }
}

void remove(const Context& context, const proto::Remove& request) {
    const std::string& path = request.path();
    context.tree.settle_all();
    try {
        GuestTree::Place place = context.tree.place(path, "cannot remove");
        if (request.recursive()) {
            remove_tree(place, path, [&] { context.connection.check_cancelled(); });
        } else if (::unlinkat(place.directory.get(), place.name.c_str(), 0) < 0) {
            fail_errno("cannot remove", path);
        }
    } catch (const Failure& failure) {
        if (!request.force() || (failure.errnum() != ENOENT && failure.errnum() != ENOTDIR)) throw;
    }
}

void rename(const Context& context, const proto::Rename& request) {
    const std::string& from = request.from();
    std::string to = request.to();
    context.tree.settle_all();
    GuestTree::Place source = context.tree.place(from, "cannot move");
    struct stat status;
    if (::fstatat(source.directory.get(), source.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0)
        fail_errno("cannot move", from);
    GuestTree::Place target = destination(context, from, to, "cannot move");
    struct stat there;
    bool exists = ::fstatat(target.directory.get(), target.name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
    if (exists && request.no_clobber())
        throw Failure(proto::USAGE, "cannot move " + from + ": " + to + " exists already", EEXIST);
    // To rename(2) two names of one file are none of its business; mv(1) refuses.
    if (exists && there.st_ino == status.st_ino && there.st_dev == status.st_dev)
        throw Failure(proto::USAGE, "cannot move " + from + ": " + to + " is the same file", EINVAL);
    auto move = request.no_clobber() ? rename_to_vacant : ::renameat;
    if (move(source.directory.get(), source.name.c_str(), target.directory.get(), target.name.c_str()) == 0)
        return;
    if (errno == EXDEV) {
        copy_tree(context, source, from, target, to);
        remove_tree(source, from, [&] { context.connection.check_cancelled(); });
        return;
    }
    fail_errno("cannot move " + from + " to", to);
}

void link(const Context& context, const proto::Link& request) {
    const std::string& target = request.target();
    std::string path = request.path();
    if (target.find('\0') != std::string::npos)
        throw Failure(proto::USAGE, "a target has a zero byte in it", EINVAL);
    GuestTree::Place place = destination(context, target, path, "cannot link");
    GuestTree::Place source;
    if (!request.symbolic()) source = context.tree.place(target, "cannot link to");
    auto make = [&](const std::string& name) {
        return request.symbolic() ? ::symlinkat(target.c_str(), place.directory.get(), name.c_str())
                                  : ::linkat(source.directory.get(), source.name.c_str(),
                                             place.directory.get(), name.c_str(), 0);
    };
    if (make(place.name) == 0) return;
    if (errno != EEXIST || !request.force()) fail_errno("cannot create the link", path);
    struct stat status;
    if (::fstatat(place.directory.get(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(status.st_mode))
        throw Failure::from_errno("cannot create the link " + path, EISDIR);
    // In the old one's place by a rename, so that there never is none.
    std::string temporary = temporary_name();
    if (make(temporary) < 0) fail_errno("cannot create the link", path);
    if (::renameat(place.directory.get(), temporary.c_str(), place.directory.get(), place.name.c_str()) < 0) {
        int saved = errno;
        ::unlinkat(place.directory.get(), temporary.c_str(), 0);
        throw Failure::from_errno("cannot create the link " + path, saved);
    }
    // A rename between two names of one file does nothing: the temporary one is still there then.
    ::unlinkat(place.directory.get(), temporary.c_str(), 0);
}

}  // namespace inspect::agent
