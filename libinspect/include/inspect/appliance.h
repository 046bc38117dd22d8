// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The appliance as a thing to look after: where it is, whether its snapshot is warm, whether this host can
// run it. For `insp appliance` and `insp doctor`. All functions are thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <inspect/error.h>
#include <inspect/session.h>

namespace inspect {

struct ApplianceInfo {
    std::string directory;
    std::string version;        // of libinspect
    std::string kernel;         // of the appliance: the Debian source package's version
    std::string manifest_json;  // packages and checksums, as in the file
    uint64_t size_bytes = 0;
    std::string cache_directory;
    struct Snapshot {
        std::string path;
        uint64_t size_bytes = 0;  // allocated
        bool current = false;     // fits this host, appliance and the default options
    };
    std::vector<Snapshot> snapshots;
};

// Of the options count, here and below: the directories of the appliance and the cache; the engine, the
// memory and the number of disks, which say what snapshot is meant; `verbose`. Whether snapshots are to be
// used counts for nothing. All throw Error: kNotFound (no appliance), kDenied (a directory that can't be used
// or isn't this user's alone), kUsage (an engine or amount of memory that there is not, no cache directory).
//
// Without an engine that works no snapshot is called current.
ApplianceInfo appliance_info(const SessionOptions& options);
// Makes the snapshot if there is none that fits. True when it was made now. Throws also what starting the
// appliance does: kEngine, kNotFound and kDenied for the engine's own, kNoSpace.
bool appliance_warm(const SessionOptions& options);
// Removes all snapshots from the cache, of all engines and sizes; the bytes that became free.
uint64_t appliance_clear(const SessionOptions& options);

struct Check {
    enum class Status { kOk, kWarning, kFailed };
    std::string name;  // "kvm", "cache"...
    Status status = Status::kOk;
    std::string detail;  // what was found
    std::string advice;  // what to do where it is not ok
};

// Checks KVM and its kind, permissions, the sandbox, the appliance's files, the cache, and times a cold and a
// warm start. What it finds is in the answer, and not thrown.
std::vector<Check> diagnose(const SessionOptions& options);

}  // namespace inspect
