// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/free_space.h"

#include "guest/session_impl.h"

namespace inspect {

namespace {

FreeSpace::Disk discarded(const OverlayStore& overlay) {
    FreeSpace::Disk disk;
    for (auto run = overlay.next_changed(0); run; run = overlay.next_changed(run->end())) {
        if (run->state != OverlayStore::State::kZero) return {.ranges = {}, .written = true};
        disk.ranges.push_back({run->offset, run->length});
        if (run->end() >= overlay.size()) break;
    }
    return disk;
}

}  // namespace

FreeSpace ask_for_free_space(const std::vector<DiskSpec>& disks, const SessionOptions& appliance) {
    SessionOptions options = appliance;
    options.disks = disks;
    options.keys.clear();
    // Written to are only overlays, which are never committed.
    options.writable = options.scratch = true;
    auto owned = std::make_unique<Session::Impl>(std::move(options), SessionSeams{.start = start_machine});
    Session::Impl& impl = *owned;
    Session session(std::move(owned));
    FreeSpace result;
    result.volumes = session.sparsify({.ignore = {}, .zero = {}, .read_only = true});
    result.disks = impl.discards();
    return result;
}

std::vector<FreeSpace::Disk> Session::Impl::discards() {
    finish();  // nothing writes to the overlays any more
    std::vector<FreeSpace::Disk> disks;
    for (size_t i = 0; i < disks_->count(); ++i) {
        const OverlayStore* overlay = disks_->image(i).overlay();
        disks.push_back(overlay != nullptr ? discarded(*overlay) : FreeSpace::Disk{});
    }
    disks_.reset();
    return disks;
}

}  // namespace inspect
