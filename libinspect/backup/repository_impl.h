// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a BackupRepository has inside.
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <inspect/backup.h>

#include "repository/blob_writer.h"
#include "repository/guest_backup.h"
#include "repository/lock.h"
#include "repository/repository.h"

namespace inspect {

struct BackupRepository::Impl {
    Impl(const BackupAccess& access, bool in_background);

    // Waits until it is open. Throws why it can't be, each time.
    const std::shared_ptr<repository::Repository>& repository() const { return opening.get(); }
    // Read once; what this process adds is added.
    std::vector<repository::Snapshot>& snapshots();
    repository::GuestBackup find(const std::string& name);
    // Keeps others from removing what is being used. A repository that can't be written is used without.
    void lock_shared();

    const BackupAccess access;
    std::string location;
    bool in_background;  // `opening` is under way by itself
    std::shared_future<std::shared_ptr<repository::Repository>> opening;
    std::optional<repository::RepositoryLock> lock;
    std::optional<std::vector<repository::Snapshot>> known_snapshots;
    bool adopted = false;  // the packs that no index named
};

BackupSnapshot to_public(const repository::Snapshot& snapshot);

}  // namespace inspect
