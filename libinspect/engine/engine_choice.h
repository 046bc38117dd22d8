// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which engine runs an appliance: what the user says, or what fits this host.
#pragma once

#include <cstddef>
#include <string>

#include "engine/engine.h"

namespace inspect {

// "auto", "kvm" or "qemu"; empty: $INSP_ENGINE, else "auto". Throws Error(kUsage) for anything else.
EngineKind parse_engine(const std::string& given);

// How many disks the engine can have at once; of kAuto, the one that takes more.
size_t max_disks(EngineKind engine) noexcept;

struct EngineChoice {
    EngineKind kind;     // kKvm or kQemu
    std::string reason;  // a sentence for a person
};

// kAuto becomes the engine that works here; of two that do, the one that is faster for short commands. Takes
// microseconds once it is known what kind of KVM the host has. Never throws for what the host lacks: an
// engine that can't start says why. Of the options, the engine and the cache's directory count.
EngineChoice choose_engine(const EngineOptions& options);

// Makes the chosen engine's snapshot for these options when there is none that fits. True when it was made
// now. Throws Error.
bool make_snapshot(const EngineOptions& options);
// The text that it is found by.
std::string snapshot_key(const EngineOptions& options);

}  // namespace inspect
