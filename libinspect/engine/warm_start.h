// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How every engine uses the cache: a snapshot is made by the first who needs it, and made again when it turns
// out to be of no use.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <inspect/error.h>

#include "base/log.h"
#include "engine/cache.h"

namespace inspect {

// Why an appliance could not start from the snapshot that it was given.
class SnapshotRejected : public Error {
  public:
    explicit SnapshotRejected(std::string why) : Error(ErrorKind::kEngine, std::move(why)) {}
};

// One kind of snapshot in a cache. The members must outlive its users.
struct SnapshotPlace {
    const Cache& cache;
    std::string key;
    int interrupt_fd;  // EngineOptions'
};

// Makes the snapshot, by `make`, if there is none; true when it was made now. Throws Error.
bool make_snapshot_if_missing(const SnapshotPlace& place, const std::function<void(Cache::Draft&)>& make);

// What `restore` makes of the snapshot, which is made first where there is none. nullptr when snapshots don't
// work here. `restore` throws SnapshotRejected when the snapshot is to blame.
template <typename Machine>
std::unique_ptr<Machine> start_from_snapshot(
    const SnapshotPlace& place, const std::function<void(Cache::Draft&)>& make,
    const std::function<std::unique_ptr<Machine>(const SnapshotFiles&)>& restore) {
    for (int attempt = 0; attempt < 2; ++attempt) {
        auto snapshot = place.cache.find_snapshot(place.key);
        if (!snapshot) {
            make_snapshot_if_missing(place, make);
            snapshot = place.cache.find_snapshot(place.key);
        }
        if (!snapshot) return nullptr;
        try {
            return restore(*snapshot);
        } catch (const SnapshotRejected& error) {
            log(LogLevel::kVerbose,
                "the snapshot '" + snapshot->path + "' is of no use and is made again: " + error.what());
            Fd held = place.cache.lock_snapshot(place.key, place.interrupt_fd);
            place.cache.remove_snapshot(place.key);
        }
    }
    return nullptr;
}

}  // namespace inspect
