// SPDX-License-Identifier: LGPL-2.1-or-later
#include "backup/snapshot_tree.h"

#include <algorithm>

#include <inspect/error.h>

#include "base/log.h"
#include "block/backup_device.h"
#include "repository/chunk_cache.h"

namespace inspect {

using repository::DiskContents;
using repository::Snapshot;
using repository::TreeNode;

namespace {

constexpr size_t kShortId = 8;
constexpr size_t kMostName = 255;  // NAME_MAX
constexpr size_t kStatBlock = 512;
constexpr const char* kLatest = "latest";

// A name for a directory, of a host or tag that may be called anything.
std::string as_name(std::string text) {
    std::ranges::replace(text, '/', '_');
    std::ranges::replace(text, '\0', '_');
    if (text.empty() || text == "." || text == "..") text += '_';
    return text.substr(0, kMostName);
}

// To the second: "2026-03-01T13:05:06Z".
std::string time_name(const repository::Timestamp& time) {
    const std::string text = time.text();
    return text.substr(0, text.find('.')) + "Z";
}

bool can_be_shown(const TreeNode& node) {
    return (node.is_directory() || node.is_file()) && node.name.size() <= kMostName &&
           node.name.find('\0') == std::string::npos && (!node.is_directory() || node.subtree) &&
           node.size <= INT64_MAX;
}

}  // namespace

SnapshotTree::SnapshotTree(std::shared_ptr<repository::Repository> repository,
                           std::vector<Snapshot> snapshots)
    : repository_(std::move(repository)), snapshots_(std::move(snapshots)) {
    nodes_.push_back({.name = "", .parent = kRoot, .type = S_IFDIR, .modified = {}});
    for (const char* name : {"guests", "hosts", "ids", "snapshots", "tags"}) make(kRoot, name, S_IFDIR);
    for (const Snapshot& snapshot : snapshots_) show_snapshot(snapshot);
}

SnapshotTree::Number SnapshotTree::make(Number parent, const std::string& name, mode_t type) {
    const Number number = nodes_.size() + kRoot;
    const auto [found, is_new] = at(parent).children.emplace(name, number);
    if (is_new)
        nodes_.push_back({.name = name, .parent = parent, .type = type, .modified = at(parent).modified});
    return found->second;
}

void SnapshotTree::show_snapshot(const Snapshot& snapshot) {
    const Number ids = make(kRoot, "ids", S_IFDIR);
    std::string id = snapshot.id.hex().substr(0, kShortId);
    if (at(ids).children.contains(id)) id = snapshot.id.hex();
    Node& node = at(make(ids, id, S_IFDIR));
    node.snapshot = &snapshot;
    node.stored.subtree = snapshot.tree;
    node.modified = snapshot.time;
    node.is_read = false;
    link_by_time(make(kRoot, "snapshots", S_IFDIR), snapshot, "../ids/" + id);
    const auto link_below = [&](const char* kind, const std::string& name, const std::string& below) {
        const Number directory = make(make(kRoot, kind, S_IFDIR), as_name(name), S_IFDIR);
        link_by_time(directory, snapshot, "../../ids/" + id + below);
    };
    link_below("hosts", snapshot.hostname, "");
    for (const std::string& tag : snapshot.tags) link_below("tags", tag, "");
    if (const std::string guest = guest_name_of(snapshot); !guest.empty() && guest == as_name(guest))
        link_below("guests", guest, "/" + guest);
}

void SnapshotTree::link_by_time(Number directory, const Snapshot& snapshot, const std::string& target) {
    const std::string time = time_name(snapshot.time);
    std::string name = time;
    for (unsigned i = 2; at(directory).children.contains(name); ++i) name = time + "-" + std::to_string(i);
    Node& link = at(make(directory, name, S_IFLNK));
    link.target = target;
    link.modified = snapshot.time;
    // Snapshots come by their age: the last one is the latest.
    Node& latest = at(make(directory, kLatest, S_IFLNK));
    latest.target = name;
    latest.modified = at(directory).modified = snapshot.time;
}

void SnapshotTree::read_directory(Node& directory, Number number) {
    if (directory.is_read) return;
    for (TreeNode& stored : repository_->read_tree(*directory.stored.subtree)) {
        if (!can_be_shown(stored)) continue;
        Node& node = at(make(number, stored.name, stored.is_directory() ? S_IFDIR : S_IFREG));
        node.snapshot = directory.snapshot;
        node.modified = stored.modified;
        node.is_read = !stored.is_directory();
        node.stored = std::move(stored);
    }
    directory.is_read = true;
}

std::vector<SnapshotTree::Child> SnapshotTree::children(Number directory) {
    const std::lock_guard guard(mutex_);
    Node& node = at(directory);
    read_directory(node, directory);
    std::vector<Child> result;
    for (const auto& [name, number] : node.children) result.push_back({number, name});
    return result;
}

std::optional<SnapshotTree::Number> SnapshotTree::find(Number directory, const std::string& name) {
    const std::lock_guard guard(mutex_);
    Node& node = at(directory);
    read_directory(node, directory);
    const auto found = node.children.find(name);
    return found == node.children.end() ? std::nullopt : std::optional(found->second);
}

SnapshotTree::Number SnapshotTree::parent(Number number) {
    const std::lock_guard guard(mutex_);
    return at(number).parent;
}

std::string SnapshotTree::link_target(Number link) {
    const std::lock_guard guard(mutex_);
    return at(link).target;
}

struct stat SnapshotTree::attributes(Number number) {
    const std::lock_guard guard(mutex_);
    Node& node = at(number);
    struct stat status = {};
    status.st_ino = number;
    status.st_mode = node.type | (node.type == S_IFDIR ? 0555 : node.type == S_IFLNK ? 0777 : 0444);
    // Of a directory it would be the number of its directories, which aren't read for that: 1 says so.
    status.st_nlink = 1;
    status.st_mtim = {node.modified.seconds, static_cast<long>(node.modified.nanoseconds)};
    status.st_atim = status.st_ctim = status.st_mtim;
    if (node.type == S_IFLNK) status.st_size = static_cast<off_t>(node.target.size());
    if (node.type != S_IFREG) return status;
    status.st_size = static_cast<off_t>(node.stored.size);
    status.st_blocks = static_cast<blkcnt_t>((data_size(node) + kStatBlock - 1) / kStatBlock);
    return status;
}

DiskContents SnapshotTree::contents(const Node& file) {
    const auto [found, is_new] = zero_lengths_.try_emplace(file.snapshot);
    if (is_new && !guest_name_of(*file.snapshot).empty()) {
        try {
            const auto record = read_guest_backup(*repository_, *file.snapshot).record;
            if (record) found->second = {record->chunk_size, record->zero_unit};
        } catch (const Error& error) {
            // Holes are read as zeros, then.
            log(LogLevel::kVerbose, error.message());
        }
    }
    std::vector<uint64_t> lengths = found->second;
    if (!lengths.empty() && lengths[0] != 0) lengths.push_back(file.stored.size % lengths[0]);
    return {*repository_, file.stored, lengths};
}

uint64_t SnapshotTree::data_size(Node& file) {
    if (file.data_size) return *file.data_size;
    uint64_t total = 0;
    try {
        const DiskContents parts = contents(file);
        for (size_t i = 0; i < parts.count(); ++i)
            if (const auto chunk = parts.chunk(i); !chunk.zero) total += chunk.length;
    } catch (const Error& error) {
        // It is there, and can't be opened: whoever tries is told.
        log(LogLevel::kVerbose, error.message());
        total = file.stored.size;
    }
    file.data_size = total;
    return total;
}

std::unique_ptr<BlockDevice> SnapshotTree::open(Number file) {
    const std::lock_guard guard(mutex_);
    const Node& node = at(file);
    std::unique_ptr<repository::ChunkCache> cache;
    if (repository_->storage().is_remote())
        cache = repository::ChunkCache::open(repository_->config().id, repository_->key());
    return std::make_unique<BackupDevice>(repository_, contents(node), std::move(cache),
                                          node.snapshot->id.short_hex() + "/" + node.name);
}

}  // namespace inspect
