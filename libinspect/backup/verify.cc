// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/backup.h: whether all that was stored can be had back, and if not, who is affected.
#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include <inspect/session.h>

#include "backup/repository_impl.h"
#include "backup/workers.h"

namespace inspect {

using repository::BlobType;
using repository::Bytes;
using repository::FileKind;
using repository::IndexedPack;
using repository::ObjectId;
using repository::ObjectIdHash;
using repository::PackedBlob;
using repository::Repository;
using repository::Snapshot;
using repository::StoredFile;

namespace {

class Verification {
  public:
    Verification(Repository& repository, const VerifyOptions& options)
        : repository_(repository), options_(options) {}

    VerifyReport run() {
        check_keys();
        read_indexes();
        list_packs();
        if (options_.read_data) read_packs();
        for (const StoredFile& file : repository_.storage().list(FileKind::kSnapshot))
            check_snapshot(file.id);
        std::ranges::sort(report_.affected);
        report_.bytes = bytes_;
        return std::move(report_);
    }

  private:
    void damage(std::string what) {
        const std::lock_guard guard(mutex_);
        report_.damage.push_back({std::move(what)});
    }

    void check_keys() {
        for (const StoredFile& file : repository_.storage().list(FileKind::kKey)) {
            try {
                if (ObjectId::of(repository_.storage().read(FileKind::kKey, file.id)) != file.id)
                    damage(describe(FileKind::kKey, file.id) +
                           " is damaged: its contents aren't what its name says");
            } catch (const Error& error) {
                damage(error.message());
            }
        }
    }

    void read_indexes() {
        std::vector<std::pair<ObjectId, repository::IndexFile>> files;
        std::unordered_set<ObjectId, ObjectIdHash> superseded;
        for (const StoredFile& file : repository_.storage().list(FileKind::kIndex)) {
            try {
                const Bytes content = repository_.read_file(FileKind::kIndex, file.id);
                files.emplace_back(file.id, repository::parse_index(repository::as_text(content)));
                for (const ObjectId& id : files.back().second.supersedes) superseded.insert(id);
            } catch (const Error& error) {
                damage(error.message());
            }
        }
        for (const auto& [id, file] : files) {
            if (superseded.contains(id)) continue;
            for (const IndexedPack& pack : file.packs) indexed_.emplace(pack.id, pack);
        }
    }

    void list_packs() {
        for (const StoredFile& file : repository_.storage().list(FileKind::kPack))
            stored_[file.id] = file.size;
        for (const auto& [id, size] : stored_)
            if (!indexed_.contains(id))
                report_.notes.push_back(describe(FileKind::kPack, id) +
                                        " is in no index; the next 'insp backup create' takes it into one");
        for (const auto& [id, pack] : indexed_) {
            uint64_t needed = 0;
            for (const PackedBlob& blob : pack.blobs)
                needed = std::max(needed, uint64_t{blob.offset} + blob.length);
            const auto found = stored_.find(id);
            if (found == stored_.end() || found->second < needed) {
                damage(describe(FileKind::kPack, id) +
                       (found == stored_.end() ? " is missing" : " is too short"));
                continue;
            }
            for (const PackedBlob& blob : pack.blobs) good_[kind(blob.type)].insert(blob.id);
            ++report_.packs;
            report_.blobs += pack.blobs.size();
            bytes_ += found->second;
        }
    }

    static size_t kind(BlobType type) { return static_cast<size_t>(type); }

    void read_packs() {
        for (auto& set : good_) set.clear();
        std::vector<std::pair<ObjectId, uint64_t>> packs(stored_.begin(), stored_.end());
        uint64_t total = 0;
        for (const auto& [id, size] : packs) total += size;
        std::atomic<uint64_t> done{0};
        work_in_parallel(
            packs.size(), useful_threads(),
            [&](size_t i) {
                read_pack(packs[i].first);
                done += packs[i].second;
            },
            [&] {
                if (options_.on_progress) options_.on_progress({done, total, done, 0});
            });
    }

    void read_pack(const ObjectId& id) {
        const auto indexed = indexed_.find(id);
        Bytes file;
        try {
            file = repository_.storage().read(FileKind::kPack, id);
            if (ObjectId::of(file) != id)
                damage(describe(FileKind::kPack, id) + " is damaged: its contents aren't what its name says");
            if (indexed == indexed_.end()) return;
        } catch (const Error& error) {
            damage(error.message());
            return;
        }
        try {
            const auto blobs = read_pack_header(repository_.key(), file);
            if (blobs.size() != indexed->second.blobs.size())
                damage(describe(FileKind::kPack, id) + ": its header is not what the index says");
        } catch (const Error& error) {
            damage(describe(FileKind::kPack, id) + ": " + error.message());
        }
        for (const PackedBlob& blob : indexed->second.blobs) {
            try {
                if (file.size() < uint64_t{blob.offset} + blob.length)
                    throw Error(ErrorKind::kCorrupt, "the file ends before it");
                open_blob(repository_.key(), blob, std::span(file).subspan(blob.offset, blob.length));
                const std::lock_guard guard(mutex_);
                good_[kind(blob.type)].insert(blob.id);
            } catch (const Error& error) {
                damage(describe(FileKind::kPack, id) + ", blob " + blob.id.hex() + ": " + error.message());
            }
        }
    }

