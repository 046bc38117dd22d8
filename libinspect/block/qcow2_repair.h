// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Repairing a qcow2 image, which is QEMU's business: qemu-img knows best what QEMU's bugs and crashes leave.
#pragma once

#include <string>

#include <inspect/disk.h>

namespace inspect {

// Runs `qemu-img check -r` on the image in the file or block device at `path`, to its end. It takes the
// image's locks itself, so nobody may hold them. `data_file` is the path of the image's external data file,
// empty for an image without one; no other file is opened, backing files neither. Throws Error: kNotFound
// when qemu-img is not installed (the package is named), kCorrupt when the image could not be repaired in
// this way, kBusy when another program has it in use.
void repair_qcow2(const std::string& path, const std::string& data_file, Repair repair);

}  // namespace inspect
