// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TreeServer's operations on the contents of files.
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "fuse/tree_server.h"

namespace inspect::fuse {

namespace {

constexpr uint64_t kChunk = ReadCache::kChunk;
constexpr uint64_t kFetch = 4;       // chunks of one request
constexpr uint64_t kReadAhead = 16;  // chunks, of a file that is read in order

}  // namespace

// A read that waits for chunks.
struct TreeServer::PendingRead {
    fuse_req_t req;
    uint64_t node;
    uint64_t offset;
    size_t size;
    std::vector<std::shared_ptr<ReadCache::Chunk>> chunks;
    size_t loading = 0;
};

void TreeServer::open(fuse_req_t req, uint64_t id, fuse_file_info* info) {
    Node* node = nodes_.find(id);
    // ESTALE has the kernel look the name up again, which may be another file's by now.
    const bool stale = !node || node->leaving || (node->gone && node->slot == 0);
    if (stale || no_opens_) {
        fuse_reply_err(req, no_opens_ ? ENOSYS : ESTALE);
        return;
    }
    info->keep_cache = true;
    node->count_open(info->flags, 1);
    if (fuse_reply_open(req, info) != 0) node->count_open(info->flags, -1);
}

void TreeServer::release(fuse_req_t req, uint64_t id, const fuse_file_info& info) {
    if (Node* node = nodes_.find(id)) node->count_open(info.flags, -1);
    fuse_reply_err(req, 0);
}

// ---- reading

void TreeServer::finish_read(const PendingRead& read) {
    std::vector<iovec> pieces;
    uint64_t at = read.offset;
    uint64_t end = read.offset + read.size;
    for (const auto& chunk : read.chunks) {
        // More was read than was asked for, and what is damaged may be in the rest.
        if (chunk->error != 0) return read_uncached(read.req, read.node, read.size, read.offset);
        uint64_t begin = at % kChunk;
        uint64_t wanted = std::min(kChunk - begin, end - at);
        if (begin >= chunk->data.size()) break;
        uint64_t count = std::min<uint64_t>(wanted, chunk->data.size() - begin);
        pieces.push_back({chunk->data.data() + begin, count});
        if (count < wanted) break;  // the file ends here
        at += count;
    }
    fuse_reply_iov(read.req, pieces.data(), static_cast<int>(pieces.size()));
}

void TreeServer::read(fuse_req_t req, uint64_t id, size_t size, uint64_t offset) {
    Node* node = nodes_.find(id);
    if (!node || size == 0) {
        fuse_reply_err(req, node ? EINVAL : ESTALE);
        return;
    }
    bool in_order = offset == node->read_end || offset == 0;
    node->read_end = offset + size;
    // A file that doesn't fit in the cache, read here and there: whole chunks would be for nothing.
    if (!in_order && node->size > 2 * ReadCache::kMostBytes) return read_uncached(req, id, size, offset);
    uint64_t first = offset / kChunk;
    uint64_t last = (offset + size - 1) / kChunk;
    auto read = std::make_shared<PendingRead>(PendingRead{req, id, offset, size, {}});
    for (uint64_t index = first; index <= last; ++index) {
        if (!cache_.find(id, index)) {
            uint64_t missing = 1;
            while (index + missing <= last && !cache_.find(id, index + missing)) ++missing;
            fetch_chunks(id, index, missing);
        }
        std::shared_ptr<ReadCache::Chunk> chunk = cache_.find(id, index);
        read->chunks.push_back(chunk);
        if (!chunk->loading) continue;
        ++read->loading;
        chunk->waiting.push_back([this, read] {
            if (--read->loading == 0) finish_read(*read);
        });
    }
    if (in_order) read_ahead(*node, first, last + 1);
    if (offset == 0) read_neighbours(*node);
    if (read->loading == 0) finish_read(*read);
}

// The chunks [begin, end) were asked for, in order.
void TreeServer::read_ahead(Node& node, uint64_t begin, uint64_t end) {
    if (begin == 0 && node.read_ahead > end) node.read_ahead = 0;  // from the start again
    uint64_t last = (node.size + kChunk - 1) / kChunk;
    uint64_t from = std::max(end, node.read_ahead);
    // The further the reader has come, the further it will go. Not for each chunk anew.
    uint64_t target = std::min(last, end + std::min(kReadAhead, 2 * end));
    if (from >= target || (target < last && target - from < kFetch)) return;
    node.read_ahead = target;
    for (uint64_t index = from; index < target;) {
        uint64_t missing = 0;
        while (index + missing < target && missing < kFetch && !cache_.find(node.id, index + missing))
            ++missing;
        if (missing > 0) fetch_chunks(node.id, index, missing);
        index += std::max<uint64_t>(missing, 1);
    }
}

// Files that are read in the order in which their directory lists them: the next ones are fetched together,
// as long as they are small.
void TreeServer::read_neighbours(const Node& node) {
    constexpr size_t kSearch = 256;  // entries
    constexpr size_t kSkipped = 16;  // entries that a reader in order passes over: directories, large files
    constexpr unsigned kLeast = 4;   // files
    constexpr unsigned kMost = 32;
    if (node.names.empty()) return;
    Node& directory = *node.names.back().parent;
    std::shared_ptr<Listing> listing = listings_.find(directory.id);
    if (!listing || listing->loading || directory.changed > listing->changes) return;
    const std::vector<Listing::Entry>& entries = listing->entries;
    const std::string& name = node.names.back().name;
    auto search = [&](size_t from) {
        size_t end = std::min(entries.size(), from + kSearch);
        while (from < end && entries[from].name != name) ++from;
        return from < end ? from : entries.size();
    };
    size_t at = search(listing->last_read);
    bool in_order = at < entries.size() && at - listing->last_read <= kSkipped;
    if (at == entries.size()) at = search(0);
    if (at == entries.size()) return;
    listing->fetch_size = in_order ? std::clamp(2 * listing->fetch_size, kLeast, kMost) : kLeast;
    if (!in_order) listing->fetched_to = 0;
    listing->last_read = at + 1;
    if (listing->fetched_to > at + listing->fetch_size / 2) return;
    size_t next = std::max(listing->fetched_to, at + 1);
    for (unsigned fetched = 0; next < entries.size() && fetched < listing->fetch_size; ++next) {
        const std::optional<NodeStat>& stat = entries[next].stat;
        if (!stat || !S_ISREG(stat->attributes.st_mode)) continue;
        const Node* file = nodes_.child(directory, entries[next].name);
        if (!file || file->size == 0 || file->size > kChunk || cache_.find(file->id, 0)) continue;
        fetch_chunks(file->id, 0, 1);
        ++fetched;
    }
    listing->fetched_to = next;
}

void TreeServer::fetch_chunks(uint64_t id, uint64_t first, uint64_t count) {
    auto chunks = std::make_shared<std::vector<std::shared_ptr<ReadCache::Chunk>>>();
    for (uint64_t i = 0; i < count; ++i) chunks->push_back(cache_.add(id, first + i));
    auto loaded = [this, id, first, chunks](int error) {
        for (size_t i = 0; i < chunks->size(); ++i) {
            (*chunks)[i]->error = error;
            cache_.loaded(id, first + i, (*chunks)[i]);
        }
    };
    Question question;
    proto::TreeRead& request = *question.request.mutable_tree_read();
    request.set_offset(first * kChunk);
    const Node* node = nodes_.find(id);
    // What can't change is read to its end and not beyond; and if that was all of it, it needn't stay open.
    bool whole = !options_.writable && node && node->size <= kChunk;
    request.set_length(static_cast<uint32_t>(whole ? std::max<uint64_t>(node->size, 1) : count * kChunk));
    question.most_bytes = request.length();
    question.place = [id, whole](Placer& placer, proto::Request& asked) {
        proto::Place& place = *asked.mutable_tree_read()->mutable_place();
        return whole ? placer.object(id, place) : placer.opened(id, place);
    };
    question.on_data = [chunks, at = size_t{0}](std::span<const std::byte> bytes) mutable {
        while (!bytes.empty()) {
            std::vector<std::byte>& data = (*chunks)[at / kChunk]->data;
            size_t part = std::min<size_t>(bytes.size(), kChunk - at % kChunk);
            data.insert(data.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(part));
            bytes = bytes.subspan(part);
            at += part;
        }
    };
    question.answered = [loaded](const proto::Response&) { loaded(0); };
    question.failed = loaded;
    ask(nullptr, std::move(question));
}

void TreeServer::read_uncached(fuse_req_t req, uint64_t id, size_t size, uint64_t offset) {
    auto data = std::make_shared<std::vector<std::byte>>();
    Question question;
    question.request.mutable_tree_read()->set_offset(offset);
    question.request.mutable_tree_read()->set_length(static_cast<uint32_t>(size));
    question.most_bytes = static_cast<uint32_t>(size);
    question.place = [id](Placer& placer, proto::Request& request) {
        return placer.opened(id, *request.mutable_tree_read()->mutable_place());
    };
    question.on_data = [data](std::span<const std::byte> bytes) {
        data->insert(data->end(), bytes.begin(), bytes.end());
    };
    question.answered = [req, data](const proto::Response&) {
        fuse_reply_buf(req, reinterpret_cast<const char*>(data->data()), data->size());
    };
    ask(req, std::move(question));
}

// ---- writing

void TreeServer::write(fuse_req_t req, uint64_t id, const char* data, size_t size, uint64_t offset) {
    Question question;
    question.request.mutable_tree_write()->set_offset(offset);
    question.request.mutable_tree_write()->set_data(data, size);
    cache_.drop(id, offset, size);
    if (Node* node = nodes_.find(id)) {
        // What was the file's end may be in a chunk before.
        if (offset > node->size) cache_.drop(id);
        node->size = std::max(node->size, offset + size);
    }
    changes({id});
    question.place = [id](Placer& placer, proto::Request& request) {
        return placer.opened(id, *request.mutable_tree_write()->mutable_place());
    };
    question.answered = [req, size](const proto::Response& response) {
        if (response.number() > size) {
            fuse_reply_err(req, EIO);
            return;
        }
        fuse_reply_write(req, response.number());
    };
    question.failed = [=, this](int error) {
        // How far the file goes is not known now.
        cache_.drop(id);
        if (Node* node = nodes_.find(id)) node->size = 0;
        fuse_reply_err(req, error);
    };
    ask(req, std::move(question));
}

// In an atomic session nothing reaches the image before the end, whatever the guest's kernel writes to its
// disk: a sync would take time and keep no promise. It waits for the writes before it, which tell their
// errors.
void TreeServer::sync(fuse_req_t req, uint64_t id, bool data_only) {
    Node* node = nodes_.find(id);
    if (!node) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    Question question;
    bool is_directory = node->is_directory();
    if (options_.durable) {
        question.request.mutable_tree_sync()->set_data_only(data_only);
        question.request.mutable_tree_sync()->set_is_directory(is_directory);
    } else {
        question.request.mutable_tree_close();
    }
    question.place = [id, durable = options_.durable](Placer& placer, proto::Request& request) {
        return durable ? placer.opened(id, *request.mutable_tree_sync()->mutable_place()) : 0;
    };
    question.answered = [req](const proto::Response&) { fuse_reply_err(req, 0); };
    ask(req, std::move(question));
}

void TreeServer::allocate(fuse_req_t req, uint64_t id, int mode, uint64_t offset, uint64_t length) {
    Question question;
    proto::TreeAllocate& allocate = *question.request.mutable_tree_allocate();
    allocate.set_mode(static_cast<uint32_t>(mode));
    allocate.set_offset(offset);
    allocate.set_length(length);
    cache_.drop(id);
    changes({id});
    question.place = [id](Placer& placer, proto::Request& request) {
        return placer.opened(id, *request.mutable_tree_allocate()->mutable_place());
    };
    question.answered = [req](const proto::Response&) { fuse_reply_err(req, 0); };
    ask(req, std::move(question));
}

void TreeServer::seek(fuse_req_t req, uint64_t id, uint64_t offset, int whence) {
    const Node* node = nodes_.find(id);
    if (node && node->writers > 0) {
        // The kernel may hold data for what is still a hole here, and doesn't write it back before it asks.
        // This is how lseek(2) says that it can't tell; cp and tar look for themselves then.
        fuse_reply_err(req, EINVAL);
        return;
    }
    Question question;
    question.request.mutable_tree_seek()->set_offset(offset);
    question.request.mutable_tree_seek()->set_whence(static_cast<uint32_t>(whence));
    question.place = [id](Placer& placer, proto::Request& request) {
        return placer.opened(id, *request.mutable_tree_seek()->mutable_place());
    };
    question.answered = [req](const proto::Response& response) {
        if (response.number() > INT64_MAX) {
            fuse_reply_err(req, EIO);
            return;
        }
        fuse_reply_lseek(req, static_cast<off_t>(response.number()));
    };
    ask(req, std::move(question));
}

void TreeServer::copy(fuse_req_t req, uint64_t from, uint64_t from_offset, uint64_t to, uint64_t to_offset,
                      size_t length) {
    Question question;
    proto::TreeCopy& copy = *question.request.mutable_tree_copy();
    copy.set_from_offset(from_offset);
    copy.set_to_offset(to_offset);
    copy.set_length(length);
    cache_.drop(to);
    changes({to});
    question.place = [=](Placer& placer, proto::Request& request) {
        proto::TreeCopy& message = *request.mutable_tree_copy();
        if (int error = placer.opened(from, *message.mutable_from())) return error;
        return placer.opened(to, *message.mutable_to());
    };
    question.answered = [=](const proto::Response& response) {
        if (response.number() > length) {
            fuse_reply_err(req, EIO);
            return;
        }
        fuse_reply_write(req, response.number());
    };
    ask(req, std::move(question));
}

}  // namespace inspect::fuse
