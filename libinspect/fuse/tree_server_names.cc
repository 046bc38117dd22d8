// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TreeServer's operations on names.
#include <fcntl.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "fuse/tree_server.h"

namespace inspect::fuse {

void TreeServer::lookup(fuse_req_t req, uint64_t parent, const char* name) {
    Question question;
    question.request.mutable_tree_lookup()->set_name(name);
    question.place = [parent](Placer& placer, proto::Request& request) {
        return placer.opened(parent, *request.mutable_tree_lookup()->mutable_directory());
    };
    question.answered = [=, this, name = std::string(name)](const proto::Response& response) {
        std::optional<NodeStat> stat = stat_of(response);
        Node* directory = nodes_.find(parent);
        reply_entry(req, stat && directory ? &nodes_.remember(*directory, name, *stat) : nullptr,
                    stat.value_or(NodeStat()));
    };
    question.failed = [=, this](int error) {
        const Node* directory = nodes_.find(parent);
        if (error != ENOENT || !directory) {
            fuse_reply_err(req, error);
            return;
        }
        fuse_entry_param nothing{};  // the kernel remembers that, too
        nothing.entry_timeout = name_timeout(directory->device);
        fuse_reply_entry(req, &nothing);
    };
    ask(req, std::move(question));
}

void TreeServer::make(fuse_req_t req, uint64_t parent, const char* name, const NewObject& object) {
    const fuse_ctx* caller = fuse_req_ctx(req);
    Question question;
    proto::TreeMake& make = *question.request.mutable_tree_make();
    make.set_name(name);
    make.set_mode(object.mode);
    make.set_umask(caller->umask & 0777);
    make.set_uid(options_.check_permissions ? caller->uid : 0);
    make.set_gid(options_.check_permissions ? caller->gid : 0);
    make.set_rdev_major(major(object.rdev));
    make.set_rdev_minor(minor(object.rdev));
    make.set_target(object.target);
    make.set_may_exist(object.open && (object.open->flags & O_EXCL) == 0);
    question.place = [parent](Placer& placer, proto::Request& request) {
        return placer.opened(parent, *request.mutable_tree_make()->mutable_directory());
    };
    changes({parent});
    std::optional<fuse_file_info> open;
    if (object.open) open = *object.open;
    question.answered = [=, this, name = std::string(name),
                         target = std::string(object.target)](const proto::Response& response) mutable {
        std::optional<NodeStat> stat = stat_of(response);
        Node* directory = nodes_.find(parent);
        Node* node = stat && directory ? &nodes_.remember(*directory, name, *stat) : nullptr;
        if (!node) {
            fuse_reply_err(req, EIO);
            return;
        }
        node->no_xattrs = response.no_xattrs();
        if (!target.empty()) node->link_target = target;
        if (!open) return reply_entry(req, node, *stat);
        if (!node->is_regular()) {
            fuse_reply_err(req, EIO);
            return;
        }
        fuse_entry_param entry = entry_of(*node, *stat);
        open->keep_cache = true;
        ++node->lookups;
        node->count_open(open->flags, 1);
        if (fuse_reply_create(req, &entry, &*open) == 0) return;
        node->count_open(open->flags, -1);
        nodes_.forget(node->id, 1);
    };
    ask(req, std::move(question));
}

int TreeServer::before_loss(Placer& placer, uint64_t id, uint32_t& keep) {
    Node* victim = nodes_.find(id);
    if (!victim || victim->is_directory()) return 0;
    // Of a file with one link, all names that are known are spellings of that one.
    const bool last = victim->names.size() == 1 || victim->links <= 1;
    if (!last) return 0;
    if (victim->opens == 0 && victim->links <= 1) {
        victim->leaving = true;
        return 0;
    }
    if (!victim->pinned && !nodes_.may_pin()) return ENFILE;
    if (victim->slot == 0) keep = placer.slot_for(*victim);
    nodes_.pin(*victim);
    return 0;
}

void TreeServer::after_failed_loss(uint64_t id) {
    Node* victim = nodes_.find(id);
    if (!victim) return;
    victim->leaving = false;
    if (!victim->names.empty()) nodes_.unpin(*victim);
}

void TreeServer::remove(fuse_req_t req, uint64_t parent, const char* name, bool is_directory) {
    Question question;
    proto::TreeRemove& remove = *question.request.mutable_tree_remove();
    remove.set_name(name);
    remove.set_is_directory(is_directory);
    Node* directory = nodes_.find(parent);
    Node* node = directory ? nodes_.child(*directory, name) : nullptr;
    uint64_t id = node ? node->id : 0;
    // While a file has other names, or is used on without one, nothing may be on its way that names it.
    question.alone = node && !is_directory && (node->links > 1 || node->opens > 0);
    changes({parent, id});
    question.place = [=, this, name = std::string(name)](Placer& placer, proto::Request& request) {
        proto::TreeRemove& removal = *request.mutable_tree_remove();
        if (int error = placer.opened(parent, *removal.mutable_directory())) return error;
        uint32_t keep = 0;
        const int error = is_directory ? 0 : before_loss(placer, id, keep);
        removal.set_keep(keep);
        return error;
    };
    question.failed = [=, this](int error) {
        after_failed_loss(id);
        fuse_reply_err(req, error);
    };
    question.answered = [=, this, name = std::string(name)](const proto::Response&) {
        if (Node* from = nodes_.find(parent)) nodes_.removed(*from, name);
        fuse_reply_err(req, 0);
    };
    ask(req, std::move(question));
}

void TreeServer::rename(fuse_req_t req, uint64_t parent, const char* name, uint64_t new_parent,
                        const char* new_name, unsigned flags) {
    if ((flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    Question question;
    proto::TreeRename& rename = *question.request.mutable_tree_rename();
    rename.set_from(name);
    rename.set_to(new_name);
    rename.set_flags(flags);
    // The places of all that is below are different afterwards.
    question.alone = true;
    Node* directory = nodes_.find(parent);
    Node* new_directory = nodes_.find(new_parent);
    Node* moved = directory ? nodes_.child(*directory, name) : nullptr;
    Node* replaced = new_directory ? nodes_.child(*new_directory, new_name) : nullptr;
    uint64_t replaced_id = replaced ? replaced->id : 0;
    uint64_t moved_id = moved ? moved->id : 0;
    changes({parent, new_parent, moved_id, replaced_id});
    question.place = [=, this](Placer& placer, proto::Request& request) {
        proto::TreeRename& renaming = *request.mutable_tree_rename();
        if (int error = placer.opened(parent, *renaming.mutable_from_directory())) return error;
        if (int error = placer.opened(new_parent, *renaming.mutable_to_directory())) return error;
        uint32_t keep = 0;
        // Two names of one file: nothing is done.
        const bool replaces = flags == 0 && moved_id != replaced_id;
        const int error = replaces ? before_loss(placer, replaced_id, keep) : 0;
        renaming.set_keep(keep);
        return error;
    };
    question.failed = [=, this](int error) {
        after_failed_loss(replaced_id);
        fuse_reply_err(req, error);
    };
    question.answered = [=, this, name = std::string(name),
                         new_name = std::string(new_name)](const proto::Response&) {
        Node* from = nodes_.find(parent);
        Node* to = nodes_.find(new_parent);
        if (from && to) nodes_.renamed(*from, name, *to, new_name, (flags & RENAME_EXCHANGE) != 0);
        fuse_reply_err(req, 0);
    };
    ask(req, std::move(question));
}

void TreeServer::link(fuse_req_t req, uint64_t node, uint64_t new_parent, const char* new_name) {
    Question question;
    question.request.mutable_tree_link()->set_name(new_name);
    question.place = [=](Placer& placer, proto::Request& request) {
        proto::TreeLink& link = *request.mutable_tree_link();
        // The directory first: it may push the other one out of its slot.
        if (int error = placer.opened(new_parent, *link.mutable_directory())) return error;
        return placer.object(node, *link.mutable_place());
    };
    changes({node, new_parent});
    question.answered = [=, this, name = std::string(new_name)](const proto::Response& response) {
        std::optional<NodeStat> stat = stat_of(response);
        Node* directory = nodes_.find(new_parent);
        Node* linked = stat && directory ? &nodes_.remember(*directory, name, *stat) : nullptr;
        if (linked && linked->id != node) linked = nullptr;
        reply_entry(req, linked, stat.value_or(NodeStat()));
    };
    ask(req, std::move(question));
}

}  // namespace inspect::fuse
