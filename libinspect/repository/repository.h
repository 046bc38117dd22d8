// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Repository: a backup repository in restic's format, opened with a password: its files, decrypted and
// checked, and its blobs by their ids. docs/backup-format.md says how it is used.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repository/index.h"
#include "repository/keys.h"
#include "repository/snapshot.h"
#include "repository/storage.h"
#include "repository/tree.h"

namespace inspect::repository {

// Thread-safe.
class Repository {
  public:
    // Makes a new one of version 2. Throws Error; kUsage when there is one already.
    static std::unique_ptr<Repository> create(std::unique_ptr<Storage> storage, std::string_view password);
    // Throws Error: kNotFound (there is no repository), kDenied (the password opens none of its keys),
    // kUnsupported (a version that we don't know), kCorrupt.
    static std::unique_ptr<Repository> open(std::unique_ptr<Storage> storage, std::string_view password);

    const RepositoryConfig& config() const noexcept { return config_; }
    const SealingKey& key() const noexcept { return key_; }
    Storage& storage() noexcept { return *storage_; }
    const std::string& location() const noexcept { return storage_->location(); }
    // Throws Error(kUnsupported) for version 1.
    void require_writable() const;

    // A snapshot, index or lock file's contents, checked, decrypted and decompressed. Throws Error; kCorrupt
    // names the file and what is wrong with it.
    Bytes read_file(FileKind kind, const ObjectId& id);
    // The reverse. Durable when this returns.
    ObjectId write_file(FileKind kind, std::string_view content);

    // The index; reads all of its files the first time. Those that are damaged are left out: what they alone
    // knew is then found nowhere, but the rest is.
    Index& index();
    // What was wrong with one of them; empty: nothing.
    const std::string& index_complaint() {
        index();
        return index_complaint_;
    }
    // A blob's contents, checked. Of several copies it takes the first one that is right. Throws Error:
    // kNotFound (no index names it), kCorrupt (names the pack).
    Bytes read_blob(BlobType type, const ObjectId& id);
    Tree read_tree(const ObjectId& id);

    // All of them, oldest first. Throws Error for one that can't be read.
    std::vector<Snapshot> snapshots();
    Snapshot snapshot(const ObjectId& id);

  private:
    Repository(std::unique_ptr<Storage> storage, RepositoryConfig config, SealingKey key)
        : storage_(std::move(storage)), config_(std::move(config)), key_(std::move(key)) {}
    void load_index();

    std::unique_ptr<Storage> storage_;
    RepositoryConfig config_;
    SealingKey key_;
    std::once_flag index_once_;
    Index index_;
    std::string index_complaint_;
};

// What a compressed file of the repository begins with; one that isn't is JSON, or sealed for itself.
inline constexpr std::byte kCompressedFile{2};

// The host's and the user's name, for snapshots, locks and keys.
std::string host_name();
std::string user_name();

}  // namespace inspect::repository
