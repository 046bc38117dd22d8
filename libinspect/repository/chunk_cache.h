// SPDX-License-Identifier: LGPL-2.1-or-later
//
// ChunkCache: chunks of a far repository that were read lately, on disk, so that the next command has them.
// They lie there sealed with the repository's key, as in the repository, and are checked when they are read.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "repository/crypto.h"

namespace inspect::repository {

// Thread-safe; several processes may share one. Nothing here ever fails: a cache that can't be used is empty.
class ChunkCache {
  public:
    // Of the repository with this id, in $INSP_CACHE_DIR, else $XDG_CACHE_HOME/libinspect, else
    // ~/.cache/libinspect. What hasn't been used for longest goes while it takes more than a GiB. Null where
    // there is no place for it.
    static std::unique_ptr<ChunkCache> open(const std::string& repository_id, const SealingKey& key);

    std::optional<Bytes> find(const ObjectId& id) const;
    void add(const ObjectId& id, std::span<const std::byte> plain) const;

  private:
    ChunkCache(std::string directory, const SealingKey& key) : directory_(std::move(directory)), key_(key) {}
    std::string path(const ObjectId& id) const;
    void shrink() const;

    const std::string directory_;
    const SealingKey key_;
};

}  // namespace inspect::repository
