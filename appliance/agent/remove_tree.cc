// SPDX-License-Identifier: GPL-2.0-or-later
#include "remove_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "failure.h"
#include "walk.h"

namespace inspect::agent {

void remove_tree(const GuestTree::Place& place, const std::string& path,
                 const std::function<void()>& between) {
    int parent = place.directory.get();
    if (::unlinkat(parent, place.name.c_str(), 0) == 0) return;
    if (errno != EISDIR && errno != EPERM) fail_errno("cannot remove", path);
    Fd top(::openat(parent, place.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!top) fail_errno("cannot remove", path);
    WalkVisitor visitor;
    visitor.enter = [&](const WalkEntry& entry) {
        between();
        if (entry.type == DT_DIR) return true;
        if (::unlinkat(entry.directory, entry.name.c_str(), 0) < 0)
            fail_errno("cannot remove", join(path, entry.path));
        return false;
    };
    visitor.leave = [&](const WalkEntry& entry) {
        if (::unlinkat(entry.directory, entry.name.c_str(), AT_REMOVEDIR) < 0)
            fail_errno("cannot remove", join(path, entry.path));
    };
    visitor.error = [](const std::string&, const std::string& why, int errnum) {
        throw Failure(errno_kind(errnum), "cannot remove all: " + why, errnum);
    };
    walk(std::move(top), path, visitor);
    if (::unlinkat(parent, place.name.c_str(), AT_REMOVEDIR) < 0) fail_errno("cannot remove", path);
}

}  // namespace inspect::agent
