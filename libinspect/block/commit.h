// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making overlays' changes the images', all of them or none, whatever happens on the way.
//
//   1  write a journal of what is going to change; sync it and its name. (Where an image is to grow its new
//      end is written to it now, under a journal that says where it ended before; where one is to shrink its
//      end is cut off in step 3.)
//   2  mark it committed; sync              <- before this the images are the old ones, after it the new ones
//   3  change the images; flush them
//   4  remove the journal; sync its name
//
// The journal is beside the first image. Each other one gets, before anything is written to it or about it, a
// pointer to the journal beside it, and loses that before the journal is removed. A journal that is found
// when an image is opened is the rest of a commit that was cut short: block/recovery.h. The images must be
// locked for writing (block/lock.h) throughout.
#pragma once

#include <span>
#include <string>

#include "block/block_device.h"
#include "block/journal_file.h"
#include "block/overlay_store.h"

namespace inspect {

struct CommitOptions {
    // Refuse, with Error(kDenied), to make the image's first sector look like another image format's: the
    // next program that guesses formats would follow what a guest wrote there to any file of the host.
    bool protect_first_sector = false;
    // The image's new size in bytes; 0: it stays. Only where resize() works. What the store has beyond it is
    // of no concern.
    uint64_t new_size = 0;
    // Where the changes are zeros the image keeps no room either that was set aside for it and has no data
    // (fallocate). For regular files.
    bool give_back = false;
};

// An image to be changed. What is pointed to is the caller's.
struct CommitTarget {
    const OverlayStore* store;  // for a device of the new size or a larger one
    BlockDevice* image;
    JournalFile* journal;  // the file beside the image
    CommitOptions options = {};
    std::string path = {};  // the image's, absolute, free of symbolic links; not needed for one alone
};

// Makes what is changed in the stores so in the images. False when there is nothing that differs; then
// nothing was written. Throws Error; the images are then what they were, and no journal is left, unless the
// message says that the journal will finish the change. The stores come from a process that has ended, and
// are not trusted.
bool commit(std::span<const CommitTarget> targets);

// The same for one image.
bool commit(const OverlayStore& store, BlockDevice& image, JournalFile& journal,
            const CommitOptions& options);

}  // namespace inspect
