// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TreeServer's reading of directories. The kernel asks for a page of entries at a time; the agent sends many,
// with their attributes, and what the kernel has got it needn't look up.
#include <cerrno>

#include "fuse/directory_stream.h"
#include "fuse/tree_server.h"

namespace inspect::fuse {

namespace {

constexpr uint32_t kEntriesBytes = 192 << 10;  // of one answer, about
constexpr ino_t kUnknownInode = 0xffffffff;

bool is_dots(const std::string& name) { return name == "." || name == ".."; }

bool is_name(const std::string& name) {
    return !name.empty() && name.size() <= kMostName && name.find('/') == name.npos &&
           name.find('\0') == name.npos;
}

}  // namespace

void TreeServer::open_directory(fuse_req_t req, uint64_t node, fuse_file_info* info) {
    auto stream = std::make_shared<DirectoryStream>();
    stream->node = node;
    info->fh = reinterpret_cast<uint64_t>(new std::shared_ptr<DirectoryStream>(std::move(stream)));
    info->keep_cache = true;
    info->cache_readdir = true;
    if (fuse_reply_open(req, info) != 0) delete reinterpret_cast<std::shared_ptr<DirectoryStream>*>(info->fh);
}

void TreeServer::release_directory(fuse_req_t req, fuse_file_info* info) {
    delete reinterpret_cast<std::shared_ptr<DirectoryStream>*>(info->fh);
    fuse_reply_err(req, 0);
}

void TreeServer::read_directory(fuse_req_t req, uint64_t node, size_t size, int64_t offset,
                                fuse_file_info* info, bool plus) {
    std::shared_ptr<DirectoryStream> stream = *reinterpret_cast<std::shared_ptr<DirectoryStream>*>(info->fh);
    const Node* directory = nodes_.find(node);
    // From the beginning after a change: afresh. In between it goes on with what there was.
    bool stale = offset == 0 && directory && directory->changed > stream->changes;
    if (offset != stream->offset() || stale) stream->restart(offset);
    if (stream->position < stream->entries.size() || stream->at_end)
        return reply_entries(req, *stream, size, plus);
    fetch_entries(req, stream, offset, [=, this] { reply_entries(req, *stream, size, plus); });
}

// Returns false when the item is against the rules.
bool TreeServer::take_entries(const proto::Item& item, DirectoryStream& stream) {
    if (!item.has_tree_nodes()) return false;
    for (const proto::TreeNode& wire : item.tree_nodes().nodes()) {
        if (!is_name(wire.name())) return false;
        DirectoryStream::Entry& entry = stream.entries.emplace_back();
        entry.name = wire.name();
        entry.next = wire.next();
        entry.no_xattrs = wire.no_xattrs();
        if (wire.has_stat()) entry.stat = checked_stat(wire.stat());
    }
    return true;
}

void TreeServer::fetch_entries(fuse_req_t req, const std::shared_ptr<DirectoryStream>& stream, int64_t cookie,
                               std::function<void()> then) {
    Question question;
    proto::TreeList& list = *question.request.mutable_tree_list();
    list.set_cookie(cookie);
    list.set_bytes(kEntriesBytes);
    list.set_xattrs(xattrs_wanted_);
    stream->restart(cookie);
    stream->changes = changes_;
    stream->bad = false;
    question.most_bytes = 4 * kEntriesBytes;
    question.place = [id = stream->node](Placer& placer, proto::Request& request) {
        return placer.opened(id, *request.mutable_tree_list()->mutable_directory());
    };
    question.on_item = [stream](const proto::Item& item) {
        if (!take_entries(item, *stream)) stream->bad = true;
    };
    question.answered = [req, stream, then = std::move(then)](const proto::Response& response) {
        // Without an entry and without an end it would be asked for ever.
        if (stream->bad || (stream->entries.empty() && !response.at_end())) {
            stream->restart(stream->begin);
            fuse_reply_err(req, EIO);
            return;
        }
        stream->at_end = response.at_end();
        then();
    };
    ask(req, std::move(question));
}

void TreeServer::reply_entries(fuse_req_t req, DirectoryStream& stream, size_t size, bool plus) {
    std::vector<char> buffer(size);
    size_t used = 0;
    Node* directory = nodes_.find(stream.node);
    bool fresh = directory && directory->changed <= stream.changes;
    for (; stream.position < stream.entries.size(); ++stream.position) {
        const DirectoryStream::Entry& entry = stream.entries[stream.position];
        char* at = buffer.data() + used;
        size_t left = size - used;
        fuse_entry_param param{};
        param.attr.st_ino = kUnknownInode;
        if (entry.stat) param.attr = shown(*entry.stat);
        size_t needed = plus ? fuse_add_direntry_plus(req, nullptr, 0, entry.name.c_str(), nullptr, 0)
                             : fuse_add_direntry(req, nullptr, 0, entry.name.c_str(), nullptr, 0);
        if (needed > left) break;
        Node* node = nullptr;
        if (plus && fresh && entry.stat && !is_dots(entry.name)) {
            node = nodes_.remember(*directory, entry.name, *entry.stat);
            // What it was before it changed is not what it is: the kernel will look it up.
            if (node && node->changed > stream.changes) node = nullptr;
        }
        if (node) {
            param = entry_of(*node, *entry.stat);
            if (entry.no_xattrs) node->no_xattrs = true;
            ++node->lookups;
        }
        used += plus ? fuse_add_direntry_plus(req, at, left, entry.name.c_str(), &param, entry.next)
                     : fuse_add_direntry(req, at, left, entry.name.c_str(), &param.attr, entry.next);
    }
    fuse_reply_buf(req, buffer.data(), used);
}

}  // namespace inspect::fuse
