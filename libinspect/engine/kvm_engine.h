// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the engine "kvm" offers beside start_machine(): its limits and its snapshots.
#pragma once

#include <cstdint>
#include <string>

#include "engine/engine.h"

namespace inspect {

// The appliance's memory, in bytes. The default holds the kernel, the tools and a file system's metadata; its
// page structures are part of each cold boot.
inline constexpr uint64_t kDefaultMemory = 96ull << 20;
inline constexpr uint64_t kMinMemory = 64ull << 20;
inline constexpr uint64_t kMaxMemory = 3ull << 30;  // below the devices' addresses
inline constexpr uint64_t kMemoryStep = 4ull << 20;

// Makes the snapshot for these options when there is none that fits. True when it was made now. Throws Error.
bool make_snapshot(const EngineOptions& options);
// The text that a snapshot for these options is found by.
std::string snapshot_key(const EngineOptions& options);

}  // namespace inspect
