// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making an overlay's changes a qcow2 image's, all of them or none.
//
// The driver makes the changes to the image as it will be: in a second overlay, over the image's file, that
// can grow. What that overlay then holds, clusters and metadata alike, is committed to the file as to any raw
// one (block/commit.h): new clusters at the file's end are written where nothing refers to them, what refers
// to them goes through the journal. So there is one journal, and one recovery, for all formats.
#pragma once

#include <memory>

#include "block/block_device.h"
#include "block/journal_file.h"
#include "block/overlay_store.h"

namespace inspect {

// `changes` is for the disk that is in the image `before`, which stands on `backing` (null: on none); `file`
// is the same image again, writable. `new_size` is the disk's, bytes; 0: it stays. False when there is
// nothing that differs. Throws Error as commit() does; kUnsupported for an image with an external data file,
// which one journal can't cover, and for what the driver can't write. `give_back`: CommitOptions has it.
bool commit_to_qcow2(const OverlayStore& changes, std::unique_ptr<BlockDevice> before,
                     std::unique_ptr<BlockDevice> backing, BlockDevice& file, JournalFile& journal,
                     uint64_t new_size = 0, bool give_back = false);

}  // namespace inspect
