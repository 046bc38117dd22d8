// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making an overlay's changes the image's, all of them or none, whatever happens on the way.
//
//   1  write a journal of what is going to change; sync it and its name. (Where the image is to grow its new
//      end is written to it now, under a journal that says where it ended before; where it is to shrink its
//      end is cut off in step 3.)
//   2  mark it committed; sync              <- before this the image is the old one, after it the new one
//   3  change the image; flush it
//   4  remove the journal; sync its name
//
// A journal that is found when an image is opened is the rest of a commit that was cut short. recover()
// throws it away when it lacks the mark and goes on at step 3 when it has it; steps 3 and 4 can be repeated
// any number of times. Both need the image locked for writing (block/lock.h) throughout.
#pragma once

#include "block/block_device.h"
#include "block/journal.h"
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

// Makes what is changed in `store`, which is for a device of the new size or a larger one, so in `image`.
// False when there is nothing that differs; then nothing was written. Throws Error; the image is then what it
// was, and no journal is left, unless the message says that the journal will finish the change. `store` comes
// from a process that has ended, and is not trusted.
bool commit(const OverlayStore& store, BlockDevice& image, JournalFile& journal,
            const CommitOptions& options);

enum class Recovery { kNothing, kDiscarded, kFinished };

// Does what there is to do about a journal that was left. Throws Error, with image and journal untouched,
// when the journal is damaged or the image has been changed since.
Recovery recover(BlockDevice& image, JournalFile& journal);

}  // namespace inspect
