// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/repository.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <unordered_set>

#include <inspect/error.h>

#include "base/log.h"
#include "repository/compression.h"

namespace inspect::repository {

namespace {

constexpr int kMetadataLevel = 3;

std::string quoted(const std::string& location) { return "'" + location + "'"; }

RepositoryConfig read_config(Storage& storage, const SealingKey& key) {
    try {
        return parse_config(as_text(key.open(storage.read(FileKind::kConfig, {}))));
    } catch (const Error& error) {
        throw error.with_context("the config file of the repository " + quoted(storage.location()));
    }
}

}  // namespace

std::string host_name() {
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) != 0) return "localhost";
    return name;
}

std::string user_name() {
    // getpwuid(3) would load libraries, which a static program had better not.
    for (const char* variable : {"LOGNAME", "USER"})
        if (const char* name = std::getenv(variable); name != nullptr && *name != '\0') return name;
    return ::geteuid() == 0 ? "root" : std::to_string(::geteuid());
}

std::unique_ptr<Repository> Repository::create(std::unique_ptr<Storage> storage, std::string_view password) {
    if (password.empty())
        throw Error(ErrorKind::kUsage, "a repository can't have an empty password: restic refuses it");
    if (storage->has_config())
        throw Error(ErrorKind::kUsage,
                    "there is a repository at " + quoted(storage->location()) + " already");
    storage->create();
    const SealingKey key = SealingKey::generate();
    const std::string key_file = make_key_file(key, password, user_name(), host_name());
    storage->write(FileKind::kKey, ObjectId::of(as_bytes(key_file)), as_bytes(key_file));
    RepositoryConfig config = make_config();
    // Last: it is what makes it a repository.
    storage->write(FileKind::kConfig, {}, key.seal(as_bytes(format_config(config))));
    return std::unique_ptr<Repository>(new Repository(std::move(storage), std::move(config), key));
}

std::unique_ptr<Repository> Repository::open(std::unique_ptr<Storage> storage, std::string_view password) {
    const std::string where = quoted(storage->location());
    if (!storage->has_config())
        throw Error(ErrorKind::kNotFound, "there is no repository at " + where +
                                              " (it has no file 'config'); 'insp backup init' makes one");
    std::vector<StoredFile> keys = storage->list(FileKind::kKey);
    if (keys.empty()) throw Error(ErrorKind::kCorrupt, "the repository " + where + " has no key file");
    std::string complaint;
    for (const StoredFile& file : keys) {
        SealingKey key;
        try {
            const Bytes content = storage->read(FileKind::kKey, file.id);
            if (ObjectId::of(content) != file.id)
                throw Error(ErrorKind::kCorrupt, "its contents aren't what its name says (SHA-256)");
            if (open_key_file(as_text(content), password, key) == KeyResult::kWrongPassword) continue;
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kCorrupt && error.kind() != ErrorKind::kUnsupported) throw;
            complaint = describe(FileKind::kKey, file.id) + ": " + error.message();
            log(LogLevel::kVerbose, complaint);
            continue;
        }
        RepositoryConfig config = read_config(*storage, key);
        return std::unique_ptr<Repository>(new Repository(std::move(storage), std::move(config), key));
    }
    if (!complaint.empty())
        throw Error(ErrorKind::kCorrupt,
                    "no key of the repository " + where + " can be opened: " + complaint);
    throw Error(ErrorKind::kDenied, "the password opens none of the " + std::to_string(keys.size()) +
                                        " key(s) of the repository " + where);
}

void Repository::require_writable() const {
    if (config_.version != 2)
        throw Error(
            ErrorKind::kUnsupported,
            "the repository " + quoted(location()) +
                " has format version 1, which is only read; 'restic migrate upgrade_repo_v2' makes it "
                "version 2");
}

Bytes Repository::read_file(FileKind kind, const ObjectId& id) {
    const Bytes sealed = storage_->read(kind, id);
    try {
        if (ObjectId::of(sealed) != id)
            throw Error(ErrorKind::kCorrupt, "its contents aren't what its name says (SHA-256)");
        Bytes plain = key_.open(sealed);
        if (!plain.empty() && plain[0] == kCompressedFile)
            return decompress_unknown_size(std::span(plain).subspan(1));
        return plain;
    } catch (const Error& error) {
        throw error.with_context(describe(kind, id));
    }
}

ObjectId Repository::write_file(FileKind kind, std::string_view content) {
    Bytes plain = compress(as_bytes(content), kMetadataLevel);
    if (plain.empty()) {
        plain.assign(as_bytes(content).begin(), as_bytes(content).end());
    } else {
        plain.insert(plain.begin(), kCompressedFile);
    }
    const Bytes sealed = key_.seal(plain);
    const ObjectId id = ObjectId::of(sealed);
    storage_->write(kind, id, sealed);
    return id;
}

Index& Repository::index() {
    std::call_once(index_once_, [this] { load_index(); });
    return index_;
}

void Repository::load_index() {
    std::vector<std::pair<ObjectId, IndexFile>> files;
    std::unordered_set<ObjectId, ObjectIdHash> superseded;
    for (const StoredFile& file : storage_->list(FileKind::kIndex)) {
        try {
            const Bytes content = read_file(FileKind::kIndex, file.id);
            files.emplace_back(file.id, parse_index(as_text(content)));
            for (const ObjectId& id : files.back().second.supersedes) superseded.insert(id);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kCorrupt) throw;
            index_complaint_ = error.message();
            log(LogLevel::kVerbose, error.message());
        }
    }
    for (const auto& [id, file] : files) {
        if (superseded.contains(id)) continue;
        for (const IndexedPack& pack : file.packs) index_.add(pack);
    }
}

Bytes Repository::read_blob(BlobType type, const ObjectId& id) {
    const std::string name = (type == BlobType::kTree ? "the directory " : "the data blob ") + id.hex();
    const std::vector<BlobLocation> places = index().find(type, id);
    if (places.empty())
        throw Error(ErrorKind::kNotFound,
                    name + " isn't in the index of the repository " + quoted(location()) + ": " +
                        (index_complaint_.empty() ? "an index or pack file was lost" : index_complaint_));
    for (size_t i = 0;; ++i) {
        const BlobLocation& place = places[i];
        try {
            return open_blob(
                key_, place.blob,
                storage_->read_range(FileKind::kPack, place.pack, place.blob.offset, place.blob.length));
        } catch (const Error& error) {
            if (i + 1 < places.size()) continue;
            throw error.with_context(name + " in " + describe(FileKind::kPack, place.pack));
        }
    }
}

Tree Repository::read_tree(const ObjectId& id) {
    const Bytes content = read_blob(BlobType::kTree, id);
    try {
        return parse_tree(as_text(content));
    } catch (const Error& error) {
        throw error.with_context("the directory " + id.hex());
    }
}

Snapshot Repository::snapshot(const ObjectId& id) {
    const Bytes content = read_file(FileKind::kSnapshot, id);
    try {
        Snapshot snapshot = parse_snapshot(as_text(content));
        snapshot.id = id;
        return snapshot;
    } catch (const Error& error) {
        throw error.with_context(describe(FileKind::kSnapshot, id));
    }
}

std::vector<Snapshot> Repository::snapshots() {
    std::vector<Snapshot> all;
    for (const StoredFile& file : storage_->list(FileKind::kSnapshot)) all.push_back(snapshot(file.id));
    std::ranges::sort(all, {}, [](const Snapshot& s) { return std::pair(s.time, s.id); });
    return all;
}

}  // namespace inspect::repository
