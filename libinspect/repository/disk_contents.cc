// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/disk_contents.h"

#include <algorithm>

#include <inspect/error.h>

#include "repository/compression.h"

namespace inspect::repository {

namespace {

// The largest chunk that restic makes; of zeros it makes these.
constexpr uint64_t kResticLargestChunk = 8ULL << 20;

}  // namespace

ObjectId zero_blob_id(uint64_t length) { return ObjectId::of_zeros(length); }

DiskContents::DiskContents(Repository& repository, const TreeNode& file,
                           const std::vector<uint64_t>& zero_lengths)
    : size_(file.size), ids_(file.content) {
    starts_.reserve(ids_.size() + 1);
    uint64_t at = 0;
    for (size_t i = 0; i < ids_.size(); ++i) {
        starts_.push_back(at);
        // Runs of zeros are the same blob again and again.
        if (i > 0 && ids_[i] == ids_[i - 1]) {
            at += at - starts_[i - 1];
        } else {
            const auto length = repository.index().size_of(BlobType::kData, ids_[i]);
            if (!length)
                throw Error(ErrorKind::kNotFound, "the data blob " + ids_[i].hex() + " of '" + file.name +
                                                      "' is in no index: an index or pack file was lost");
            at += *length;
        }
        if (at > size_ || at < starts_.back()) break;
    }
    if (at != size_ || starts_.size() != ids_.size())
        throw Error(ErrorKind::kCorrupt, "the blobs of '" + file.name + "' don't add up to its size");
    starts_.push_back(size_);
    std::vector<uint64_t> lengths = zero_lengths;
    lengths.push_back(kResticLargestChunk);
    for (uint64_t length : lengths)
        if (length != 0 && length <= std::min<uint64_t>(size_, kMaxObjectSize))
            zeros_.emplace_back(length, zero_blob_id(length));
}

DiskChunk DiskContents::chunk(size_t number) const {
    const uint64_t offset = starts_[number], length = starts_[number + 1] - offset;
    const bool zero = std::ranges::find(zeros_, std::pair(length, ids_[number])) != zeros_.end();
    return {ids_[number], offset, length, zero};
}

size_t DiskContents::find(uint64_t offset) const {
    // Empty chunks, of which a file may have any number, are passed over.
    return static_cast<size_t>(std::ranges::upper_bound(starts_, offset) - starts_.begin()) - 1;
}

}  // namespace inspect::repository
