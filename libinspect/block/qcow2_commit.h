// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What making an overlay's changes a qcow2 image's comes to in the image's files.
//
// The driver makes the changes to the image as it will be: in further overlays, over the image's file, that
// can grow, and over its data file. What these overlays then hold, clusters and metadata alike, is committed
// to the files as to any raw ones (block/commit.h): new clusters at the file's end are written where nothing
// refers to them, what refers to them goes through the journal. So there is one journal, and one recovery,
// for all formats.
#pragma once

#include <memory>

#include "block/block_device.h"
#include "block/overlay_store.h"
#include "block/qcow2/qcow2.h"

namespace inspect {

// What changes in a file.
struct FileChange {
    std::shared_ptr<OverlayStore> store;  // for a device of `size` bytes or of more
    uint64_t size = 0;                    // that the file is to have, bytes
};

struct Qcow2Change {
    FileChange file;
    FileChange data_file;  // no store for an image without one
};

// `changes` is for the disk that is in the image whose files are `before`. They are only read. `new_size` is
// the disk's, bytes; 0: it stays. Throws Error; kUnsupported for what the driver can't write.
Qcow2Change stage_qcow2(const OverlayStore& changes, Qcow2Files before, uint64_t new_size = 0);

}  // namespace inspect
