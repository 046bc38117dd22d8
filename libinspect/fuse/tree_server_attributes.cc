// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TreeServer's operations on attributes.
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fuse/tree_server.h"

namespace inspect::fuse {

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr size_t kMostXattr = 64 << 10;  // the kernel's XATTR_SIZE_MAX and XATTR_LIST_MAX

int64_t to_ns(const timespec& time) {
    int64_t ns;
    if (__builtin_mul_overflow(static_cast<int64_t>(time.tv_sec), kNsPerSecond, &ns) ||
        __builtin_add_overflow(ns, static_cast<int64_t>(time.tv_nsec), &ns))
        return time.tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

// Names one after the other, each with a NUL behind it, none of them empty.
bool is_name_list(const std::string& list) {
    for (size_t at = 0; at < list.size();) {
        size_t end = list.find('\0', at);
        if (end == list.npos || end == at || end - at > XATTR_NAME_MAX) return false;
        at = end + 1;
    }
    return true;
}

// As getxattr(2): size 0 asks for the size.
void reply_value(fuse_req_t req, const std::string& value, size_t size) {
    if (size == 0) {
        fuse_reply_xattr(req, value.size());
    } else if (value.size() > size) {
        fuse_reply_err(req, ERANGE);
    } else {
        fuse_reply_buf(req, value.data(), value.size());
    }
}

}  // namespace

void TreeServer::get_attributes(fuse_req_t req, uint64_t node) {
    Question question;
    question.request.mutable_tree_stat();
    question.place = [node](Placer& placer, proto::Request& request) {
        return placer.object(node, *request.mutable_tree_stat()->mutable_place());
    };
    question.answered = [=, this](const proto::Response& response) { reply_attributes(req, node, response); };
    ask(req, std::move(question));
}

void TreeServer::set_attributes(fuse_req_t req, uint64_t id, const struct stat& attributes, int to_set) {
    Node* node = nodes_.find(id);
    if (!node || ((to_set & FUSE_SET_ATTR_MODE) && S_ISLNK(node->mode))) {
        fuse_reply_err(req, node ? EOPNOTSUPP : ESTALE);
        return;
    }
    Question question;
    proto::TreeChange& change = *question.request.mutable_tree_change();
    if (to_set & FUSE_SET_ATTR_MODE) change.set_mode(attributes.st_mode & 07777);
    if (to_set & FUSE_SET_ATTR_UID) change.set_uid(attributes.st_uid);
    if (to_set & FUSE_SET_ATTR_GID) change.set_gid(attributes.st_gid);
    if (to_set & FUSE_SET_ATTR_ATIME) change.set_atime_ns(to_ns(attributes.st_atim));
    if (to_set & FUSE_SET_ATTR_MTIME) change.set_mtime_ns(to_ns(attributes.st_mtim));
    change.set_atime_now(to_set & FUSE_SET_ATTR_ATIME_NOW);
    change.set_mtime_now(to_set & FUSE_SET_ATTR_MTIME_NOW);
    bool resize = to_set & FUSE_SET_ATTR_SIZE;
    if (resize) {
        change.set_size(static_cast<uint64_t>(attributes.st_size));
        cache_.drop(id);
    }
    changes({id});
    question.place = [=](Placer& placer, proto::Request& request) {
        proto::Place& place = *request.mutable_tree_change()->mutable_place();
        return resize ? placer.opened(id, place) : placer.object(id, place);
    };
    question.answered = [=, this](const proto::Response& response) { reply_attributes(req, id, response); };
    question.failed = [=, this](int error) {
        const Node* failed = nodes_.find(id);
        constexpr int kTimes = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME;
        if (!failed || !failed->gone || failed->slot != 0 || (to_set & ~kTimes) != 0) {
            fuse_reply_err(req, error);
            return;
        }
        // The kernel writes back when a file that is no more was changed. An error would be the next
        // syncfs(2)'s.
        struct stat last = attributes;
        last.st_ino = failed->shown_inode;
        last.st_mode = failed->mode;
        last.st_size = static_cast<off_t>(failed->size);
        fuse_reply_attr(req, &last, 0);
    };
    ask(req, std::move(question));
}

void TreeServer::read_link(fuse_req_t req, uint64_t id) {
    Node* node = nodes_.find(id);
    if (node && !node->link_target.empty()) {
        fuse_reply_readlink(req, node->link_target.c_str());
        return;
    }
    Question question;
    question.request.mutable_tree_read_link();
    question.place = [id](Placer& placer, proto::Request& request) {
        return placer.object(id, *request.mutable_tree_read_link()->mutable_place());
    };
    question.answered = [=](const proto::Response& response) {
        if (!is_link_target(response.value())) {
            fuse_reply_err(req, EIO);
            return;
        }
        fuse_reply_readlink(req, response.value().c_str());
    };
    ask(req, std::move(question));
}

// An empty name: the list of all names.
void TreeServer::get_xattr(fuse_req_t req, uint64_t id, const char* name, size_t size) {
    bool list = *name == '\0';
    xattrs_wanted_ = true;
    const Node* node = nodes_.find(id);
    if (node && node->no_xattrs) {
        if (list) return reply_value(req, {}, size);
        fuse_reply_err(req, ENODATA);
        return;
    }
    Question question;
    question.request.mutable_tree_get_xattr()->set_name(name);
    question.place = [id](Placer& placer, proto::Request& request) {
        return placer.object(id, *request.mutable_tree_get_xattr()->mutable_place());
    };
    uint64_t asked = changes_;
    question.answered = [=, this](const proto::Response& response) {
        Node* owner = nodes_.find(id);
        if (response.no_xattrs() && owner && owner->changed <= asked) owner->no_xattrs = true;
        if (!response.has_value() && !list) {
            fuse_reply_err(req, ENODATA);
        } else if (response.value().size() > kMostXattr || (list && !is_name_list(response.value()))) {
            fuse_reply_err(req, EIO);
        } else {
            reply_value(req, response.value(), size);
        }
    };
    ask(req, std::move(question));
}

void TreeServer::set_xattr(fuse_req_t req, uint64_t id, const char* name, const char* value, size_t size,
                           int flags) {
    Question question;
    proto::TreeSetXattr& set = *question.request.mutable_tree_set_xattr();
    set.set_name(name);
    set.set_value(value, size);
    set.set_flags(static_cast<uint32_t>(flags));
    changes({id});
    if (Node* node = nodes_.find(id)) node->no_xattrs = false;
    question.place = [id](Placer& placer, proto::Request& request) {
        return placer.object(id, *request.mutable_tree_set_xattr()->mutable_place());
    };
    question.answered = [=, this, name = std::string(name)](const proto::Response&) {
        reply_set_xattr(req, id, name);
    };
    ask(req, std::move(question));
}

// An ACL changes the mode as well, and the kernel keeps what it knows of that. It is told before the reply:
// until then who asks holds the inode, and without a range of pages this waits for nothing.
void TreeServer::reply_set_xattr(fuse_req_t req, uint64_t id, const std::string& name) {
    if (session_ && name.starts_with("system.posix_acl_"))
        fuse_lowlevel_notify_inval_inode(session_, id, -1, 0);
    fuse_reply_err(req, 0);
}

void TreeServer::remove_xattr(fuse_req_t req, uint64_t id, const char* name) {
    Question question;
    proto::TreeSetXattr& set = *question.request.mutable_tree_set_xattr();
    set.set_name(name);
    set.set_remove(true);
    changes({id});
    question.place = [id](Placer& placer, proto::Request& request) {
        return placer.object(id, *request.mutable_tree_set_xattr()->mutable_place());
    };
    question.answered = [=, this, name = std::string(name)](const proto::Response&) {
        reply_set_xattr(req, id, name);
    };
    ask(req, std::move(question));
}

// Asked only where the kernel doesn't check permissions: the guest belongs to who mounts it. What is not
// executable stays so.
void TreeServer::access(fuse_req_t req, uint64_t id, int mask) {
    const Node* node = nodes_.find(id);
    bool denied = node && (mask & X_OK) && !node->is_directory() && (node->mode & 0111) == 0;
    if (!options_.writable && (mask & W_OK)) {
        fuse_reply_err(req, EROFS);
        return;
    }
    fuse_reply_err(req, denied ? EACCES : 0);
}

void TreeServer::statfs(fuse_req_t req, uint64_t node) {
    Question question;
    question.request.mutable_tree_statfs();
    question.place = [node](Placer& placer, proto::Request& request) {
        return placer.object(node, *request.mutable_tree_statfs()->mutable_place());
    };
    question.answered = [req](const proto::Response& response) {
        const proto::FilesystemStat& wire = response.filesystem_stat();
        // Programs divide by it.
        if (wire.block_size() == 0) {
            fuse_reply_err(req, EIO);
            return;
        }
        struct statvfs status {};
        status.f_bsize = status.f_frsize = wire.block_size();
        status.f_blocks = wire.blocks();
        status.f_bfree = wire.blocks_free();
        status.f_bavail = wire.blocks_available();
        status.f_files = wire.files();
        status.f_ffree = status.f_favail = wire.files_free();
        status.f_namemax = wire.name_max();
        fuse_reply_statfs(req, &status);
    };
    ask(req, std::move(question));
}

}  // namespace inspect::fuse
