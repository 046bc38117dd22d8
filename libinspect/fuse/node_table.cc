// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/node_table.h"

#include <algorithm>

namespace inspect::fuse {

namespace {

// No guest's device: those are 32 bits.
constexpr uint64_t kFurtherPlaces = UINT64_MAX;

bool same_type(const Node& node, const NodeStat& stat) {
    return ((node.mode ^ stat.attributes.st_mode) & S_IFMT) == 0;
}

}  // namespace

NodeTable::NodeTable(const NodeStat& root, std::unordered_set<uint64_t> caseless)
    : caseless_(std::move(caseless)) {
    auto node = std::make_unique<Node>();
    node->id = kRootId;
    node->device = root.device;
    node->inode = root.inode;
    node->shown_inode = shown_inode(root.device, root.inode);
    node->lookups = 1;  // for ever
    update(*node, root);
    slots_.resize(protocol::kMaxTreeSlots, nullptr);
    recent_at_.resize(protocol::kMaxTreeSlots, recent_.end());
    slots_[0] = node.get();
    for (uint32_t slot = protocol::kMaxTreeSlots - 1; slot > 0; --slot) free_slots_.push_back(slot);
    by_inode_[{root.device, root.inode}] = node.get();
    nodes_[kRootId] = std::move(node);
}

Node* NodeTable::find(uint64_t id) {
    auto found = nodes_.find(id);
    return found == nodes_.end() ? nullptr : found->second.get();
}

Node* NodeTable::child(Node& parent, std::string_view name) {
    auto found = by_name_.find({parent.id, std::string(name)});
    return found == by_name_.end() ? nullptr : found->second;
}

uint64_t NodeTable::shown_inode(uint64_t device, uint64_t inode) {
    constexpr int kDeviceShift = 48;
    uint64_t index = devices_.try_emplace(device, devices_.size()).first->second;
    return inode ^ (index << kDeviceShift);
}

void NodeTable::update(Node& node, const NodeStat& stat) {
    node.mode = stat.attributes.st_mode;
    node.links = stat.attributes.st_nlink;
    node.size = static_cast<uint64_t>(stat.attributes.st_size);
    if (!stat.link_target.empty()) node.link_target = stat.link_target;
}

Node* NodeTable::known(Node& parent, std::string_view name, const NodeStat& stat) {
    const bool caseless = is_caseless(stat.device);
    Node* named = child(parent, name);
    if (named && same_type(*named, stat) && named->device == stat.device &&
        (caseless || named->inode == stat.inode))
        return named;
    auto found = by_inode_.find({stat.device, stat.inode});
    if (found == by_inode_.end() || !same_type(*found->second, stat)) return nullptr;
    Node* node = found->second;
    if (!node->is_directory()) return node;
    // In the same directory it is another spelling.
    const bool respelt = caseless && node->names.size() == 1 && node->names[0].parent == &parent;
    return respelt ? node : nullptr;
}

Node& NodeTable::remember(Node& parent, std::string_view name, const NodeStat& stat) {
    Node* node = known(parent, name, stat);
    if (!node) {
        Node*& entry = by_inode_[{stat.device, stat.inode}];
        if (entry && !same_type(*entry, stat)) {
            // Not the same file after all: the number was given to another one behind our back.
            entry->gone = true;
            entry = nullptr;
        }
        auto made = std::make_unique<Node>();
        node = made.get();
        node->id = next_id_++;
        node->device = stat.device;
        node->inode = stat.inode;
        node->shown_inode =
            entry ? shown_inode(kFurtherPlaces, ++further_places_) : shown_inode(stat.device, stat.inode);
        if (!entry) entry = node;
        nodes_[node->id] = std::move(made);
    } else if (node->inode != stat.inode) {
        renumber(*node, stat.inode);
    }
    // A directory is known by its last spelling.
    if (node->is_directory() && !node->names.empty() && child(parent, name) != node)
        remove_name(*node, parent, std::string(node->names[0].name));
    update(*node, stat);
    add_name(*node, parent, name);
    return *node;
}

void NodeTable::renumber(Node& node, uint64_t inode) {
    auto found = by_inode_.find({node.device, node.inode});
    if (found != by_inode_.end() && found->second == &node) by_inode_.erase(found);
    node.inode = inode;
    by_inode_.try_emplace({node.device, inode}, &node);
}

void NodeTable::add_name(Node& node, Node& parent, std::string_view name) {
    Node*& at = by_name_[{parent.id, std::string(name)}];
    if (at == &node) return;
    Node* before = std::exchange(at, &node);
    node.names.push_back({&parent, std::string(name)});
    ++parent.children;
    if (!before) return;
    // The name stays in by_name_, for its new owner.
    std::erase_if(before->names,
                  [&](const Node::Name& known) { return known.parent == &parent && known.name == name; });
    --parent.children;
    erase_if_unused(before);
}

void NodeTable::remove_name(Node& node, Node& parent, std::string_view name) {
    by_name_.erase({parent.id, std::string(name)});
    std::erase_if(node.names,
                  [&](const Node::Name& known) { return known.parent == &parent && known.name == name; });
    --parent.children;
}

void NodeTable::forget(uint64_t id, uint64_t count) {
    Node* node = find(id);
    if (!node || id == kRootId) return;
    node->lookups -= std::min(node->lookups, count);
    erase_if_unused(node);
}

void NodeTable::erase_if_unused(Node* node) {
    // A parent that only this one needed goes as well, and so on.
    std::vector<Node*> candidates{node};
    while (!candidates.empty()) {
        node = candidates.back();
        candidates.pop_back();
        if (node->id == kRootId || node->lookups != 0 || node->children != 0) continue;
        remove_names(*node, candidates);
        auto found = by_inode_.find({node->device, node->inode});
        if (found != by_inode_.end() && found->second == node) by_inode_.erase(found);
        drop_slot(*node);
        nodes_.erase(node->id);
    }
}

// Each parent comes up once in `parents`.
void NodeTable::remove_names(Node& node, std::vector<Node*>& parents) {
    for (const Node::Name& name : std::vector<Node::Name>(node.names)) {
        remove_name(node, *name.parent, name.name);
        if (std::ranges::find(parents, name.parent) == parents.end()) parents.push_back(name.parent);
    }
}

void NodeTable::lost_link(Node& node) {
    if (node.links > 0) --node.links;
    if (!node.is_directory() && node.links > 0) return;
    node.gone = true;
    auto found = by_inode_.find({node.device, node.inode});
    if (found != by_inode_.end() && found->second == &node) by_inode_.erase(found);
    // Other spellings, where the file system doesn't tell upper case from lower.
    std::vector<Node*> parents;
    remove_names(node, parents);
    // What is open of it would keep its blocks allocated.
    if (!node.pinned) drop_slot(node);
    for (Node* parent : parents) erase_if_unused(parent);
}

void NodeTable::removed(Node& parent, std::string_view name) {
    Node* node = child(parent, name);
    if (!node) return;
    remove_name(*node, parent, name);
    lost_link(*node);
    erase_if_unused(node);
}

void NodeTable::renamed(Node& from, std::string_view from_name, Node& to, std::string_view to_name,
                        bool exchange) {
    Node* node = child(from, from_name);
    Node* other = child(to, to_name);
    if (node && node == other) return;  // two names of one file: rename(2) does nothing
    std::vector<Node*> parents;
    if (node && node->links <= 1) {
        remove_names(*node, parents);  // other spellings go with it
    } else if (node) {
        remove_name(*node, from, from_name);
    }
    if (other) remove_name(*other, to, to_name);
    if (node) add_name(*node, to, to_name);
    for (Node* parent : parents) erase_if_unused(parent);
    if (!other) return;
    if (exchange) {
        add_name(*other, from, from_name);
    } else {
        lost_link(*other);
        erase_if_unused(other);
    }
}

bool NodeTable::place(Node& node, proto::Place& place) {
    std::vector<const std::string*> path;
    const Node* at = &node;
    while (at->id != kRootId && at->slot == 0) {
        if (at->names.empty()) return false;
        path.push_back(&at->names.back().name);
        at = at->names.back().parent;
    }
    place.set_slot(at->slot);
    std::string& text = *place.mutable_path();
    text.clear();
    for (auto name = path.rbegin(); name != path.rend(); ++name) {
        if (!text.empty()) text += '/';
        text += **name;
    }
    if (at->slot != 0 && recent_at_[at->slot] != recent_.end())
        recent_.splice(recent_.begin(), recent_, recent_at_[at->slot]);
    return true;
}

bool NodeTable::open_place(Node& node, proto::Place& where, bool& fresh) {
    fresh = false;
    if (!place(node, where)) return false;
    if (node.id == kRootId || node.slot != 0) return true;
    // Where all slots are taken it is opened for this request alone.
    uint32_t slot = take_slot(node);
    fresh = slot != 0;
    where.set_keep(slot);
    return true;
}

uint32_t NodeTable::take_slot(Node& node) {
    uint32_t slot;
    if (!free_slots_.empty()) {
        slot = free_slots_.back();
        free_slots_.pop_back();
    } else if (!recent_.empty()) {
        slot = recent_.back();
        recent_.pop_back();
        slots_[slot]->slot = 0;
    } else {
        return 0;
    }
    // It is closed by being used anew.
    std::erase(dropped_, slot);
    slots_[slot] = &node;
    node.slot = slot;
    recent_.push_front(slot);
    recent_at_[slot] = recent_.begin();
    return slot;
}

void NodeTable::pin(Node& node) {
    if (node.slot == 0 || node.pinned) return;
    node.pinned = true;
    ++pins_;
    recent_.erase(recent_at_[node.slot]);
    recent_at_[node.slot] = recent_.end();
}

void NodeTable::unpin(Node& node) {
    if (!node.pinned) return;
    node.pinned = false;
    --pins_;
    recent_.push_front(node.slot);
    recent_at_[node.slot] = recent_.begin();
}

void NodeTable::drop_slot(Node& node) {
    if (node.slot == 0) return;
    uint32_t slot = node.slot;
    if (recent_at_[slot] != recent_.end()) recent_.erase(recent_at_[slot]);
    recent_at_[slot] = recent_.end();
    slots_[slot] = nullptr;
    free_slots_.push_back(slot);
    dropped_.push_back(slot);
    node.slot = 0;
    if (node.pinned) --pins_;
    node.pinned = false;
}

}  // namespace inspect::fuse
