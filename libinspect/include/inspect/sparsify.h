// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making an image take no more room than what is on its disk: what a sparsify is to do, and has done
// (Session::sparsify), and new images that are sparse from the start (Session::write_copy).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <inspect/session.h>

namespace inspect {

struct SparsifyWishes {
    // Devices, as filesystems() names them, and names of volume groups.
    std::vector<std::string> ignore = {};  // left alone
    std::vector<std::string> zero = {};    // devices whose contents become zeros, whatever they are
    // File systems are mounted read-only: what can't be told so is skipped, and so is what is damaged. For
    // sessions that are to find out what is free.
    bool read_only = false;
};

// What was done about a file system, swap space or volume group.
struct SparsifyResult {
    enum class Way : uint8_t {
        kSkipped,    // nothing: see `reason`
        kDiscarded,  // the disk was told what is free
        kFilled,     // the same by a file of zeros, because the file system can't tell
        kCleared,    // the contents of swap space are gone; its header is kept
        kZeroed,     // as it was wished
    };
    std::string device;  // or the name of a volume group
    std::string type;    // of the file system, "swap", or "volume group"
    Way way = Way::kSkipped;
    uint64_t free_bytes = 0;  // what is free, most of which may have taken no room before
    std::string reason = {};  // printable
};

struct SparseCopy {
    std::string path;                  // of the new image, which must not be there yet
    std::string format = {};           // "raw" or "qcow2"; empty: as the image's own
    std::string compression = {};      // of qcow2: "zlib", "zstd", or empty
    uint64_t cluster_size = 64 << 10;  // of qcow2, bytes
    // How far it is, in bytes of the disk.
    std::function<void(uint64_t done, uint64_t size)> on_progress = {};
};

}  // namespace inspect
