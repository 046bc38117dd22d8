// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a BackupRepository has inside.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <inspect/backup.h>

#include "repository/blob_writer.h"
#include "repository/guest_backup.h"
#include "repository/lock.h"
#include "repository/repository.h"

namespace inspect {

struct BackupRepository::Impl {
    explicit Impl(const BackupAccess& access);

    // Read once; what this process adds is added.
    std::vector<repository::Snapshot>& snapshots();
    repository::GuestBackup find(const std::string& name);
    // Keeps others from removing what is being used. A repository that can't be written is used without.
    void lock_shared();

    const BackupAccess access;
    std::shared_ptr<repository::Repository> repository;
    std::optional<repository::RepositoryLock> lock;
    std::optional<std::vector<repository::Snapshot>> known_snapshots;
    bool adopted = false;  // the packs that no index named
};

BackupSnapshot to_public(const repository::Snapshot& snapshot);

}  // namespace inspect
