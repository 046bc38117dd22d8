// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/listing.h"

namespace inspect::fuse {

std::shared_ptr<Listing> ListingCache::find(uint64_t directory) {
    auto found = held_.find(directory);
    if (found == held_.end()) return nullptr;
    recent_.splice(recent_.begin(), recent_, found->second.recent);
    return found->second.listing;
}

void ListingCache::add(uint64_t directory, const std::shared_ptr<Listing>& listing) {
    erase(directory);
    recent_.push_front(directory);
    held_.emplace(directory, Held{listing, recent_.begin()});
}

void ListingCache::loaded(uint64_t directory, const std::shared_ptr<Listing>& listing) {
    listing->loading = false;
    auto found = held_.find(directory);
    if (found != held_.end() && found->second.listing == listing) {
        if (listing->error != 0) {
            erase(directory);
        } else {
            found->second.entries = listing->entries.size() + 1;
            entries_ += found->second.entries;
        }
    }
    for (const auto& tell : std::exchange(listing->waiting, {})) tell();
    while (entries_ > kMostEntries && recent_.size() > 1) erase(recent_.back());
}

void ListingCache::erase(uint64_t directory) {
    auto found = held_.find(directory);
    if (found == held_.end()) return;
    entries_ -= found->second.entries;
    recent_.erase(found->second.recent);
    held_.erase(found);
    dropped_.push_back(directory);
}

}  // namespace inspect::fuse
