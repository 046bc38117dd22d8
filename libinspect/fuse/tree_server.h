// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TreeServer: answers the requests of the host's FUSE from the agent's open tree.
//
// Nothing here waits. An operation becomes a request in the Pipeline, and the reply is given when the answer
// comes, so that as many are on their way as the kernel has to ask. What needn't go to the agent doesn't:
// files and directories are opened there when they are first used, what was read ahead is here already, and
// that a file has no extended attributes is asked once.
//
// The operations are in tree_server_*.cc; each replies to its request exactly once. The agent's answers are
// checked before they are believed; what can't be gets EIO.
#pragma once

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "fuse/listing.h"
#include "fuse/node_table.h"
#include "fuse/read_cache.h"
#include "guest/pipeline.h"

namespace inspect::fuse {

struct TreeServerOptions {
    bool writable = false;
    // fsync is worth something: what the guest's kernel has written is in the image.
    bool durable = false;
    // The host's kernel checks permissions (default_permissions). New files belong to who makes them then,
    // else to root.
    bool check_permissions = false;
    // NodeTable's.
    std::unordered_set<uint64_t> caseless = {};
};

// Not thread-safe.
class TreeServer {
  public:
    // The agent has opened the tree. Does not own the pipeline.
    TreeServer(Pipeline& pipeline, const TreeServerOptions& options, const NodeStat& root);
    ~TreeServer();
    TreeServer(const TreeServer&) = delete;
    TreeServer& operator=(const TreeServer&) = delete;

    // The operations, for fuse_session_new() with this object as their user data.
    static const fuse_lowlevel_ops& operations();
    // The kernel says what it can; it is told what is wanted.
    void negotiate(fuse_conn_info* connection);

    // Where to tell the kernel of what it doesn't see by itself; it must outlive this.
    void set_session(fuse_session* session) { session_ = session; }

    // Requests of our own that are due: once before each Pipeline::send().
    void tidy_up();

    // names
    void lookup(fuse_req_t req, uint64_t parent, const char* name);
    void forget(uint64_t node, uint64_t count);
    struct NewObject {
        uint32_t mode;
        dev_t rdev = 0;
        const char* target = "";
        const fuse_file_info* open = nullptr;  // of create
    };
    void make(fuse_req_t req, uint64_t parent, const char* name, const NewObject& object);
    void remove(fuse_req_t req, uint64_t parent, const char* name, bool is_directory);
    void rename(fuse_req_t req, uint64_t parent, const char* name, uint64_t new_parent, const char* new_name,
                unsigned flags);
    void link(fuse_req_t req, uint64_t node, uint64_t new_parent, const char* new_name);

    // directories
    void open_directory(fuse_req_t req, uint64_t node, fuse_file_info* info);
    void read_directory(fuse_req_t req, uint64_t node, size_t size, int64_t offset, fuse_file_info* info,
                        bool plus);
    void release_directory(fuse_req_t req, fuse_file_info* info);

    // attributes
    void get_attributes(fuse_req_t req, uint64_t node);
    void set_attributes(fuse_req_t req, uint64_t node, const struct stat& attributes, int to_set);
    void read_link(fuse_req_t req, uint64_t node);
    void get_xattr(fuse_req_t req, uint64_t node, const char* name, size_t size);
    void set_xattr(fuse_req_t req, uint64_t node, const char* name, const char* value, size_t size,
                   int flags);
    void remove_xattr(fuse_req_t req, uint64_t node, const char* name);
    void access(fuse_req_t req, uint64_t node, int mask);
    void statfs(fuse_req_t req, uint64_t node);

    // contents
    void open(fuse_req_t req, uint64_t node, fuse_file_info* info);
    void release(fuse_req_t req, uint64_t node, const fuse_file_info& info);
    void read(fuse_req_t req, uint64_t node, size_t size, uint64_t offset);
    void write(fuse_req_t req, uint64_t node, const char* data, size_t size, uint64_t offset);
    void sync(fuse_req_t req, uint64_t node, bool data_only);
    void allocate(fuse_req_t req, uint64_t node, int mode, uint64_t offset, uint64_t length);
    void seek(fuse_req_t req, uint64_t node, uint64_t offset, int whence);
    void copy(fuse_req_t req, uint64_t from, uint64_t from_offset, uint64_t to, uint64_t to_offset,
              size_t length);

