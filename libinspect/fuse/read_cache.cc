// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/read_cache.h"

#include <utility>

namespace inspect::fuse {

std::shared_ptr<ReadCache::Chunk> ReadCache::find(uint64_t node, uint64_t index) {
    auto file = files_.find(node);
    if (file == files_.end()) return nullptr;
    auto entry = file->second.find(index);
    if (entry == file->second.end()) return nullptr;
    recent_.splice(recent_.begin(), recent_, entry->second.recent);
    return entry->second.chunk;
}

std::shared_ptr<ReadCache::Chunk> ReadCache::add(uint64_t node, uint64_t index) {
    File& file = files_[node];
    if (auto entry = file.find(index); entry != file.end()) erase(file, entry);
    recent_.push_front({node, index});
    auto chunk = std::make_shared<Chunk>();
    file.emplace(index, Entry{chunk, recent_.begin()});
    return chunk;
}

void ReadCache::loaded(uint64_t node, uint64_t index, const std::shared_ptr<Chunk>& chunk) {
    chunk->loading = false;
    bool held = find(node, index) == chunk;
    if (held) bytes_ += chunk->data.size();
    if (held && chunk->error != 0) erase(files_[node], files_[node].find(index));
    for (const auto& tell : std::exchange(chunk->waiting, {})) tell();
    while (bytes_ > kMostBytes && recent_.size() > 1) {
        Place last = recent_.back();
        File& file = files_[last.node];
        erase(file, file.find(last.index));
        if (file.empty()) files_.erase(last.node);
    }
}

void ReadCache::erase(File& file, File::iterator entry) {
    if (!entry->second.chunk->loading) bytes_ -= entry->second.chunk->data.size();
    recent_.erase(entry->second.recent);
    file.erase(entry);
}

void ReadCache::drop(uint64_t node) {
    auto file = files_.find(node);
    if (file == files_.end()) return;
    while (!file->second.empty()) erase(file->second, file->second.begin());
    files_.erase(file);
}

void ReadCache::drop(uint64_t node, uint64_t offset, uint64_t length) {
    auto file = files_.find(node);
    if (file == files_.end() || length == 0) return;
    uint64_t end = (offset + length - 1) / kChunk + 1;
    for (auto entry = file->second.lower_bound(offset / kChunk);
         entry != file->second.end() && entry->first < end;)
        erase(file->second, entry++);
    if (file->second.empty()) files_.erase(file);
}

}  // namespace inspect::fuse
