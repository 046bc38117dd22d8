// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The engine "kvm": appliances in our own VMM, and their snapshots; and the limits of every appliance.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/engine.h"

namespace inspect {

// The appliance's memory, in bytes. The default holds the kernel, the tools and a file system's metadata; its
// page structures are part of each cold boot.
inline constexpr uint64_t kDefaultMemory = 96ull << 20;
inline constexpr uint64_t kMinMemory = 64ull << 20;
inline constexpr uint64_t kMaxMemory = 3ull << 30;  // below the devices' addresses
inline constexpr uint64_t kMemoryStep = 4ull << 20;

// The memory for these options, in bytes. Throws Error(kUsage) when it can't be that.
uint64_t appliance_memory(const EngineOptions& options);

// See start_machine().
std::unique_ptr<Machine> start_kvm_machine(const EngineOptions& options);

// Makes the snapshot for these options when there is none that fits. True when it was made now. Throws Error.
bool make_kvm_snapshot(const EngineOptions& options);
// The text that a snapshot for these options is found by.
std::string kvm_snapshot_key(const EngineOptions& options);

}  // namespace inspect
