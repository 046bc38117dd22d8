// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/guest_backup.h"

#include <algorithm>
#include <charconv>

#include <inspect/error.h>

namespace inspect::repository {

namespace {

constexpr size_t kMinIdDigits = 4;
// A snapshot of restic's is looked through for files so deep, and for so many.
constexpr unsigned kMaxDepth = 64;
constexpr size_t kMaxFiles = 100'000;

Bytes read_small_file(Repository& repository, const TreeNode& file) {
    Bytes all;
    for (const ObjectId& id : file.content) {
        const Bytes part = repository.read_blob(BlobType::kData, id);
        all.insert(all.end(), part.begin(), part.end());
        if (all.size() > 16U << 20) throw Error(ErrorKind::kCorrupt, "'" + file.name + "' is too large");
    }
    return all;
}

void collect_files(Repository& repository, const ObjectId& tree, const std::string& prefix, unsigned depth,
                   GuestBackup& backup) {
    if (depth > kMaxDepth) throw Error(ErrorKind::kUnsupported, "its directories nest too deeply");
    for (TreeNode& node : repository.read_tree(tree)) {
        const std::string path = prefix + "/" + node.name;
        if (node.is_directory()) {
            collect_files(repository, *node.subtree, path, depth + 1, backup);
        } else if (node.is_file()) {
            if (backup.disks.size() >= kMaxFiles)
                throw Error(ErrorKind::kUnsupported, "it has too many files to be a guest's disks");
            backup.disks.push_back(std::move(node));
            backup.paths.push_back(path);
        }
    }
}

}  // namespace

std::string guest_name_of(const Snapshot& snapshot) {
    if (snapshot.paths.size() != 1 || !snapshot.program_version.starts_with("insp ")) return "";
    return snapshot.paths[0].starts_with('/') ? snapshot.paths[0].substr(1) : snapshot.paths[0];
}

std::string GuestBackup::guest_name() const {
    if (record) return record->name;
    return snapshot.paths.empty() ? "?" : snapshot.paths[0];
}

std::string GuestBackup::describe() const {
    return snapshot.id.short_hex() + " of '" + guest_name() + "' at " + snapshot.time.text();
}

Snapshot find_snapshot(const std::vector<Snapshot>& snapshots, std::string_view name) {
    if (snapshots.empty())
        throw Error(ErrorKind::kNotFound, "the repository has no snapshots" +
                                              (name.empty() ? "" : ", so no '" + std::string(name) + "'"));
    if (name.empty() || name == "latest") return snapshots.back();
    for (auto it = snapshots.rbegin(); it != snapshots.rend(); ++it)
        if (guest_name_of(*it) == name) return *it;
    std::vector<const Snapshot*> found;
    if (name.size() >= kMinIdDigits)
        for (const Snapshot& snapshot : snapshots)
            if (snapshot.id.hex().starts_with(name)) found.push_back(&snapshot);
    if (found.size() > 1)
        throw Error(ErrorKind::kUsage, "several snapshots have an id that begins with '" + std::string(name) +
                                           "': give more of its digits");
    if (found.empty())
        throw Error(ErrorKind::kNotFound, "the repository has no snapshot or guest '" + std::string(name) +
                                              "'; 'insp backup list' shows what there is");
    return *found[0];
}

GuestBackup read_guest_backup(Repository& repository, const Snapshot& snapshot) {
    GuestBackup backup;
    backup.snapshot = snapshot;
    const std::string name = guest_name_of(snapshot);
    Tree root = repository.read_tree(snapshot.tree);
    if (name.empty() || root.size() != 1 || root[0].name != name || !root[0].is_directory()) {
        collect_files(repository, snapshot.tree, "", 0, backup);
        return backup;
    }
    Tree files = repository.read_tree(*root[0].subtree);
    for (const TreeNode& file : files) {
        if (file.name == kGuestRecordName)
            backup.record = parse_guest_record(as_text(read_small_file(repository, file)));
        if (file.name == kDomainXmlName) backup.domain_xml = as_text(read_small_file(repository, file));
    }
    if (!backup.record)
        throw Error(ErrorKind::kCorrupt, "the snapshot " + snapshot.id.short_hex() + " has no guest.json");
    for (const DiskRecord& disk : backup.record->disks) {
        const auto found = std::ranges::find(files, disk.file, &TreeNode::name);
        if (found == files.end() || !found->is_file() || found->size != disk.size)
            throw Error(ErrorKind::kCorrupt, "the snapshot " + snapshot.id.short_hex() + " has no disk '" +
                                                 disk.file + "' as its guest.json says");
        backup.disks.push_back(*found);
        backup.paths.push_back("/" + name + "/" + disk.file);
    }
    return backup;
}

size_t find_disk(const GuestBackup& backup, std::string_view name) {
    if (name.empty()) {
        if (backup.disks.size() == 1) return 0;
        if (backup.disks.empty())
            throw Error(ErrorKind::kNotFound, "the snapshot " + backup.describe() + " has no files");
        throw Error(ErrorKind::kUsage, "the snapshot " + backup.describe() + " has " +
                                           std::to_string(backup.disks.size()) +
                                           " disks: name one, from 0 or by its file's name");
    }
    size_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size() && number < backup.disks.size())
        return number;
    for (size_t i = 0; i < backup.disks.size(); ++i)
        if (backup.paths[i] == name || backup.disks[i].name == name) return i;
    throw Error(ErrorKind::kNotFound,
                "the snapshot " + backup.describe() + " has no disk '" + std::string(name) + "'");
}

std::vector<uint64_t> zero_lengths(const GuestBackup& backup, size_t disk) {
    if (!backup.record || backup.record->chunk_size == 0) return {};
    const uint64_t chunk = backup.record->chunk_size;
    return {chunk, backup.record->zero_unit, backup.disks[disk].size % chunk};
}

}  // namespace inspect::repository
