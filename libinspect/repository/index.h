// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The index: in which pack every blob is. (restic's design document, "Indexing".)
#pragma once

#include <functional>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "repository/pack.h"

namespace inspect::repository {

struct IndexedPack {
    ObjectId id;
    std::vector<PackedBlob> blobs;
};

struct IndexFile {
    std::vector<ObjectId> supersedes;  // indexes that this one replaces
    std::vector<IndexedPack> packs;
};

// Throws Error(kCorrupt): no JSON, ids that are none, lengths that make no sense.
IndexFile parse_index(std::string_view text);
std::string format_index(const std::vector<IndexedPack>& packs);

struct BlobLocation {
    ObjectId pack;
    PackedBlob blob;
};

// Thread-safe.
class Index {
  public:
    // A pack that is known is left as it is.
    void add(const IndexedPack& pack);
    // Where the blob is: in one pack, as a rule.
    std::vector<BlobLocation> find(BlobType type, const ObjectId& id) const;
    bool has(BlobType type, const ObjectId& id) const;
    // The size of its contents in bytes.
    std::optional<uint64_t> size_of(BlobType type, const ObjectId& id) const;
    bool has_pack(const ObjectId& pack) const;
    // Calls it for every pack, with the index locked for reading.
    void for_each_pack(const std::function<void(const IndexedPack&)>& call) const;
    size_t blob_count() const;

  private:
    struct Entry {
        uint32_t pack;
        uint32_t blob;
    };
    using Blobs = std::unordered_multimap<ObjectId, Entry, ObjectIdHash>;

    const Blobs& blobs(BlobType type) const { return blobs_[static_cast<size_t>(type)]; }
    const PackedBlob& at(const Entry& entry) const { return packs_[entry.pack].blobs[entry.blob]; }

    mutable std::shared_mutex mutex_;
    std::vector<IndexedPack> packs_;
    std::unordered_map<ObjectId, uint32_t, ObjectIdHash> pack_numbers_;
    Blobs blobs_[2];
};

}  // namespace inspect::repository