    void check_snapshot(const ObjectId& id) {
        ++report_.snapshots;
        std::string name = "snapshot " + id.short_hex();
        try {
            const Snapshot snapshot = repository_.snapshot(id);
            for (const std::string& path : snapshot.paths) name += " of '" + path + "'";
            name += " on " + snapshot.hostname + " at " + snapshot.time.text();
            check_tree(snapshot.tree, name, "");
        } catch (const Error& error) {
            damage(error.message());
            report_.affected.push_back(name);
        }
    }

    // Directories that are whole are looked at once; damaged ones again for each snapshot that has them.
    bool check_tree(const ObjectId& id, const std::string& snapshot, const std::string& path) {
        if (whole_.contains(id)) return true;
        repository::Tree tree;
        try {
            if (!good_[kind(BlobType::kTree)].contains(id))
                throw Error(ErrorKind::kNotFound, "the directory " + id.hex() + " is missing or damaged");
            tree = repository_.read_tree(id);
        } catch (const Error& error) {
            if (reported_.insert(id).second) damage(error.message());
            report_.affected.push_back(snapshot + ", " + (path.empty() ? "all of it" : path));
            return false;
        }
        bool whole = true;
        for (const repository::TreeNode& node : tree) {
            const std::string name = path + "/" + node.name;
            const auto lost = std::ranges::count_if(node.content, [this](const ObjectId& blob) {
                return !good_[kind(BlobType::kData)].contains(blob);
            });
            if (lost > 0) {
                report_.affected.push_back(snapshot + ", " + name + ": " + std::to_string(lost) + " of " +
                                           std::to_string(node.content.size()) + " chunks");
                if (report_.damage.empty())
                    damage("the index lacks data that snapshots need: a part of it was lost");
                whole = false;
            }
            if (node.is_directory() && !check_tree(*node.subtree, snapshot, name)) whole = false;
        }
        if (whole) whole_.insert(id);
        return whole;
    }

    using IdSet = std::unordered_set<ObjectId, ObjectIdHash>;

    Repository& repository_;
    const VerifyOptions& options_;
    VerifyReport report_;
    std::mutex mutex_;
    std::map<ObjectId, IndexedPack> indexed_;
    std::map<ObjectId, uint64_t> stored_;
    IdSet good_[2];  // blobs that can be had, by kind
    IdSet whole_, reported_;
    uint64_t bytes_ = 0;
};

// Opens the backup as images and reads all directories of the guest's operating system. What is wrong with
// it; empty: nothing, or that it has none.
std::string look_inside(const repository::GuestBackup& backup, const BackupAccess& access,
                        const SessionOptions& appliance) {
    SessionOptions options = appliance;
    options.disks.clear();
    options.writable = options.scratch = false;
    for (size_t disk = 0; disk < backup.disks.size(); ++disk) {
        DiskSpec spec;
        spec.path = "backup:" + access.location + ":" + backup.snapshot.id.hex() + ":" + std::to_string(disk);
        spec.password_file = access.password_file;
        spec.password_command = access.password_command;
        options.disks.push_back(std::move(spec));
    }
    Session session(std::move(options));
    if (session.inspect().empty()) return "";
    session.mount_os();
    std::string fault;
    session.list_directory("/", true, true, [&fault](const DirectoryEntry& entry) {
        if (fault.empty() && !entry.error.empty()) fault = entry.path + ": " + entry.error;
    });
    return fault;
}

}  // namespace

VerifyReport BackupRepository::verify(const VerifyOptions& options) {
    impl_->lock_shared();
    VerifyReport report = Verification(*impl_->repository(), options).run();
    if (!options.inspect) return report;
    std::map<std::string, const Snapshot*> newest;
    for (const Snapshot& snapshot : impl_->snapshots())
        if (const std::string guest = guest_name_of(snapshot); !guest.empty()) newest[guest] = &snapshot;
    for (const auto& [guest, snapshot] : newest) {
        const std::string name = "snapshot " + snapshot->id.short_hex() + " of '" + guest + "'";
        try {
            const repository::GuestBackup backup = read_guest_backup(*impl_->repository(), *snapshot);
            if (const std::string fault = look_inside(backup, impl_->access, options.appliance);
                !fault.empty()) {
                report.damage.push_back({name + ": " + fault});
                report.affected.push_back(name);
            }
        } catch (const Error& error) {
            report.damage.push_back({name + " can't be opened: " + error.message()});
            report.affected.push_back(name);
        }
    }
    return report;
}

}  // namespace inspect
