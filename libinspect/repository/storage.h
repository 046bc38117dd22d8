// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Storage: where a repository's files are: a directory, or a server that speaks restic's REST protocol.
//
// Files are written once, whole, and never changed: a file is there completely or not at all. All but the
// config file are named by the SHA-256 of their bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "repository/object_id.h"

namespace inspect::repository {

enum class FileKind : uint8_t { kConfig, kKey, kLock, kSnapshot, kIndex, kPack };
inline constexpr FileKind kNamedKinds[] = {FileKind::kKey, FileKind::kLock, FileKind::kSnapshot,
                                           FileKind::kIndex, FileKind::kPack};

// The kind's directory in a repository ("keys"), "config" for the config file.
std::string_view directory_name(FileKind kind);
// What messages call a file: "the pack file 2f1c…", all 64 digits; "the config file".
std::string describe(FileKind kind, const ObjectId& id);

struct StoredFile {
    ObjectId id;
    uint64_t size = 0;
};

// Thread-safe.
class Storage {
  public:
    virtual ~Storage() = default;
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;

    // As the user named it, without a password.
    virtual const std::string& location() const noexcept = 0;

    // Reading from it goes over a network.
    virtual bool is_remote() const noexcept { return false; }

    // The `id` of the config file is ignored. All throw Error: kNotFound when there is no such file, kDenied,
    // kNoSpace, kInternal when the storage fails; the message names the file.
    virtual Bytes read(FileKind kind, const ObjectId& id) = 0;
    // Exactly `length` bytes; a file that ends before is an Error(kCorrupt).
    virtual Bytes read_range(FileKind kind, const ObjectId& id, uint64_t offset, size_t length) = 0;
    // The file is complete and durable when this returns. One that exists is left as it is, but for the
    // config file: that is an Error(kUsage).
    virtual void write(FileKind kind, const ObjectId& id, std::span<const std::byte> content) = 0;
    // A file that isn't there is no error.
    virtual void remove(FileKind kind, const ObjectId& id) = 0;
    virtual bool has_config() = 0;
    // In no order. Names that are no ids are left out.
    virtual std::vector<StoredFile> list(FileKind kind) = 0;
    // Makes the directories of a new repository. Those that exist are no error.
    virtual void create() = 0;
    // Removes what a writer that was killed left half-written, a day later.
    virtual void tidy() {}

  protected:
    Storage() = default;
};

// Opens the storage that `location` names as restic does: a directory, with or without "local:" in front, or
// "rest:http://HOST:PORT/PATH/". Nothing is read yet. Throws Error(kUsage) for a location that can't be used,
// kUnsupported for restic's other backends, with the way to use them.
std::unique_ptr<Storage> open_storage(const std::string& location);

}  // namespace inspect::repository
