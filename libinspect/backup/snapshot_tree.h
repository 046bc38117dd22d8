// SPDX-License-Identifier: LGPL-2.1-or-later
//
// SnapshotTree: a repository as one tree of directories and files, read as it is looked at:
//
//     ids/3f2a91bc/web-01/disk0.raw            what a snapshot has
//     guests/web-01/2026-03-01T13:05:06Z       -> ../../ids/3f2a91bc/web-01
//     guests/web-01/latest                     -> 2026-03-01T13:05:06Z
//     snapshots/2026-03-01T13:05:06Z           -> ../ids/3f2a91bc
//     hosts/HOST/..., tags/TAG/...             the same, of that host or tag
//
// Times are UTC; of two of the same second the later has "-2" behind it. Of restic's snapshots it shows
// directories and regular files.
#pragma once

#include <sys/stat.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "block/block_device.h"
#include "repository/disk_contents.h"
#include "repository/guest_backup.h"
#include "repository/repository.h"

namespace inspect {

// Thread-safe.
class SnapshotTree {
  public:
    // A place in the tree; valid as long as the tree is.
    using Number = uint64_t;
    static constexpr Number kRoot = 1;

    SnapshotTree(std::shared_ptr<repository::Repository> repository,
                 std::vector<repository::Snapshot> snapshots);

    // st_ino, st_mode (readable for all), st_size, st_blocks (without what is known to be zeros), st_nlink
    // and the times are filled. Throws Error where the repository is damaged.
    struct stat attributes(Number number);
    struct Child {
        Number number;
        std::string name;
    };
    // Of a directory, in a fixed order.
    std::vector<Child> children(Number directory);
    std::optional<Number> find(Number directory, const std::string& name);
    Number parent(Number number);
    std::string link_target(Number link);
    // A file's contents, each chunk checked when it is read. May be used without the tree.
    std::unique_ptr<BlockDevice> open(Number file);

  private:
    struct Node {
        std::string name;
        Number parent;
        mode_t type;  // S_IFDIR, S_IFREG or S_IFLNK
        repository::Timestamp modified;
        const repository::Snapshot* snapshot = nullptr;  // whose this is; null above them
        repository::TreeNode stored = {};                // of a file or directory of a snapshot
        std::string target = {};
        bool is_read = true;  // a directory's children are known
        std::map<std::string, Number> children = {};
        std::optional<uint64_t> data_size = {};  // of a file, once it was asked for
    };

    Node& at(Number number) { return nodes_[number - kRoot]; }
    // The child of that name, made if it isn't there.
    Number make(Number parent, const std::string& name, mode_t type);
    void show_snapshot(const repository::Snapshot& snapshot);
    void link_by_time(Number directory, const repository::Snapshot& snapshot, const std::string& target);
    void read_directory(Node& directory, Number number);
    repository::DiskContents contents(const Node& file);
    uint64_t data_size(Node& file);

    const std::shared_ptr<repository::Repository> repository_;
    const std::vector<repository::Snapshot> snapshots_;
    std::mutex mutex_;
    std::deque<Node> nodes_;  // by their numbers
    // The lengths that runs of zeros have in a snapshot's disks; empty for restic's.
    std::map<const repository::Snapshot*, std::vector<uint64_t>> zero_lengths_;
};

}  // namespace inspect
