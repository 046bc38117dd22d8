// SPDX-License-Identifier: LGPL-2.1-or-later
//
// libfuse's table of operations: each hands its request to the TreeServer.
#include <sys/statvfs.h>

#include <cerrno>
#include <new>

#include "fuse/tree_server.h"

namespace inspect::fuse {

namespace {

// A request to the agent, data included, must stay below protocol::kMaxRequest.
constexpr unsigned kMostTransfer = 512 << 10;
// Requests that the kernel has under way by itself: reading ahead, writing back.
constexpr unsigned kBackground = 64;

TreeServer& server_of(fuse_req_t req) { return *static_cast<TreeServer*>(fuse_req_userdata(req)); }

// Nothing may be thrown through libfuse.
template <typename Work>
void guarded(fuse_req_t req, Work work) {
    try {
        work(server_of(req));
    } catch (const std::bad_alloc&) {
        fuse_reply_err(req, ENOMEM);
    } catch (const std::exception&) {
        fuse_reply_err(req, EIO);
    }
}

void want(fuse_conn_info* connection, unsigned capability, bool wanted) {
    if (wanted) {
        connection->want |= connection->capable & capability;
    } else {
        connection->want &= ~capability;
    }
}

}  // namespace

void TreeServer::negotiate(fuse_conn_info* connection) {
    want(connection, FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS, true);
    want(connection, FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_DONT_MASK, true);
    // All directories with their attributes: they come along for little, and save a lookup each.
    want(connection, FUSE_CAP_READDIRPLUS_AUTO, false);
    // O_TRUNC is a change of the size by itself, before the file is opened. libfuse would have open() do it.
    want(connection, FUSE_CAP_ATOMIC_O_TRUNC, false);
    want(connection, FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_HANDLE_KILLPRIV, false);
    want(connection, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
    want(connection, FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS, false);  // the kernel's own do
    want(connection, FUSE_CAP_WRITEBACK_CACHE, options_.writable);
    // ACLs are obeyed where permissions are; carried along they are always.
    want(connection, FUSE_CAP_POSIX_ACL, options_.check_permissions);
    no_opens_ = !options_.writable && (connection->capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0;
    connection->max_write = kMostTransfer;
    connection->max_background = kBackground;
    connection->congestion_threshold = kBackground * 3 / 4;
    connection->time_gran = 1;
}

const fuse_lowlevel_ops& TreeServer::operations() {
    static const fuse_lowlevel_ops operations = [] {
        fuse_lowlevel_ops ops{};
        ops.init = [](void* server, fuse_conn_info* connection) {
            static_cast<TreeServer*>(server)->negotiate(connection);
        };
        ops.lookup = [](fuse_req_t req, fuse_ino_t parent, const char* name) {
            guarded(req, [&](TreeServer& server) { server.lookup(req, parent, name); });
        };
        ops.forget = [](fuse_req_t req, fuse_ino_t node, uint64_t count) {
            server_of(req).forget(node, count);
            fuse_reply_none(req);
        };
        ops.forget_multi = [](fuse_req_t req, size_t count, fuse_forget_data* forgets) {
            for (size_t i = 0; i < count; ++i) server_of(req).forget(forgets[i].ino, forgets[i].nlookup);
            fuse_reply_none(req);
        };
        ops.getattr = [](fuse_req_t req, fuse_ino_t node, fuse_file_info*) {
            guarded(req, [&](TreeServer& server) { server.get_attributes(req, node); });
        };
        ops.setattr = [](fuse_req_t req, fuse_ino_t node, struct stat* attributes, int to_set,
                         fuse_file_info*) {
            guarded(req, [&](TreeServer& server) { server.set_attributes(req, node, *attributes, to_set); });
        };
        ops.readlink = [](fuse_req_t req, fuse_ino_t node) {
            guarded(req, [&](TreeServer& server) { server.read_link(req, node); });
        };
        ops.mknod = [](fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
            guarded(req, [&](TreeServer& server) {
                server.make(req, parent, name, {.mode = mode, .rdev = rdev});
            });
        };
        ops.mkdir = [](fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
            guarded(req, [&](TreeServer& server) {
                server.make(req, parent, name, {.mode = S_IFDIR | (mode & 07777)});
            });
        };
        ops.symlink = [](fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
            guarded(req, [&](TreeServer& server) {
                server.make(req, parent, name, {.mode = S_IFLNK | 0777, .target = target});
            });
        };
        ops.create = [](fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
                        fuse_file_info* info) {
            guarded(req, [&](TreeServer& server) {
                server.make(req, parent, name, {.mode = S_IFREG | (mode & 07777), .open = info});
            });
        };
        ops.unlink = [](fuse_req_t req, fuse_ino_t parent, const char* name) {
            guarded(req, [&](TreeServer& server) { server.remove(req, parent, name, false); });
        };
        ops.rmdir = [](fuse_req_t req, fuse_ino_t parent, const char* name) {
            guarded(req, [&](TreeServer& server) { server.remove(req, parent, name, true); });
        };
        ops.rename = [](fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                        const char* new_name, unsigned flags) {
            guarded(req, [&](TreeServer& server) {
                server.rename(req, parent, name, new_parent, new_name, flags);
            });
        };
        ops.link = [](fuse_req_t req, fuse_ino_t node, fuse_ino_t new_parent, const char* new_name) {
            guarded(req, [&](TreeServer& server) { server.link(req, node, new_parent, new_name); });
        };
        ops.open = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* info) {
            guarded(req, [&](TreeServer& server) { server.open(req, node, info); });
        };
        ops.release = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* info) {
            guarded(req, [&](TreeServer& server) { server.release(req, node, *info); });
        };
        ops.read = [](fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info*) {
            guarded(req,
                    [&](TreeServer& server) { server.read(req, node, size, static_cast<uint64_t>(offset)); });
        };
        ops.write = [](fuse_req_t req, fuse_ino_t node, const char* data, size_t size, off_t offset,
                       fuse_file_info*) {
            guarded(req, [&](TreeServer& server) {
                server.write(req, node, data, size, static_cast<uint64_t>(offset));
            });
        };
        // The kernel has written back before, and heard of errors.
        ops.flush = [](fuse_req_t req, fuse_ino_t, fuse_file_info*) { fuse_reply_err(req, 0); };
        ops.fsync = [](fuse_req_t req, fuse_ino_t node, int data_only, fuse_file_info*) {
            guarded(req, [&](TreeServer& server) { server.sync(req, node, data_only != 0); });
        };
        ops.fsyncdir = ops.fsync;
        ops.opendir = [](fuse_req_t req, fuse_ino_t node, fuse_file_info* info) {
            guarded(req, [&](TreeServer& server) { server.open_directory(req, node, info); });
        };
        ops.readdir = [](fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, fuse_file_info* info) {
            guarded(req,
                    [&](TreeServer& server) { server.read_directory(req, node, size, offset, info, false); });
        };
        ops.readdirplus = [](fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
                             fuse_file_info* info) {
            guarded(req,
                    [&](TreeServer& server) { server.read_directory(req, node, size, offset, info, true); });
        };
        ops.releasedir = [](fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
            guarded(req, [&](TreeServer& server) { server.release_directory(req, info); });
        };
        ops.statfs = [](fuse_req_t req, fuse_ino_t node) {
            guarded(req, [&](TreeServer& server) { server.statfs(req, node); });
        };
        ops.setxattr = [](fuse_req_t req, fuse_ino_t node, const char* name, const char* value, size_t size,
                          int flags) {
            guarded(req, [&](TreeServer& server) { server.set_xattr(req, node, name, value, size, flags); });
        };
        ops.getxattr = [](fuse_req_t req, fuse_ino_t node, const char* name, size_t size) {
            guarded(req, [&](TreeServer& server) { server.get_xattr(req, node, name, size); });
        };
        ops.listxattr = [](fuse_req_t req, fuse_ino_t node, size_t size) {
            guarded(req, [&](TreeServer& server) { server.get_xattr(req, node, "", size); });
        };
        ops.removexattr = [](fuse_req_t req, fuse_ino_t node, const char* name) {
            guarded(req, [&](TreeServer& server) { server.remove_xattr(req, node, name); });
        };
        ops.access = [](fuse_req_t req, fuse_ino_t node, int mask) {
            guarded(req, [&](TreeServer& server) { server.access(req, node, mask); });
        };
        ops.fallocate = [](fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
                           fuse_file_info*) {
            guarded(req, [&](TreeServer& server) {
                server.allocate(req, node, mode, static_cast<uint64_t>(offset),
                                static_cast<uint64_t>(length));
            });
        };
        ops.lseek = [](fuse_req_t req, fuse_ino_t node, off_t offset, int whence, fuse_file_info*) {
            guarded(req, [&](TreeServer& server) {
                server.seek(req, node, static_cast<uint64_t>(offset), whence);
            });
        };
        ops.copy_file_range = [](fuse_req_t req, fuse_ino_t from, off_t from_offset, fuse_file_info*,
                                 fuse_ino_t to, off_t to_offset, fuse_file_info*, size_t length, int) {
            guarded(req, [&](TreeServer& server) {
                server.copy(req, from, static_cast<uint64_t>(from_offset), to,
                            static_cast<uint64_t>(to_offset), length);
            });
        };
        return ops;
    }();
    return operations;
}

}  // namespace inspect::fuse