  private:
    struct DirectoryStream;

    // The slots that a request fills; where it fails, they may be empty.
    struct Filled {
        std::array<uint64_t, 3> nodes;
        size_t count = 0;
    };
    // Fills the places of a request about to be sent; returns 0 or the errno that it fails with.
    class Placer {
      public:
        Placer(NodeTable& nodes, Filled& filled) : nodes_(nodes), filled_(filled) {}
        int object(uint64_t node, proto::Place& place);
        int opened(uint64_t node, proto::Place& place);
        // A slot for the node: its own, or one that the request fills.
        uint32_t slot_for(Node& node);

      private:
        NodeTable& nodes_;
        Filled& filled_;
    };
    struct Question {
        proto::Request request;
        std::function<int(Placer&, proto::Request&)> place;
        // A success.
        std::function<void(const proto::Response&)> answered;
        // An errno; missing: it is the reply.
        std::function<void(int)> failed = {};
        std::function<void(std::span<const std::byte>)> on_data = {};
        std::function<void(const proto::Item&)> on_item = {};
        uint32_t most_bytes = 0;
        bool alone = false;
    };
    void ask(fuse_req_t req, Question question);
    void settle_failure(const Filled& filled);
    // For a request that takes a name away from a file: `keep` is the slot to open it in before, if it is
    // used on without a name. Returns an errno.
    int before_loss(Placer& placer, uint64_t node, uint32_t& keep);
    void after_failed_loss(uint64_t node);
    void reply_set_xattr(fuse_req_t req, uint64_t node, const std::string& name);

    void reply_entry(fuse_req_t req, Node* node, const NodeStat& stat);
    fuse_entry_param entry_of(Node& node, const NodeStat& stat);
    double name_timeout(uint64_t device) const;
    void reply_attributes(fuse_req_t req, uint64_t node, const proto::Response& response);
    static struct stat shown(const Node& node, const NodeStat& stat);
    // The answer's stat, checked.
    static std::optional<NodeStat> stat_of(const proto::Response& response);
    // Notes that these are about to change: what is known of them from before is not used any more.
    void changes(std::initializer_list<uint64_t> nodes);

    std::shared_ptr<Listing> first_listing(uint64_t directory);
    std::shared_ptr<Listing> fetch_listing(uint64_t directory, int64_t cookie);
    void reply_entries(fuse_req_t req, DirectoryStream& stream, size_t size, bool plus);
    struct stat shown_entry(Node* directory, const Listing::Entry& entry);
    void offer_node(Node& directory, const Listing& listing, const Listing::Entry& entry,
                    fuse_entry_param& param);
    Node* remember_listed(Node& directory, uint64_t changes, const std::string& name, const NodeStat& stat);

    // Directories that a walk will come to.
    struct ToCome {
        uint64_t parent;
        uint64_t changes;  // the count when its stat was asked for
        std::string name;
        NodeStat stat;
    };
    void walk(uint64_t directory, const std::shared_ptr<Listing>& listing);
    void after_loading(uint64_t directory, const std::shared_ptr<Listing>& listing);
    void expand(uint64_t directory, Listing& listing);
    void go_ahead();

    struct PendingRead;
    void fetch_chunks(uint64_t node, uint64_t first, uint64_t count);
    void read_uncached(fuse_req_t req, uint64_t node, size_t size, uint64_t offset);
    void read_ahead(Node& node, uint64_t begin, uint64_t end);
    void read_neighbours(const Node& node);
    void finish_read(const PendingRead& read);

    Pipeline& pipeline_;
    TreeServerOptions options_;
    fuse_session* session_ = nullptr;
    NodeTable nodes_;
    ReadCache cache_;
    ListingCache listings_;
    std::deque<ToCome> to_come_;
    std::unordered_set<uint64_t> ahead_;  // listed in advance, and not yet read
    size_t asked_ahead_ = 0;              // and not yet answered
    // The last change to a file with other names than we know, and that we know no more: a listing from
    // before it may be old.
    uint64_t unknown_changed_ = 0;
    uint64_t changes_ = 0;        // how many there were
    int fill_error_ = 0;          // of the last request that was to fill a slot and failed
    bool no_opens_ = false;       // the kernel opens files without asking
    bool xattrs_wanted_ = false;  // somebody asks for extended attributes
};

}  // namespace inspect::fuse
