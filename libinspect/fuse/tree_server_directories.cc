// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TreeServer's reading of directories. The kernel asks for a page of entries at a time; the agent sends many,
// with their attributes, and what the kernel has got it needn't look up.
//
// Who reads a directory and then one in it is likely to walk through the tree, as find and tar do. So when a
// directory is read whose parent was, those in it are asked for in advance. A walk then goes as fast as the
// agent can list, and not as fast as questions and answers follow each other.
#include <algorithm>
#include <cerrno>

#include "fuse/tree_server.h"

namespace inspect::fuse {

namespace {

constexpr uint32_t kEntriesBytes = 192 << 10;  // of one answer, about
constexpr ino_t kUnknownInode = 0xffffffff;
// In advance: directories that are asked for at once, that may be there before they are read, that wait.
constexpr size_t kMostAtOnce = 12;
constexpr size_t kMostAhead = 192;
constexpr size_t kMostToCome = 4096;

bool is_dots(const std::string& name) { return name == "." || name == ".."; }

bool is_name(const std::string& name) {
    return !name.empty() && name.size() <= kMostName && name.find('/') == name.npos &&
           name.find('\0') == name.npos;
}

// False when the item is against the rules.
bool take_entries(const proto::Item& item, Listing& listing) {
    if (!item.has_tree_nodes()) return false;
    for (const proto::TreeNode& wire : item.tree_nodes().nodes()) {
        if (!is_name(wire.name())) return false;
        Listing::Entry& entry = listing.entries.emplace_back();
        entry.name = wire.name();
        entry.next = wire.next();
        entry.no_xattrs = wire.no_xattrs();
        if (wire.has_stat()) entry.stat = checked_stat(wire.stat());
    }
    return true;
}

}  // namespace

// A directory that the host has open.
struct TreeServer::DirectoryStream {
    uint64_t node;
    std::shared_ptr<Listing> listing;  // where it is reading; null: nowhere yet
    size_t position = 0;               // how many of its entries were replied

