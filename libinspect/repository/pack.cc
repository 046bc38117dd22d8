// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/pack.h"

#include <cstring>
#include <string>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/endian.h"
#include "repository/compression.h"

namespace inspect::repository {

namespace {

enum : uint8_t { kPlainData = 0, kPlainTree = 1, kCompressedData = 2, kCompressedTree = 3 };

// Packs are written when they have 16 MiB; the last blob goes beyond that.
constexpr size_t kUsualCapacity = 24U << 20;

struct PlainEntry {
    uint8_t kind;
    le32 length;
    std::array<std::byte, ObjectId::kSize> id;
};
struct CompressedEntry {
    uint8_t kind;
    le32 length;
    le32 uncompressed_length;
    std::array<std::byte, ObjectId::kSize> id;
};
static_assert(sizeof(PlainEntry) == 37 && sizeof(CompressedEntry) == 41);

[[noreturn]] void damaged_pack(const std::string& why) {
    throw Error(ErrorKind::kCorrupt, "its header " + why);
}

template <typename Entry>
Entry take(std::span<const std::byte>& from) {
    if (from.size() < sizeof(Entry)) damaged_pack("ends in the middle of an entry");
    Entry entry;
    std::memcpy(&entry, from.data(), sizeof entry);
    from = from.subspan(sizeof entry);
    return entry;
}

template <typename Entry>
void put(Bytes& out, const Entry& entry) {
    const auto bytes = std::as_bytes(std::span(&entry, 1));
    out.insert(out.end(), bytes.begin(), bytes.end());
}

}  // namespace

std::vector<PackedBlob> parse_pack_header(std::span<const std::byte> plain, uint64_t blobs_size) {
    std::vector<PackedBlob> blobs;
    uint64_t offset = 0;
    while (!plain.empty()) {
        const auto kind = std::to_integer<uint8_t>(plain[0]);
        PackedBlob blob;
        if (kind > kCompressedTree) damaged_pack("has an entry of an unknown kind");
        blob.type = (kind & 1) != 0 ? BlobType::kTree : BlobType::kData;
        if (kind >= kCompressedData) {
            const auto entry = take<CompressedEntry>(plain);
            blob.length = entry.length;
            blob.uncompressed_length = entry.uncompressed_length;
            blob.id.bytes = entry.id;
            if (blob.uncompressed_length == 0) damaged_pack("has a compressed blob of no length");
        } else {
            const auto entry = take<PlainEntry>(plain);
            blob.length = entry.length;
            blob.id.bytes = entry.id;
        }
        if (blob.length < kSealOverhead || !range_fits(offset, blob.length, blobs_size))
            damaged_pack("has a blob that isn't in the file");
        blob.offset = static_cast<uint32_t>(offset);
        offset += blob.length;
        if (offset > UINT32_MAX) damaged_pack("has more blobs than a pack can hold");
        blobs.push_back(blob);
    }
    return blobs;
}

Bytes format_pack_header(std::span<const PackedBlob> blobs) {
    Bytes out;
    for (const PackedBlob& blob : blobs) {
        const bool tree = blob.type == BlobType::kTree;
        if (blob.uncompressed_length != 0) {
            put(out, CompressedEntry{tree ? kCompressedTree : kCompressedData, blob.length,
                                     blob.uncompressed_length, blob.id.bytes});
        } else {
            put(out, PlainEntry{tree ? kPlainTree : kPlainData, blob.length, blob.id.bytes});
        }
    }
    return out;
}

uint32_t pack_header_size(std::span<const std::byte, 4> last, uint64_t file_size) {
    le32 size;
    std::memcpy(&size, last.data(), sizeof size);
    if (file_size < sizeof size || size < kSealOverhead || size > file_size - sizeof size)
        damaged_pack("has a length that makes no sense");
    return size;
}

std::vector<PackedBlob> read_pack_header(const SealingKey& key, std::span<const std::byte> file) {
    if (file.size() < 4) damaged_pack("isn't there");
    const uint32_t size = pack_header_size(file.last<4>(), file.size());
    const uint64_t blobs_size = file.size() - 4 - size;
    return parse_pack_header(key.open(file.subspan(blobs_size, size)), blobs_size);
}

void PackBuilder::add(BlobType type, const ObjectId& id, std::span<const std::byte> sealed,
                      uint32_t uncompressed_length) {
    // Memory that isn't touched costs nothing, and growing means copying all of it again and again.
    if (file_.empty()) file_.reserve(kUsualCapacity);
    blobs_.push_back({type, id, static_cast<uint32_t>(file_.size()), static_cast<uint32_t>(sealed.size()),
                      uncompressed_length});
    file_.insert(file_.end(), sealed.begin(), sealed.end());
}

const Bytes& PackBuilder::finish(const SealingKey& key) {
    const size_t before = file_.size();
    key.seal_into(file_, format_pack_header(blobs_));
    const le32 size = static_cast<uint32_t>(file_.size() - before);
    put(file_, size);
    return file_;
}

Bytes open_blob(const SealingKey& key, const PackedBlob& blob, std::span<const std::byte> sealed) {
    Bytes plain = key.open(sealed);
    if (blob.uncompressed_length != 0) plain = decompress(plain, blob.uncompressed_length);
    if (ObjectId::of(plain) != blob.id)
        throw Error(ErrorKind::kCorrupt, "its contents aren't what its name says (SHA-256)");
    return plain;
}

}  // namespace inspect::repository
