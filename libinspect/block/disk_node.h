// SPDX-License-Identifier: LGPL-2.1-or-later
//
// DiskNode: how a disk's device stands on open descriptors, written down, so that another process, which
// inherits these and may open nothing itself, makes the same device.
//
// As a text, in prefix notation, for the command line of insp-vmm:
//
//   raw(fd=5,name=/srv/a.img)
//   qcow2(file=raw(fd=5),backing=qcow2(file=raw(fd=6),backing=raw(fd=7)),snapshot=1)
//   overlay(file=raw(fd=5),memory=8,spill=9)
//   undo(file=raw(fd=5,writable),journal=6)
//   nbd(fd=5,size=1048576,flags=1025,minimum=1,payload=33554432,structured,allocation=0)
//
// Bytes of names that have a meaning in this notation, or that aren't printable ASCII, are written %41.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "block/block_device.h"
#include "block/nbd_client_handshake.h"

namespace inspect {

struct DiskNode {
    enum class Kind : uint8_t { kRaw, kQcow2, kNbd, kOverlay, kUndo };
    // A chain of images is this deep at most.
    static constexpr unsigned kMaxDepth = 200;

    Kind kind = Kind::kRaw;
    std::string name;       // what messages call it
    bool writable = false;  // the device may be written
    int fd = -1;            // kRaw: a file or block device; kNbd: a connected socket
    NbdTerms terms;         // kNbd

    std::unique_ptr<DiskNode> file;       // kQcow2, kOverlay, kUndo: what it stands on
    std::unique_ptr<DiskNode> backing;    // kQcow2
    std::unique_ptr<DiskNode> data_file;  // kQcow2
    std::optional<std::string> snapshot;  // kQcow2: an internal snapshot's id or name
    int memory = -1;                      // kOverlay: the descriptors of an OverlayStore for a device of
    int spill = -1;                       // the size of `file`
    int journal = -1;                     // kUndo: what `file` had goes to this file (block/undo_log.h)

    // What writing means; for the topmost node.
    bool sync_writes = false;         // each write is followed by a flush
    bool ignore_flush = false;        // flushes do nothing
    bool guard_first_sector = false;  // it may not become another image format's

    std::string encode() const;
    // Throws Error(kUsage).
    static DiskNode parse(std::string_view text);

    // All descriptors that are named, in it and below it.
    std::vector<int> descriptors() const;
    // The device. Its descriptors are duplicated: those that are named stay the caller's. Throws what the
    // devices' constructors do.
    std::unique_ptr<BlockDevice> open() const;
};

}  // namespace inspect