    static DirectoryStream& of(const fuse_file_info& info) {
        return *reinterpret_cast<DirectoryStream*>(info.fh);
    }
    int64_t offset() const { return position == 0 ? listing->begin : listing->entries[position - 1].next; }
};

void TreeServer::open_directory(fuse_req_t req, uint64_t node, fuse_file_info* info) {
    auto stream = std::make_unique<DirectoryStream>(DirectoryStream{node, nullptr});
    info->fh = reinterpret_cast<uint64_t>(stream.get());
    info->keep_cache = true;
    info->cache_readdir = true;
    if (fuse_reply_open(req, info) == 0) static_cast<void>(stream.release());
}

void TreeServer::release_directory(fuse_req_t req, fuse_file_info* info) {
    delete &DirectoryStream::of(*info);
    fuse_reply_err(req, 0);
}

void TreeServer::read_directory(fuse_req_t req, uint64_t node, size_t size, int64_t offset,
                                fuse_file_info* info, bool plus) {
    DirectoryStream& stream = DirectoryStream::of(*info);
    // From the beginning it is read afresh. In between it goes on with what there was.
    bool goes_on = offset != 0 && stream.listing && !stream.listing->loading && stream.offset() == offset;
    if (!goes_on || (stream.position == stream.listing->entries.size() && !stream.listing->at_end)) {
        stream.listing = offset == 0 ? first_listing(node) : fetch_listing(node, offset);
        stream.position = 0;
        if (offset == 0) walk(node, stream.listing);
    }
    if (!stream.listing->loading) return reply_entries(req, stream, size, plus);
    // The stream lives as long as its requests: the kernel releases it after them.
    stream.listing->waiting.push_back([=, this, &stream] { reply_entries(req, stream, size, plus); });
}

// What is held, if nothing has changed since.
std::shared_ptr<Listing> TreeServer::first_listing(uint64_t id) {
    std::shared_ptr<Listing> held = listings_.find(id);
    const Node* node = nodes_.find(id);
    if (held && node && node->changed <= held->changes && node->entry_changed <= held->changes &&
        unknown_changed_ <= held->changes)
        return held;
    std::shared_ptr<Listing> listing = fetch_listing(id, 0);
    listings_.add(id, listing);
    // The cache has a lookup of its own, so that the node stays what it is.
    if (node) ++nodes_.find(id)->lookups;
    return listing;
}

std::shared_ptr<Listing> TreeServer::fetch_listing(uint64_t id, int64_t cookie) {
    auto listing = std::make_shared<Listing>();
    listing->begin = cookie;
    listing->changes = changes_;
    Question question;
    proto::TreeList& list = *question.request.mutable_tree_list();
    list.set_cookie(cookie);
    list.set_bytes(kEntriesBytes);
    list.set_xattrs(xattrs_wanted_);
    question.most_bytes = 4 * kEntriesBytes;
    question.place = [id](Placer& placer, proto::Request& request) {
        return placer.opened(id, *request.mutable_tree_list()->mutable_directory());
    };
    question.on_item = [listing](const proto::Item& item) {
        if (!take_entries(item, *listing)) listing->error = EIO;
    };
    question.answered = [=, this](const proto::Response& response) {
        listing->at_end = response.at_end();
        // Without an entry and without an end it would be asked for ever.
        if (listing->entries.empty() && !listing->at_end) listing->error = EIO;
        if (listing->error != 0) listing->entries.clear();
        listings_.loaded(id, listing);
    };
    question.failed = [=, this](int error) {
        listing->error = error;
        listing->entries.clear();
        listings_.loaded(id, listing);
    };
    ask(nullptr, std::move(question));
    return listing;
}

void TreeServer::reply_entries(fuse_req_t req, DirectoryStream& stream, size_t size, bool plus) {
    const Listing& listing = *stream.listing;
    if (listing.error != 0) {
        fuse_reply_err(req, listing.error);
        stream.listing = nullptr;
        return;
    }
    std::vector<char> buffer(size);
    size_t used = 0;
    Node* directory = nodes_.find(stream.node);
    bool fresh = directory && directory->changed <= listing.changes;
    for (; stream.position < listing.entries.size(); ++stream.position) {
        const Listing::Entry& entry = listing.entries[stream.position];
        const char* name = entry.name.c_str();
        size_t needed = plus ? fuse_add_direntry_plus(req, nullptr, 0, name, nullptr, 0)
                             : fuse_add_direntry(req, nullptr, 0, name, nullptr, 0);
        if (needed > size - used) break;
        fuse_entry_param param{};
        param.attr = shown_entry(directory, entry);
        if (plus && fresh) offer_node(*directory, listing, entry, param);
        char* at = buffer.data() + used;
        used += plus ? fuse_add_direntry_plus(req, at, size - used, name, &param, entry.next)
                     : fuse_add_direntry(req, at, size - used, name, &param.attr, entry.next);
    }
    fuse_reply_buf(req, buffer.data(), used);
}

struct stat TreeServer::shown_entry(Node* directory, const Listing::Entry& entry) {
    struct stat result {};
    result.st_ino = kUnknownInode;
    if (!entry.stat || !directory) return result;
    result = entry.stat->attributes;
    if (is_dots(entry.name)) {
        const bool above = entry.name == ".." && !directory->names.empty();
        result.st_ino = (above ? directory->names.back().parent : directory)->shown_inode;
        return result;
    }
    const Node* node = nodes_.known(*directory, entry.name, *entry.stat);
    result.st_ino = node ? node->shown_inode : nodes_.shown_inode(entry.stat->device, entry.stat->inode);
    return result;
}

// What a listing says of a file, unless something later is known: null then.
Node* TreeServer::remember_listed(Node& directory, uint64_t changes, const std::string& name,
                                  const NodeStat& stat) {
    const Node* known = nodes_.known(directory, name, stat);
    // Of what isn't known any more, all that is known is that something here has changed.
    const uint64_t changed = known ? known->changed : std::max(directory.entry_changed, unknown_changed_);
    return changed > changes ? nullptr : &nodes_.remember(directory, name, stat);
}

// Tells the kernel of the entry's inode, so that it needn't look it up; not where what is known is old.
void TreeServer::offer_node(Node& directory, const Listing& listing, const Listing::Entry& entry,
                            fuse_entry_param& param) {
    if (!entry.stat || is_dots(entry.name)) return;
    Node* node = remember_listed(directory, listing.changes, entry.name, *entry.stat);
    if (!node) return;
    param = entry_of(*node, *entry.stat);
    if (entry.no_xattrs) node->no_xattrs = true;
    ++node->lookups;
}

// ---- in advance

// The directory is being read from its beginning. Whoever reads one in it as well seems to go through the
// tree.
void TreeServer::walk(uint64_t id, const std::shared_ptr<Listing>& listing) {
    const Node* node = nodes_.find(id);
    std::shared_ptr<Listing> above;
    if (node && !node->names.empty()) above = listings_.find(node->names.back().parent->id);
    bool expected = ahead_.erase(id) > 0;
    listing->walked = true;
    if (!above || !above->walked) return;
    if (!expected) {
        // Another way than was thought.
        ahead_.clear();
        to_come_.clear();
    }
    after_loading(id, listing);
}

// What is in the directory is to come once its listing is there.
void TreeServer::after_loading(uint64_t id, const std::shared_ptr<Listing>& listing) {
    if (listing->expanded) return go_ahead();
    if (!listing->loading) return expand(id, *listing);
    // Not the pointer itself, which would keep itself alive.
    listing->waiting.push_back([this, id, known = std::weak_ptr(listing)] {
        if (std::shared_ptr<Listing> loaded = known.lock()) expand(id, *loaded);
    });
}

void TreeServer::expand(uint64_t id, Listing& listing) {
    listing.expanded = true;
    std::vector<ToCome> below;
    for (const Listing::Entry& entry : listing.entries) {
        if (!entry.stat || !S_ISDIR(entry.stat->attributes.st_mode) || is_dots(entry.name)) continue;
        below.push_back({id, listing.changes, entry.name, *entry.stat});
    }
    // In the order of the walk: those below this one come before those beside it.
    to_come_.insert(to_come_.begin(), below.begin(), below.end());
    if (to_come_.size() > kMostToCome) to_come_.resize(kMostToCome);
    go_ahead();
}

void TreeServer::go_ahead() {
    while (!to_come_.empty() && ahead_.size() < kMostAhead && asked_ahead_ < kMostAtOnce) {
        ToCome next = std::move(to_come_.front());
        to_come_.pop_front();
        Node* parent = nodes_.find(next.parent);
        if (!parent || parent->changed > next.changes) continue;
        const Node* node = remember_listed(*parent, next.changes, next.name, next.stat);
        if (!node || listings_.find(node->id)) continue;
        ahead_.insert(node->id);
        std::shared_ptr<Listing> listing = first_listing(node->id);
        ++asked_ahead_;
        listing->waiting.push_back([this] { --asked_ahead_; });
        after_loading(node->id, listing);
    }
}

}  // namespace inspect::fuse
