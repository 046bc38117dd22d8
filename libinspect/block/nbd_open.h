// SPDX-License-Identifier: LGPL-2.1-or-later
//
// From an NBD URI to a device: plain connections by NbdDevice itself, encrypted ones through the program
// insp-nbd, which has libnbd (docs/nbd.md says why).
#pragma once

#include <memory>
#include <string>

#include "block/nbd_bridge.h"

namespace inspect {

// Opens the export that `uri` names (block/nbd_uri.h). Throws Error: kUsage (no such URI), kNotFound (no
// host, no server, no export, no insp-nbd), kDenied (read-only, or the server's policy), kUnsupported,
// kCorrupt.
std::unique_ptr<NbdBridge> open_nbd(const std::string& uri, bool read_only);

}  // namespace inspect
