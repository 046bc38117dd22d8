// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/backup.h: opening a repository, and what is in it.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "backup/repository_impl.h"
#include "base/log.h"
#include "repository/disk_contents.h"
#include "repository/password.h"

namespace inspect {

using repository::BlobType;
using repository::GuestBackup;
using repository::ObjectId;
using repository::Repository;
using repository::Snapshot;

namespace {

repository::Access to_access(const BackupAccess& access) {
    return {access.location, access.password_file, access.password_command};
}

using IdSet = std::unordered_set<ObjectId, repository::ObjectIdHash>;

// All blobs that a snapshot refers to, those of its directories and files.
void collect_blobs(Repository& repository, const ObjectId& tree, IdSet& trees, IdSet& data) {
    if (!trees.insert(tree).second) return;
    for (const repository::TreeNode& node : repository.read_tree(tree)) {
        data.insert(node.content.begin(), node.content.end());
        if (node.is_directory()) collect_blobs(repository, *node.subtree, trees, data);
    }
}

uint64_t stored_size(Repository& repository, BlobType type, const IdSet& blobs, const IdSet& without) {
    uint64_t total = 0;
    for (const ObjectId& id : blobs) {
        if (without.contains(id)) continue;
        const auto places = repository.index().find(type, id);
        if (!places.empty()) total += places[0].blob.length;
    }
    return total;
}

}  // namespace

BackupSnapshot to_public(const Snapshot& snapshot) {
    BackupSnapshot result;
    result.id = snapshot.id.hex();
    // Nobody made a backup before 1970 or will after 2262, whatever a snapshot says.
    constexpr int64_t kSecond = 1'000'000'000, kLast = INT64_MAX / kSecond - 1;
    result.time_ns =
        std::clamp<int64_t>(snapshot.time.seconds, 0, kLast) * kSecond + snapshot.time.nanoseconds;
    result.guest = repository::guest_name_of(snapshot);
    result.hostname = snapshot.hostname;
    result.username = snapshot.username;
    result.tags = snapshot.tags;
    result.paths = snapshot.paths;
    result.parent = snapshot.parent ? snapshot.parent->hex() : "";
    result.program = snapshot.program_version;
    return result;
}

std::string create_backup_repository(const BackupAccess& access) {
    auto storage = repository::open_storage(repository::find_location(to_access(access)));
    if (storage->has_config())
        throw Error(ErrorKind::kUsage, "there is a repository at '" + storage->location() + "' already");
    const std::string password = repository::find_password(to_access(access), true);
    return Repository::create(std::move(storage), password)->config().id;
}

BackupRepository::Impl::Impl(const BackupAccess& given, bool background)
    : access(given), in_background(background) {
    auto storage = repository::open_storage(repository::find_location(to_access(access)));
    location = storage->location();
    // Waiting for a server can't be interrupted, so nobody is to wait for its thread.
    if (storage->is_remote()) in_background = false;
    opening = std::async(in_background ? std::launch::async : std::launch::deferred,
                         [storage = std::move(storage),
                          password = repository::find_password(to_access(access), false)]() mutable {
                             return std::shared_ptr(Repository::open(std::move(storage), password));
                         })
                  .share();
}

BackupRepository::BackupRepository(const BackupAccess& access, bool in_background)
    : impl_(std::make_unique<Impl>(access, in_background)) {
    if (!impl_->in_background) wait_until_open();
}
BackupRepository::~BackupRepository() = default;

void BackupRepository::wait_until_open() { impl_->repository(); }

const std::string& BackupRepository::location() const noexcept { return impl_->location; }

std::vector<Snapshot>& BackupRepository::Impl::snapshots() {
    if (!known_snapshots) known_snapshots = repository()->snapshots();
    return *known_snapshots;
}

GuestBackup BackupRepository::Impl::find(const std::string& name) {
    return read_guest_backup(*repository(), find_snapshot(snapshots(), name));
}

void BackupRepository::Impl::lock_shared() {
    if (lock) return;
    try {
        lock.emplace(*repository(), repository::LockKind::kShared);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kDenied) throw;
        log(LogLevel::kVerbose, "the repository is read without a lock: " + error.message());
    }
}

std::vector<BackupSnapshot> BackupRepository::list() {
    std::vector<BackupSnapshot> all;
    for (const Snapshot& snapshot : impl_->snapshots()) all.push_back(to_public(snapshot));
    return all;
}

BackupInfo BackupRepository::info(const std::string& name, bool with_sizes) {
    impl_->lock_shared();
    Repository& repository = *impl_->repository();
    const GuestBackup backup = impl_->find(name);
    BackupInfo info;
    info.snapshot = to_public(backup.snapshot);
    info.has_domain_xml = !backup.domain_xml.empty();
    for (size_t i = 0; i < backup.disks.size(); ++i) {
        BackupDisk disk;
        disk.name = backup.disks[i].name;
        disk.size = backup.disks[i].size;
        const repository::DiskContents contents(repository, backup.disks[i], zero_lengths(backup, i));
        disk.chunks = contents.count();
        for (size_t chunk = 0; chunk < contents.count(); ++chunk)
            if (!contents.chunk(chunk).zero) disk.data_size += contents.chunk(chunk).length;
        if (backup.record) {
            const repository::DiskRecord& record = backup.record->disks[i];
            disk.source = record.source;
            disk.format = record.format;
            disk.free_space = record.left_out_free;
            disk.swap_space = record.left_out_swap;
            disk.changed_while_read = record.changed_while_read;
        }
        info.disks.push_back(std::move(disk));
    }
    if (backup.record)
        for (const repository::OsRecord& system : backup.record->systems)
            info.systems.push_back(system.product_name.empty() ? system.distro : system.product_name);
    if (!with_sizes) return info;
    IdSet trees, data, other_trees, other_data;
    collect_blobs(repository, backup.snapshot.tree, trees, data);
    for (const Snapshot& other : impl_->snapshots())
        if (other.id != backup.snapshot.id) collect_blobs(repository, other.tree, other_trees, other_data);
    info.stored = stored_size(repository, BlobType::kData, data, {}) +
                  stored_size(repository, BlobType::kTree, trees, {});
    info.stored_alone = stored_size(repository, BlobType::kData, data, other_data) +
                        stored_size(repository, BlobType::kTree, trees, other_trees);
    return info;
}

std::string BackupRepository::domain_xml(const std::string& name) { return impl_->find(name).domain_xml; }

}  // namespace inspect
