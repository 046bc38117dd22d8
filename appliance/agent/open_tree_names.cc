// SPDX-License-Identifier: GPL-2.0-or-later
//
// Operations of the open tree on names.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "failure.h"
#include "file_stat.h"
#include "open_tree.h"

namespace inspect::agent {

namespace {

using Handle = OpenTree::Handle;

void answer_stat(const Context& context, int directory, const std::string& name) {
    *context.response.mutable_stat() = tree_stat_of(directory, name);
}

// While it lives, new files get this umask; outside there is none.
class UmaskScope {
  public:
    explicit UmaskScope(uint32_t mask) { ::umask(mask & 0777); }
    ~UmaskScope() { ::umask(0); }
    UmaskScope(const UmaskScope&) = delete;
    UmaskScope& operator=(const UmaskScope&) = delete;
};

Fd make_object(int directory, const std::string& name, const proto::TreeMake& request) {
    UmaskScope umask(request.umask());
    auto mode = static_cast<mode_t>(request.mode());
    mode_t permissions = mode & 07777;
    switch (mode & S_IFMT) {
        case S_IFREG: {
            int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
            Fd fd(::openat(directory, name.c_str(), flags | (request.may_exist() ? 0 : O_EXCL), permissions));
            must(fd.get(), "create a file");
            return fd;
        }
        case S_IFDIR:
            must(::mkdirat(directory, name.c_str(), permissions), "make a directory");
            return {};
        case S_IFLNK:
            must(::symlinkat(request.target().c_str(), directory, name.c_str()), "make a symbolic link");
            return {};
        case S_IFBLK:
        case S_IFCHR:
        case S_IFIFO:
        case S_IFSOCK:
            must(::mknodat(directory, name.c_str(), mode,
                           ::makedev(request.rdev_major(), request.rdev_minor())),
                 "make a node");
            return {};
        default:
            throw Failure(proto::USAGE, "a mode of no type", EINVAL);
    }
}

// The new object's owner, where it isn't root. Of a directory with the set-group-id bit it has the group
// already.
void give_owner(int directory, const std::string& name, const proto::TreeMake& request) {
    if (request.uid() == 0 && request.gid() == 0) return;
    struct stat parent;
    must(::fstat(directory, &parent), "look at the directory");
    gid_t group = parent.st_mode & S_ISGID ? static_cast<gid_t>(-1) : request.gid();
    must(::fchownat(directory, name.c_str(), request.uid(), group, AT_SYMLINK_NOFOLLOW), "set the owner");
    // What a change of the owner takes away.
    if ((request.mode() & (S_ISUID | S_ISGID)) && S_ISREG(request.mode()))
        must(::fchmodat(directory, name.c_str(), request.mode() & 07777 & ~request.umask(), 0),
             "set the mode");
}

}  // namespace

void tree_lookup(const Context& context, OpenTree& tree, const proto::TreeLookup& request) {
    Handle directory = tree.directory(request.directory());
    answer_stat(context, directory.get(), OpenTree::checked_name(request.name()));
}

void tree_make(const Context& context, OpenTree& tree, const proto::TreeMake& request) {
    Handle directory = tree.directory(request.directory());
    std::string name = OpenTree::checked_name(request.name());
    tree.close_slot(request.keep());
    Fd fd = make_object(directory.get(), name, request);
    give_owner(directory.get(), name, request);
    answer_stat(context, directory.get(), name);
    if (!fd) return;
    context.response.set_no_xattrs(::flistxattr(fd.get(), nullptr, 0) == 0);
    if (request.keep() != 0) tree.keep(request.keep(), std::move(fd));
}

void tree_remove(const Context&, OpenTree& tree, const proto::TreeRemove& request) {
    Handle directory = tree.directory(request.directory());
    std::string name = OpenTree::checked_name(request.name());
    if (request.keep() != 0) tree.pin(request.keep(), directory.get(), name);
    must(::unlinkat(directory.get(), name.c_str(), request.is_directory() ? AT_REMOVEDIR : 0), "remove");
}

void tree_rename(const Context&, OpenTree& tree, const proto::TreeRename& request) {
    Handle from = tree.directory(request.from_directory());
    Handle to = tree.directory(request.to_directory());
    std::string name = OpenTree::checked_name(request.to());
    if (request.keep() != 0) tree.pin(request.keep(), to.get(), name);
    must(::renameat2(from.get(), OpenTree::checked_name(request.from()).c_str(), to.get(), name.c_str(),
                     request.flags()),
         "rename");
}

void tree_link(const Context& context, OpenTree& tree, const proto::TreeLink& request) {
    OpenTree::Object object = tree.object(request.place());
    Handle directory = tree.directory(request.directory());
    std::string name = OpenTree::checked_name(request.name());
    must(::linkat(object.directory.get(), object.name.c_str(), directory.get(), name.c_str(),
                  object.name.empty() ? AT_EMPTY_PATH : 0),
         "link");
    answer_stat(context, directory.get(), name);
}

void tree_list(const Context& context, OpenTree& tree, const proto::TreeList& request) {
    constexpr size_t kBuffer = 32 << 10;
    constexpr size_t kItemBytes = 48 << 10;
    Handle directory = tree.directory(request.directory());
    int fd = directory.get();
    if (::lseek(fd, request.cookie(), SEEK_SET) < 0) throw Failure::from_errno("go on in a directory", errno);
    auto buffer = std::make_unique<char[]>(kBuffer);
    proto::Item item;
    size_t item_bytes = 0;
    size_t sent = 0;
    auto send = [&] {
        if (item_bytes == 0) return;
        context.connection.send_item(item);
        sent += item_bytes;
        item_bytes = 0;
        item.mutable_tree_nodes()->Clear();
    };
    while (sent + item_bytes < request.bytes()) {
        ssize_t count = ::getdents64(fd, buffer.get(), kBuffer);
        if (count < 0) throw Failure::from_errno("read a directory", errno);
        if (count == 0) {
            context.response.set_at_end(true);
            break;
        }
        for (ssize_t at = 0; at < count && sent + item_bytes < request.bytes();) {
            dirent64 entry;
            std::memcpy(&entry, buffer.get() + at, offsetof(dirent64, d_name));
            const char* name = buffer.get() + at + offsetof(dirent64, d_name);
            at += entry.d_reclen;
            proto::TreeNode& node = *item.mutable_tree_nodes()->add_nodes();
            node.set_name(name);
            node.set_next(entry.d_off);
            struct stat status;
            if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) {
                node.mutable_stat()->set_inode(entry.d_ino);
                node.mutable_stat()->set_mode(S_IFDIR);
            } else if (::fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
                to_proto(status, *node.mutable_stat());
                if (S_ISLNK(status.st_mode))
                    node.mutable_stat()->set_link_target(readable_link_target(fd, name));
                if (request.xattrs())
                    node.set_no_xattrs(::llistxattr((std::string(FdPath(fd).c_str()) + "/" + name).c_str(),
                                                    nullptr, 0) == 0);
            }
            item_bytes += node.ByteSizeLong();
            if (item_bytes >= kItemBytes) send();
        }
    }
    send();
}

}  // namespace inspect::agent
