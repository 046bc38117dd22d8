// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/blob_writer.h"

#include <future>

#include <inspect/error.h>

#include "base/log.h"
#include "repository/compression.h"

namespace inspect::repository {

namespace {

// An index file has this many blobs at most, as restic's have.
constexpr size_t kBlobsPerIndex = 50'000;

}  // namespace

BlobWriter::BlobWriter(Repository& repository, BlobWriterOptions options)
    : repository_(repository), options_(std::move(options)) {
    repository_.require_writable();
}

void BlobWriter::adopt_unindexed_packs() {
    Index& index = repository_.index();
    Storage& storage = repository_.storage();
    for (const StoredFile& file : storage.list(FileKind::kPack)) {
        if (index.has_pack(file.id)) continue;
        try {
            if (file.size < sizeof(uint32_t)) throw Error(ErrorKind::kCorrupt, "it is too short");
            const Bytes last = storage.read_range(FileKind::kPack, file.id, file.size - 4, 4);
            const uint32_t size = pack_header_size(std::span(last).first<4>(), file.size);
            const uint64_t blobs_size = file.size - 4 - size;
            const Bytes header = storage.read_range(FileKind::kPack, file.id, blobs_size, size);
            IndexedPack pack{file.id, parse_pack_header(repository_.key().open(header), blobs_size)};
            log(LogLevel::kVerbose, "taken into the index: " + describe(FileKind::kPack, file.id));
            index.add(pack);
            const std::lock_guard guard(mutex_);
            unindexed_blobs_ += pack.blobs.size();
            unindexed_.push_back(std::move(pack));
        } catch (const Error& error) {
            log(LogLevel::kVerbose, describe(FileKind::kPack, file.id) +
                                        " is in no index, and can't be used: " + error.message());
        }
    }
}

bool BlobWriter::skip(BlobType type, const ObjectId& id) {
    if (!has(type, id)) return false;
    ++known_blobs_;
    return true;
}

bool BlobWriter::save(BlobType type, const ObjectId& id, std::span<const std::byte> plain) {
    const auto kind = static_cast<size_t>(type);
    {
        const std::lock_guard guard(mutex_);
        if (repository_.index().has(type, id) || !unwritten_[kind].insert(id).second) {
            ++known_blobs_;
            return false;
        }
    }
    const Bytes compressed = compress(plain, options_.compression_level);
    const Bytes sealed = repository_.key().seal(compressed.empty() ? plain : compressed);
    const auto uncompressed_length = compressed.empty() ? 0U : static_cast<uint32_t>(plain.size());
    ++new_blobs_;
    new_bytes_ += plain.size();
    PackBuilder full;
    {
        const std::lock_guard guard(mutex_);
        packs_[kind].add(type, id, sealed, uncompressed_length);
        if (packs_[kind].size() < options_.pack_size) return true;
        full = std::exchange(packs_[kind], PackBuilder());
    }
    write_pack(std::move(full));
    return true;
}

ObjectId BlobWriter::save_tree(Tree tree) {
    const std::string text = format_tree(std::move(tree));
    const ObjectId id = ObjectId::of(as_bytes(text));
    save(BlobType::kTree, id, as_bytes(text));
    return id;
}

void BlobWriter::write_pack(PackBuilder pack) {
    const Bytes& file = pack.finish(repository_.key());
    const ObjectId id = ObjectId::of(file);
    if (options_.before_write) options_.before_write(file.size());
    repository_.storage().write(FileKind::kPack, id, file);
    stored_bytes_ += file.size();
    std::vector<IndexedPack> full;
    {
        const std::lock_guard guard(mutex_);
        const IndexedPack indexed{id, pack.blobs()};
        repository_.index().add(indexed);
        for (const PackedBlob& blob : indexed.blobs)
            unwritten_[static_cast<size_t>(blob.type)].erase(blob.id);
        unindexed_blobs_ += indexed.blobs.size();
        unindexed_.push_back(indexed);
        if (unindexed_blobs_ < kBlobsPerIndex) return;
        full.swap(unindexed_);
        unindexed_blobs_ = 0;
    }
    write_index(std::move(full));
}

void BlobWriter::write_index(std::vector<IndexedPack> packs) {
    repository_.write_file(FileKind::kIndex, format_index(packs));
}

void BlobWriter::flush() {
    // Beside each other: a disk that is asked to make two files durable at once does so in one go, often.
    std::future<void> other;
    for (PackBuilder& pack : packs_) {
        if (pack.empty()) continue;
        if (&pack == &packs_[0] && !packs_[1].empty()) {
            other = std::async(std::launch::async,
                               [this, &pack] { write_pack(std::exchange(pack, PackBuilder())); });
        } else {
            write_pack(std::exchange(pack, PackBuilder()));
        }
    }
    if (other.valid()) other.get();
    if (unindexed_.empty()) return;
    write_index(std::exchange(unindexed_, {}));
    unindexed_blobs_ = 0;
}

BlobWriterTotals BlobWriter::totals() const { return {new_blobs_, known_blobs_, new_bytes_, stored_bytes_}; }

}  // namespace inspect::repository
