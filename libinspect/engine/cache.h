// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The cache directory: warm snapshots and what was found out about the host.
//
//   DIR/snapshots/HASH/{key,state,sum,memory}   a snapshot; `key` is the text that HASH is made of, `sum` the
//                                               CRC32C of `state`, in hex
//   DIR/snapshots/HASH.lock                     held while that snapshot is made
//   DIR/host-HASH                               "software" or "hardware": the kind of KVM
//
// The directory and everything in it belong to the user alone (0700): a snapshot is a running kernel's
// memory, whoever can write it owns the appliance. What belongs to somebody else is not used. A snapshot
// appears by a rename, whole and on stable storage, so it is never seen half-written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"

namespace inspect {

// A snapshot's files, opened for reading.
struct SnapshotFiles {
    std::string path;
    Fd state;
    Fd memory;
};

class Cache {
  public:
    // `given`, else $INSP_CACHE_DIR, else $XDG_CACHE_HOME/libinspect, else ~/.cache/libinspect (root without
    // a home: /var/cache/libinspect). Throws Error(kUsage) when none of these is known.
    static std::string directory(const std::string& given);

    // Creates the directory when it is missing. Throws Error: kDenied when it can't be used or isn't ours.
    explicit Cache(std::string directory);

    // nullopt when there is none for exactly this key text, or it is not fit for use. `state`, some 100 KB,
    // is summed; `memory` is not read: an engine looks at its size.
    std::optional<SnapshotFiles> find_snapshot(const std::string& key) const;
    void remove_snapshot(const std::string& key) const;
    // Waits until nobody else makes the snapshot of this key; the lock ends with the descriptor. Throws
    // Error(kCancelled) once interrupt_fd is readable (-1: never).
    Fd lock_snapshot(const std::string& key, int interrupt_fd = -1) const;

    // A snapshot in the making: two empty files in a directory of their own. publish() makes it visible;
    // without it the destructor removes everything.
    class Draft {
      public:
        Draft(const Cache& cache, std::string key);
        ~Draft();
        Draft(const Draft&) = delete;
        Draft& operator=(const Draft&) = delete;
        int state_fd() const { return state_.get(); }
        int memory_fd() const { return memory_.get(); }
        void publish();

      private:
        std::string key_;
        std::string final_path_;
        std::string path_;
        Fd state_;
        Fd memory_;
        bool published_ = false;
    };

    struct Listed {
        std::string path;
        std::string key;
        uint64_t size_bytes;  // allocated
    };
    std::vector<Listed> list_snapshots() const;
    // Removes all snapshots and what is known of the host; the bytes that became free. Snapshots in use stay
    // valid for those who have them open.
    uint64_t clear() const;

    // Small facts about the host, by name. read: nullopt when unknown.
    std::optional<std::string> read_fact(const std::string& name) const;
    void write_fact(const std::string& name, const std::string& value) const;

  private:
    std::string snapshot_path(const std::string& key) const;

    std::string directory_;
};

// The cache in the directory that is meant (see Cache::directory). nullopt, and a line in the log, where
// there can be none: then every start is cold.
std::optional<Cache> open_cache(const std::string& given_directory);

// 128 bits of FNV-1a over the text, in hex: a file name, not a defence (the key text is compared).
std::string key_hash(const std::string& text);

}  // namespace inspect
