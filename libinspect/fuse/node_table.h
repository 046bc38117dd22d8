// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NodeTable: the inodes that the host's kernel knows, and where they are in the guest's tree.
//
// The kernel names inodes by numbers (node ids) and tells when it has forgotten one. The agent is told
// places: a directory that it has open in a slot, and names from there. In between is this table. It holds
// for every node its names and its slot, if it has one. Nobody else changes the tree, so the names are right
// as long as each change of ours is entered here; a node that has lost its last name can only be reached
// while it is pinned: kept open in a slot that is not given to another.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "fuse/node_stat.h"
#include "protocol/frame.h"
#include "protocol/insp.pb.h"

namespace inspect::fuse {

inline constexpr uint64_t kRootId = 1;

struct Node {
    struct Name {
        Node* parent;
        std::string name;
    };

    uint64_t id = 0;
    uint64_t device = 0;  // the guest's
    uint64_t inode = 0;
    uint64_t shown_inode = 0;  // to the host
    uint32_t mode = 0;
    uint64_t links = 0;
    uint64_t size = 0;           // as far as is known; for guessing, not for deciding
    uint64_t lookups = 0;        // that the kernel has not yet taken back
    uint32_t opens = 0;          // files that are open now (of writable mounts)
    uint32_t writers = 0;        // of these, the ones for writing
    uint32_t children = 0;       // names of other nodes in this directory
    std::vector<Name> names;     // in no order; none: the root, or unlinked
    uint32_t slot = 0;           // what the agent has open of it; 0: nothing
    bool pinned = false;         // the slot must stay
    bool gone = false;           // its inode number may be another file's by now
    bool leaving = false;        // its last name is being removed, and it is not pinned
    bool no_xattrs = false;      // it is known to have none
    uint64_t changed = 0;        // TreeServer's count when it was last changed
    uint64_t entry_changed = 0;  // the same of something that has a name in this directory
    uint64_t read_end = 0;       // where the last read ended
    uint64_t read_ahead = 0;     // how far has been read in advance
    std::string link_target;     // of a symlink; empty: not known

    bool is_directory() const { return S_ISDIR(mode); }
    bool is_regular() const { return S_ISREG(mode); }
    // A file is opened with these flags (1), or closed (-1).
    void count_open(int flags, int change) {
        opens += static_cast<uint32_t>(change);
        if ((flags & O_ACCMODE) != O_RDONLY) writers += static_cast<uint32_t>(change);
    }
};

// Not thread-safe.
class NodeTable {
  public:
    // caseless: the guest's devices whose file systems don't tell upper case from lower, and may give a file
    // another inode number each time that they look at it.
    explicit NodeTable(const NodeStat& root, std::unordered_set<uint64_t> caseless = {});

    Node& root() { return *find(kRootId); }
    Node* find(uint64_t id);
    Node* child(Node& parent, std::string_view name);
    // The inode number to show: the guest's, told apart between its file systems.
    uint64_t shown_inode(uint64_t device, uint64_t inode);

    // The node that is at this name, if it is known already; what is known of it may be later than `stat`.
    Node* known(Node& parent, std::string_view name, const NodeStat& stat);
    // The node that is at this name, new or known, with these attributes. A file with several names is one
    // node. A directory that the guest has in several places (btrfs has the root in its own snapshots) is as
    // many, each with an inode number of its own, so that who goes through the tree finds no loop.
    Node& remember(Node& parent, std::string_view name, const NodeStat& stat);
    bool is_caseless(uint64_t device) const { return caseless_.contains(device); }
    void update(Node& node, const NodeStat& stat);
    // The kernel takes back `count` lookups.
    void forget(uint64_t id, uint64_t count);

    // What was done to names.
    void removed(Node& parent, std::string_view name);
    void renamed(Node& from, std::string_view from_name, Node& to, std::string_view to_name, bool exchange);

    // Where the node is. False: it has lost its names and is not pinned.
    bool place(Node& node, proto::Place& place);
    // The same for a request that opens it: it is kept in a slot from then on. True in `fresh`: it wasn't
    // yet.
    bool open_place(Node& node, proto::Place& place, bool& fresh);
    // A slot for a node that is about to lose its last name, or is just being made.
    uint32_t take_slot(Node& node);
    // So many slots can be pinned; the rest is for what is on its way.
    static constexpr size_t kMostPins = protocol::kMaxTreeSlots / 4 * 3;
    bool may_pin() const { return pins_ < kMostPins; }
    // Its slot is not given to another, or may be again.
    void pin(Node& node);
    void unpin(Node& node);
    // The node is in no slot any more; what the agent has in it is to be closed.
    void drop_slot(Node& node);
    // The slots that the agent is to close, since the last call.
    std::vector<uint32_t> take_dropped() { return std::exchange(dropped_, {}); }
    bool has_dropped() const { return !dropped_.empty(); }

    size_t size() const { return nodes_.size(); }

  private:
    struct Key {
        uint64_t one;
        uint64_t other;
        bool operator==(const Key&) const = default;
    };
    struct KeyHash {
        size_t operator()(const Key& key) const {
            return std::hash<uint64_t>()(key.one * 0x9e3779b97f4a7c15 ^ key.other);
        }
    };
    struct NameKey {
        uint64_t parent;
        std::string name;
        bool operator==(const NameKey&) const = default;
    };
    struct NameHash {
        size_t operator()(const NameKey& key) const {
            return std::hash<std::string_view>()(key.name) ^ key.parent * 0x9e3779b97f4a7c15;
        }
    };

    void add_name(Node& node, Node& parent, std::string_view name);
    void remove_name(Node& node, Node& parent, std::string_view name);
    void remove_names(Node& node, std::vector<Node*>& parents);
    void renumber(Node& node, uint64_t inode);
    void lost_link(Node& node);
    void erase_if_unused(Node* node);

    std::unordered_map<uint64_t, std::unique_ptr<Node>> nodes_;
    std::unordered_map<Key, Node*, KeyHash> by_inode_;
    std::unordered_map<NameKey, Node*, NameHash> by_name_;
    std::unordered_map<uint64_t, uint64_t> devices_;  // the guest's device, in the order of appearance
    std::unordered_set<uint64_t> caseless_;
    uint64_t next_id_ = kRootId + 1;
    uint64_t further_places_ = 0;  // of directories that were in another place already

    std::vector<Node*> slots_;    // who has it; [0] is the root's
    std::list<uint32_t> recent_;  // slots that may be taken, the one used last at the front
    std::vector<std::list<uint32_t>::iterator> recent_at_;
    std::vector<uint32_t> free_slots_;
    std::vector<uint32_t> dropped_;
    size_t pins_ = 0;
};

}  // namespace inspect::fuse
