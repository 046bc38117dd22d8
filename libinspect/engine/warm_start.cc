// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/warm_start.h"

namespace inspect {

bool make_snapshot_if_missing(const SnapshotPlace& place, const std::function<void(Cache::Draft&)>& make) {
    if (place.cache.find_snapshot(place.key)) return false;
    Fd held = place.cache.lock_snapshot(place.key, place.interrupt_fd);
    if (place.cache.find_snapshot(place.key)) return false;  // made by the one we waited for
    log(LogLevel::kVerbose, "making the appliance's snapshot (once for this host and version)");
    Cache::Draft draft(place.cache, place.key);
    make(draft);
    draft.publish();
    return true;
}

}  // namespace inspect
