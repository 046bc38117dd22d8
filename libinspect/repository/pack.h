// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Pack files: blobs, sealed one by one, and a sealed header at the end that says what they are. (restic's
// design document, "Pack Format".)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "repository/crypto.h"
#include "repository/object_id.h"

namespace inspect::repository {

enum class BlobType : uint8_t { kData, kTree };

// A blob and where in its pack it is.
struct PackedBlob {
    BlobType type = BlobType::kData;
    ObjectId id;                       // of its contents as they were before all
    uint32_t offset = 0;               // bytes
    uint32_t length = 0;               // in the pack, sealed
    uint32_t uncompressed_length = 0;  // 0: it isn't compressed

    // Of its contents, bytes.
    uint64_t plain_length() const {
        return uncompressed_length != 0 ? uncompressed_length : length - kSealOverhead;
    }
};

// The entries of a header that was opened. Offsets follow from the order and the lengths. Throws
// Error(kCorrupt) for an unknown kind of entry, a cut one, and blobs that are longer than `blobs_size`, what
// is before the header, or shorter than sealing makes them.
std::vector<PackedBlob> parse_pack_header(std::span<const std::byte> plain, uint64_t blobs_size);
Bytes format_pack_header(std::span<const PackedBlob> blobs);

// The size of the sealed header (without its length field), from the last four bytes of a pack file. Throws
// Error(kCorrupt) when it doesn't fit into a file of this size.
uint32_t pack_header_size(std::span<const std::byte, 4> last, uint64_t file_size);

// All of a pack's file: checks it and gives its entries. Throws Error(kCorrupt).
std::vector<PackedBlob> read_pack_header(const SealingKey& key, std::span<const std::byte> file);

// A pack that is being made. Not thread-safe.
class PackBuilder {
  public:
    // Appends a blob that is sealed already.
    void add(BlobType type, const ObjectId& id, std::span<const std::byte> sealed,
             uint32_t uncompressed_length);
    uint64_t size() const noexcept { return file_.size(); }
    bool empty() const noexcept { return blobs_.empty(); }
    const std::vector<PackedBlob>& blobs() const noexcept { return blobs_; }
    // The whole file. Call it once, after the last add().
    const Bytes& finish(const SealingKey& key);

  private:
    Bytes file_;
    std::vector<PackedBlob> blobs_;
};

// A blob's contents from its sealed bytes, checked. Throws Error(kCorrupt).
Bytes open_blob(const SealingKey& key, const PackedBlob& blob, std::span<const std::byte> sealed);

}  // namespace inspect::repository
