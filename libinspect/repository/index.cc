// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/index.h"

#include <mutex>

#include <inspect/error.h>

#include "repository/json.h"

namespace inspect::repository {

namespace {

[[noreturn]] void damaged_index(const char* why) {
    throw Error(ErrorKind::kCorrupt, std::string("as an index it makes no sense: ") + why);
}

ObjectId require_id(std::string_view text) {
    const auto id = ObjectId::parse(text);
    if (!id) damaged_index("an id is none");
    return *id;
}

class IndexVisitor final : public JsonVisitor {
  public:
    IndexFile take() { return std::move(file_); }

  private:
    void begin_object(std::string_view path) override {
        if (path == "packs[]") {
            file_.packs.emplace_back();
            has_id_ = false;
        } else if (path == "packs[].blobs[]") {
            blob_ = {};
            seen_ = 0;
        }
    }
    void end_object(std::string_view path) override {
        if (path == "packs[]" && !has_id_) damaged_index("a pack has no id");
        if (path != "packs[].blobs[]") return;
        if (seen_ != (kId | kType | kOffset | kLength)) damaged_index("a blob lacks a field");
        if (blob_.length < kSealOverhead || blob_.offset > UINT32_MAX - blob_.length)
            damaged_index("a blob has an impossible place");
        file_.packs.back().blobs.push_back(blob_);
    }
    void text(std::string_view path, std::string& value) override {
        if (path == "packs[].blobs[].id") {
            blob_.id = require_id(value);
            seen_ |= kId;
        } else if (path == "packs[].blobs[].type") {
            if (value != "data" && value != "tree") damaged_index("a blob is of an unknown type");
            blob_.type = value == "tree" ? BlobType::kTree : BlobType::kData;
            seen_ |= kType;
        } else if (path == "packs[].id") {
            file_.packs.back().id = require_id(value);
            has_id_ = true;
        } else if (path == "supersedes[]") {
            file_.supersedes.push_back(require_id(value));
        }
    }
    void number(std::string_view path, uint64_t value) override {
        if (!path.starts_with("packs[].blobs[].")) return;
        path.remove_prefix(sizeof("packs[].blobs[].") - 1);
        uint32_t* field = path == "offset"                ? &blob_.offset
                          : path == "length"              ? &blob_.length
                          : path == "uncompressed_length" ? &blob_.uncompressed_length
                                                          : nullptr;
        if (field == nullptr) return;
        if (value > UINT32_MAX) damaged_index("a blob has an impossible place");
        *field = static_cast<uint32_t>(value);
        seen_ |= path == "offset" ? kOffset : path == "length" ? kLength : 0U;
    }

    enum : unsigned { kId = 1, kType = 2, kOffset = 4, kLength = 8 };
    IndexFile file_;
    PackedBlob blob_;
    unsigned seen_ = 0;
    bool has_id_ = false;
};

}  // namespace

IndexFile parse_index(std::string_view text) {
    IndexVisitor visitor;
    parse_json(text, visitor);
    return visitor.take();
}

std::string format_index(const std::vector<IndexedPack>& packs) {
    JsonBuilder json;
    json.begin_object().begin_array("packs");
    for (const IndexedPack& pack : packs) {
        json.begin_object().plain("id", pack.id.hex()).begin_array("blobs");
        for (const PackedBlob& blob : pack.blobs) {
            json.begin_object().plain("id", blob.id.hex());
            json.plain("type", blob.type == BlobType::kTree ? "tree" : "data");
            json.number("offset", blob.offset).number("length", blob.length);
            if (blob.uncompressed_length != 0) json.number("uncompressed_length", blob.uncompressed_length);
            json.end_object();
        }
        json.end_array().end_object();
    }
    return json.end_array().end_object().take();
}

void Index::add(const IndexedPack& pack) {
    const std::unique_lock lock(mutex_);
    if (!pack_numbers_.emplace(pack.id, static_cast<uint32_t>(packs_.size())).second) return;
    packs_.push_back(pack);
    const auto number = static_cast<uint32_t>(packs_.size() - 1);
    for (uint32_t i = 0; i < pack.blobs.size(); ++i)
        blobs_[static_cast<size_t>(pack.blobs[i].type)].emplace(pack.blobs[i].id, Entry{number, i});
}

std::vector<BlobLocation> Index::find(BlobType type, const ObjectId& id) const {
    const std::shared_lock lock(mutex_);
    std::vector<BlobLocation> found;
    const auto [begin, end] = blobs(type).equal_range(id);
    for (auto it = begin; it != end; ++it) found.push_back({packs_[it->second.pack].id, at(it->second)});
    return found;
}

bool Index::has(BlobType type, const ObjectId& id) const {
    const std::shared_lock lock(mutex_);
    return blobs(type).contains(id);
}

std::optional<uint64_t> Index::size_of(BlobType type, const ObjectId& id) const {
    const std::shared_lock lock(mutex_);
    const auto found = blobs(type).find(id);
    if (found == blobs(type).end()) return std::nullopt;
    return at(found->second).plain_length();
}

bool Index::has_pack(const ObjectId& pack) const {
    const std::shared_lock lock(mutex_);
    return pack_numbers_.contains(pack);
}

void Index::for_each_pack(const std::function<void(const IndexedPack&)>& call) const {
    const std::shared_lock lock(mutex_);
    for (const IndexedPack& pack : packs_) call(pack);
}

size_t Index::blob_count() const {
    const std::shared_lock lock(mutex_);
    return blobs_[0].size() + blobs_[1].size();
}

}  // namespace inspect::repository
