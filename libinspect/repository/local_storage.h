// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A repository in a directory, laid out as restic's default: packs in data/ by the first two digits of their
// names, the rest in a directory a kind.
#pragma once

#include "repository/storage.h"

namespace inspect::repository {

class LocalStorage final : public Storage {
  public:
    explicit LocalStorage(std::string path);

    const std::string& location() const noexcept override { return location_; }
    Bytes read(FileKind kind, const ObjectId& id) override;
    Bytes read_range(FileKind kind, const ObjectId& id, uint64_t offset, size_t length) override;
    void write(FileKind kind, const ObjectId& id, std::span<const std::byte> content) override;
    void remove(FileKind kind, const ObjectId& id) override;
    bool has_config() override;
    std::vector<StoredFile> list(FileKind kind) override;
    void create() override;
    void tidy() override;

  private:
    std::string directory(FileKind kind, const ObjectId& id) const;
    std::string path(FileKind kind, const ObjectId& id) const;
    std::string what(const char* verb, FileKind kind, const ObjectId& id) const;
    void write_aside(const std::string& directory, const std::string& aside,
                     std::span<const std::byte> content);

    const std::string location_;  // as it was given
    const std::string path_;      // the same, absolute: who mounts goes to / afterwards
};

}  // namespace inspect::repository
