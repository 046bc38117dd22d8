// SPDX-License-Identifier: GPL-2.0-or-later
#include "btrfs.h"

#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "failure.h"
#include "fields.h"

namespace inspect::agent {

namespace {

constexpr size_t kMaxSubvolumes = 4096;

// One root item or reference of the tree of roots.
struct Found {
    uint64_t parent = 0;
    uint64_t directory = 0;  // inode in the parent
    std::string name;
    bool snapshot = false;
};

// "a/b/" of a directory in a subvolume; empty for its root.
std::string directory_path(int fd, uint64_t subvolume, uint64_t inode) {
    if (inode == BTRFS_FIRST_FREE_OBJECTID) return {};
    btrfs_ioctl_ino_lookup_args lookup{};
    lookup.treeid = subvolume;
    lookup.objectid = inode;
    if (::ioctl(fd, BTRFS_IOC_INO_LOOKUP, &lookup) < 0) fail_errno("cannot list", "the subvolumes");
    return std::string(lookup.name, ::strnlen(lookup.name, sizeof lookup.name));
}

}  // namespace

std::vector<Subvolume> list_subvolumes(int fd) {
    std::map<uint64_t, Found> found;
    btrfs_ioctl_search_args search{};
    btrfs_ioctl_search_key& key = search.key;
    key.tree_id = BTRFS_ROOT_TREE_OBJECTID;
    key.min_objectid = BTRFS_FIRST_FREE_OBJECTID;
    key.max_objectid = BTRFS_LAST_FREE_OBJECTID;
    key.min_type = BTRFS_ROOT_ITEM_KEY;
    key.max_type = BTRFS_ROOT_BACKREF_KEY;
    key.max_offset = key.max_transid = UINT64_MAX;
    const std::span items(reinterpret_cast<const uint8_t*>(search.buf), sizeof search.buf);
    while (found.size() < kMaxSubvolumes) {
        key.nr_items = 4096;
        if (::ioctl(fd, BTRFS_IOC_TREE_SEARCH, &search) < 0) fail_errno("cannot list", "the subvolumes");
        if (key.nr_items == 0) break;
        size_t at = 0;
        for (uint32_t i = 0; i < key.nr_items; ++i) {
            btrfs_ioctl_search_header header;
            if (at + sizeof header > sizeof search.buf) break;
            std::memcpy(&header, search.buf + at, sizeof header);
            at += sizeof header;
            const char* item = search.buf + at;
            if (header.len > sizeof search.buf - at) break;
            at += header.len;
            key.min_objectid = header.objectid;
            key.min_type = header.type;
            key.min_offset = header.offset;
            if (header.type == BTRFS_ROOT_BACKREF_KEY && header.len >= sizeof(btrfs_root_ref)) {
                Found& entry = found[header.objectid];
                entry.parent = header.offset;
                const auto reference = items.subspan(static_cast<size_t>(item - search.buf));
                entry.directory = load<le64>(reference, offsetof(btrfs_root_ref, dirid));
                size_t size = load<le16>(reference, offsetof(btrfs_root_ref, name_len));
                entry.name.assign(item + sizeof(btrfs_root_ref),
                                  std::min<size_t>(size, header.len - sizeof(btrfs_root_ref)));
            } else if (header.type == BTRFS_ROOT_ITEM_KEY && header.len >= sizeof(btrfs_root_item)) {
                const char* uuid = item + offsetof(btrfs_root_item, parent_uuid);
                found[header.objectid].snapshot =
                    std::any_of(uuid, uuid + BTRFS_UUID_SIZE, [](char c) { return c != 0; });
            }
        }
        // On behind the last one.
        if (++key.min_offset == 0 && ++key.min_type > BTRFS_ROOT_BACKREF_KEY) {
            key.min_type = BTRFS_ROOT_ITEM_KEY;
            ++key.min_objectid;
        }
    }
    std::vector<Subvolume> subvolumes;
    for (const auto& [id, entry] : found) {
        if (entry.name.empty()) continue;  // deleted, or no subvolume
        std::string path = entry.name;
        const Found* step = &entry;
        for (int depth = 0; depth < 64; ++depth) {
            path.insert(0, directory_path(fd, step->parent, step->directory));
            if (step->parent == BTRFS_FS_TREE_OBJECTID) break;
            auto parent = found.find(step->parent);
            if (parent == found.end()) break;
            step = &parent->second;
            path.insert(0, step->name + "/");
        }
        subvolumes.push_back({id, std::move(path), entry.snapshot});
    }
    return subvolumes;
}

uint64_t btrfs_device_count(int fd, uint64_t offset) {
    constexpr uint64_t kSuperblock = 65536;
    constexpr uint64_t kNumDevices = 136;
    uint8_t count[8];
    if (::pread(fd, count, sizeof count, static_cast<off_t>(offset + kSuperblock + kNumDevices)) !=
        sizeof count)
        return 0;
    return load<le64>(count, 0);
}

}  // namespace inspect::agent
