// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the operations of TreeServer share: questions to the agent, and replies made of its answers.
#include "fuse/tree_server.h"

#include <algorithm>
#include <cerrno>

namespace inspect::fuse {

namespace {

// Nobody else changes the tree: what the kernel knows stays true until it changes it itself.
constexpr double kForEver = 1e9;  // seconds

}  // namespace

TreeServer::TreeServer(Pipeline& pipeline, const TreeServerOptions& options, const NodeStat& root)
    : pipeline_(pipeline), options_(options), nodes_(root, options.caseless) {}

TreeServer::~TreeServer() = default;

int TreeServer::Placer::object(uint64_t id, proto::Place& place) {
    Node* node = nodes_.find(id);
    return node && nodes_.place(*node, place) ? 0 : ESTALE;
}

int TreeServer::Placer::opened(uint64_t id, proto::Place& place) {
    Node* node = nodes_.find(id);
    bool fresh = false;
    if (!node || !nodes_.open_place(*node, place, fresh)) return ESTALE;
    if (fresh) filled_.nodes.at(filled_.count++) = id;
    return 0;
}

uint32_t TreeServer::Placer::slot_for(Node& node) {
    uint32_t slot = nodes_.take_slot(node);
    if (slot != 0) filled_.nodes.at(filled_.count++) = node.id;
    return slot;
}

// A slot that was to be filled may be empty now. It is opened again when it is needed.
void TreeServer::settle_failure(const Filled& filled) {
    for (size_t i = 0; i < filled.count; ++i)
        if (Node* node = nodes_.find(filled.nodes[i])) nodes_.drop_slot(*node);
}

void TreeServer::ask(fuse_req_t req, Question question) {
    auto filled = std::make_shared<Filled>();
    auto fail = [req, failed = std::move(question.failed)](int error) {
        if (failed) return failed(error);
        fuse_reply_err(req, error);
    };
    Pipeline::Call call;
    call.request = std::move(question.request);
    call.prepare = [this, filled, fail, place = std::move(question.place)](proto::Request& request) {
        Placer placer(nodes_, *filled);
        int error = place(placer, request);
        if (error == 0) return true;
        settle_failure(*filled);
        fail(error);
        return false;
    };
    call.answered = [this, filled, fail,
                     answered = std::move(question.answered)](const proto::Response& response) {
        if (!response.has_failure()) return answered(response);
        int error = errno_of(response.failure());
        // It was sent behind the request that should have filled the slot that it names.
        if (response.failure().kind() == proto::USAGE && error == EBADF && fill_error_ != 0)
            error = fill_error_;
        if (filled->count > 0) fill_error_ = error;
        settle_failure(*filled);
        fail(error);
    };
    call.broken = [fail] { fail(EIO); };
    call.on_data = std::move(question.on_data);
    call.on_item = std::move(question.on_item);
    call.most_bytes = question.most_bytes;
    call.alone = question.alone;
    pipeline_.submit(std::move(call));
}

void TreeServer::forget(uint64_t id, uint64_t count) {
    const Node* node = nodes_.find(id);
    if (node && node->links > 1 && !node->is_directory())
        unknown_changed_ = std::max(unknown_changed_, node->changed);
    nodes_.forget(id, count);
}

void TreeServer::tidy_up() {
    for (uint64_t id : listings_.take_dropped()) forget(id, 1);
    go_ahead();
    if (!nodes_.has_dropped()) return;
    Pipeline::Call call;
    call.prepare = [this](proto::Request& request) {
        std::vector<uint32_t> slots = nodes_.take_dropped();
        for (uint32_t slot : slots) request.mutable_tree_close()->add_slots(slot);
        return !slots.empty();
    };
    pipeline_.submit(std::move(call));
}

void TreeServer::changes(std::initializer_list<uint64_t> nodes) {
    ++changes_;
    for (uint64_t id : nodes) {
        Node* node = nodes_.find(id);
        if (!node) continue;
        node->changed = changes_;
        for (const Node::Name& name : node->names) name.parent->entry_changed = changes_;
    }
}

std::optional<NodeStat> TreeServer::stat_of(const proto::Response& response) {
    if (!response.has_stat()) return std::nullopt;
    return checked_stat(response.stat());
}

struct stat TreeServer::shown(const Node& node, const NodeStat& stat) {
    struct stat result = stat.attributes;
    result.st_ino = node.shown_inode;
    return result;
}

fuse_entry_param TreeServer::entry_of(Node& node, const NodeStat& stat) {
    fuse_entry_param entry{};
    entry.ino = node.id;
    entry.attr = shown(node, stat);
    entry.attr_timeout = kForEver;
    entry.entry_timeout = name_timeout(node.device);
    return entry;
}

// The kernel knows only one spelling of a name that is changed: where there are more, it has to ask.
double TreeServer::name_timeout(uint64_t device) const {
    return options_.writable && nodes_.is_caseless(device) ? 0 : kForEver;
}

void TreeServer::reply_entry(fuse_req_t req, Node* node, const NodeStat& stat) {
    if (!node) {
        fuse_reply_err(req, EIO);
        return;
    }
    fuse_entry_param entry = entry_of(*node, stat);
    ++node->lookups;
    if (fuse_reply_entry(req, &entry) != 0) nodes_.forget(node->id, 1);
}

void TreeServer::reply_attributes(fuse_req_t req, uint64_t id, const proto::Response& response) {
    std::optional<NodeStat> stat = stat_of(response);
    Node* node = nodes_.find(id);
    // Another file than it was: the agent is confused, or lies.
    if (!stat || !node || ((stat->attributes.st_mode ^ node->mode) & S_IFMT) != 0) {
        fuse_reply_err(req, EIO);
        return;
    }
    nodes_.update(*node, *stat);
    struct stat attributes = shown(*node, *stat);
    fuse_reply_attr(req, &attributes, kForEver);
}

}  // namespace inspect::fuse
