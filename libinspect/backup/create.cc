// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/backup.h: making a backup.
//
// Order is what makes it safe against being killed: blobs, then the indexes that find them, then the snapshot
// that refers to them; each is durable before the next is written.
//
// Deriving the key takes as long as hashing 200 MB. So a thread of its own opens the repository, and locks
// and reads what is to be known of it, while the images are read and hashed, for which no key is needed.
#include <algorithm>
#include <future>

#include <inspect/session.h>

#include "backup/repository_impl.h"
#include "backup/save_disk.h"
#include "backup/unchanged.h"
#include "backup/unused_space.h"
#include "backup/workers.h"
#include "block/image.h"

namespace inspect {

using repository::BlobType;
using repository::BlobWriter;
using repository::DiskContents;
using repository::DiskRecord;
using repository::GuestBackup;
using repository::GuestRecord;
using repository::ObjectId;
using repository::Snapshot;
using repository::TreeNode;

namespace {

constexpr uint64_t kMaxNameLength = 255;
// An appliance is up in a second or two, at worst; that much is read and hashed in the same time.
constexpr uint64_t kWorthAsking = 1ULL << 30;
// So much is hashed at most while a slow server opens the repository: what it lacks is read again.
constexpr uint64_t kMostAhead = 1ULL << 30;

class Creation {
  public:
    Creation(BackupRepository::Impl& access, const BackupGuest& guest, const BackupOptions& options)
        : access_(access), options_(options), limiter_(options.rate_limit), name_(backup_guest_name(guest)) {
        for (const DiskSpec& spec : guest.disks) images_.push_back(Image::open(spec, {}));
        for (const auto& image : images_) total_ += image->size();
        record_.name = name_;
        record_.chunk_size = options.chunk_size != 0 ? options.chunk_size : kDefaultChunkSize;
        result_.guest = name_;
        result_.disk_size = total_;
        preparing_ = std::async(std::launch::async, [this] { prepare(); });
    }

    // The result, and the snapshot that was written.
    std::pair<BackupResult, Snapshot> run(const BackupGuest& guest) {
        for (const auto& image : images_)
            record_.zero_unit = std::max(record_.zero_unit, zero_unit_for(image->size(), record_.chunk_size));
        if (options_.used_blocks_only) find_unused(guest);
        if (options_.inspect) {
            wait_until_prepared();
            find_systems(guest);
        }
        repository::Tree files;
        for (size_t i = 0; i < images_.size(); ++i) files.push_back(save_disk_file(i, guest.disks[i]));
        for (size_t i = 0; i < images_.size(); ++i) check_not_changed(i, guest.disks[i]);
        files.push_back(save_text(repository::kGuestRecordName, format_guest_record(record_)));
        if (!guest.domain_xml.empty())
            files.push_back(save_text(repository::kDomainXmlName, guest.domain_xml));
        Snapshot snapshot;
        snapshot.time = repository::Timestamp::now();
        TreeNode directory{.name = name_, .type = "dir", .mode = 0700, .modified = snapshot.time};
        directory.subtree = writer_->save_tree(std::move(files));
        snapshot.tree = writer_->save_tree({directory});
        writer_->flush();
        if (tidying_.valid()) tidying_.get();
        snapshot.parent = ObjectId::parse(result_.parent);
        snapshot.paths = {"/" + name_};
        snapshot.hostname = options_.hostname.empty() ? repository::host_name() : options_.hostname;
        snapshot.username = repository::user_name();
        snapshot.tags = options_.tags;
        snapshot.program_version = "insp " INSP_VERSION;
        snapshot.id =
            access_.repository()->write_file(repository::FileKind::kSnapshot, format_snapshot(snapshot));
        const repository::BlobWriterTotals totals = writer_->totals();
        result_.snapshot = snapshot.id.hex();
        result_.read = counters_.read;
        result_.unchanged = counters_.unchanged;
        result_.new_chunks = totals.new_blobs;
        result_.known_chunks = totals.known_blobs;
        result_.stored = totals.stored_bytes;
        return {std::move(result_), std::move(snapshot)};
    }

  private:
    // All that needs the repository's key, before the first blob; in a thread of its own.
    void prepare() {
        repository::Repository& repository = *access_.repository();
        repository.require_writable();
        writer_.emplace(repository, repository::BlobWriterOptions{
                                        .compression_level = options_.compression_level,
                                        .before_write = [this](uint64_t bytes) { limiter_.pass(bytes); }});
        if (!access_.lock) access_.lock.emplace(repository, repository::LockKind::kShared);
        if (!std::exchange(access_.adopted, true)) {
            tidying_ = std::async(std::launch::async, [&repository] { repository.storage().tidy(); });
            writer_->adopt_unindexed_packs();
        }
        const std::string host = options_.hostname.empty() ? repository::host_name() : options_.hostname;
        const auto& snapshots = access_.snapshots();
        const auto parent = std::find_if(snapshots.rbegin(), snapshots.rend(), [&](const Snapshot& snapshot) {
            return snapshot.hostname == host && guest_name_of(snapshot) == name_;
        });
        if (parent != snapshots.rend()) parent_ = read_guest_backup(repository, *parent);
    }

    // Nothing that prepare() sets may be used before. Throws what it threw.
    void wait_until_prepared() {
        if (!preparing_.valid()) return;
        preparing_.get();
        if (const std::string& complaint = access_.repository()->index_complaint(); !complaint.empty())
            result_.warnings.push_back(complaint + "; its packs are taken into a new index");
        if (parent_) result_.parent = parent_->snapshot.id.hex();
    }

    // Whether the repository can't spare reading anything of the image, nor the user wants it to be slow.
    bool may_hash_ahead(const Image& image) const {
        return !options_.trust_mtime && options_.bitmap.empty() && options_.rate_limit == 0 &&
               !image.node().backing;
    }

    void find_unused(const BackupGuest& guest) {
        std::vector<BlockDevice*> devices;
        std::vector<std::unique_ptr<BlockDevice>> opened;
        for (const auto& image : images_) {
            opened.push_back(image->node().open());
            devices.push_back(opened.back().get());
        }
        unused_ = unused_space(guest.disks, devices, result_.warnings);
        using Ask = BackupOptions::AskAppliance;
        if (options_.ask_appliance == Ask::kNever) return;
        const uint64_t enough = options_.ask_appliance == Ask::kAlways ? 1 : kWorthAsking;
        if (unknown_data(unused_, devices) < enough) return;
        wait_until_prepared();  // a wrong password isn't told after an appliance was started
        for (const SparsifyResult& volume :
             ask_appliance(guest.disks, options_.appliance, unused_, result_.warnings)) {
            const char* left_out = volume.way == SparsifyResult::Way::kDiscarded ? "free"
                                   : volume.way == SparsifyResult::Way::kCleared ? "swap"
                                                                                 : "nothing";
            record_.volumes.push_back(
                {volume.device, volume.type, left_out, volume.free_bytes, volume.reason});
        }
    }

    void find_systems(const BackupGuest& guest) {
        SessionOptions session_options = options_.appliance;
        session_options.disks = guest.disks;
        session_options.writable = session_options.scratch = false;
        Session session(std::move(session_options));
        for (const OperatingSystem& system : session.inspect()) {
            repository::OsRecord& record = record_.systems.emplace_back();
            record.root = system.root;
            record.type = system.type;
            record.distro = system.distro;
            record.product_name = system.product_name;
            record.hostname = system.hostname;
            record.major = static_cast<uint64_t>(std::max(0, system.major_version));
            record.minor = static_cast<uint64_t>(std::max(0, system.minor_version));
        }
    }

    TreeNode save_disk_file(size_t number, const DiskSpec& spec) {
        const Image& image = *images_[number];
        DiskRecord record;
        record.file = "disk" + std::to_string(number) + ".raw";
        record.source = spec.path;
        record.format = image.format();
        record.size = image.size();
        record.sector_size = spec.sector_size;
        record.files = source_files(image);
        SaveDiskOptions save;
        save.chunk_size = record_.chunk_size;
        save.zero_unit = record_.zero_unit;
        save.threads = options_.threads != 0 ? options_.threads : useful_threads();
        save.limiter = &limiter_;
        save.tick = [this] { show_progress(); };
        if (number < unused_.size()) {
            save.unused = &unused_[number].ranges;
            record.left_out_free = unused_[number].free_bytes;
            record.left_out_swap = unused_[number].swap_bytes;
            result_.free_space += record.left_out_free;
            result_.swap_space += record.left_out_swap;
        }
        const auto device = image.node().open();
        DiskSaver saver(*device, save, counters_);
        if (may_hash_ahead(image))
            saver.hash_ahead([this] {
                return !preparing_.valid() || counters_.read >= kMostAhead ||
                       preparing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
            });
        wait_until_prepared();
        std::optional<RangeSet> unchanged;
        std::optional<DiskContents> before;
        if (const size_t old = parent_disk(record); parent_ && old < parent_->disks.size()) {
            unchanged = unchanged_since(image, record.files, parent_->record->disks[old],
                                        {options_.trust_mtime, options_.bitmap});
            if (unchanged) before = contents_of(old);
        }
        if (unchanged && before) {
            save.unchanged = &*unchanged;
            save.parent = &*before;
        }
        TreeNode file{.name = record.file, .type = "file", .mode = 0600, .size = image.size()};
        file.modified = repository::Timestamp::now();
        file.content = saver.save(*writer_);
        record_.disks.push_back(std::move(record));
        return file;
    }

    // The disk of the parent that this one was: of the same place and size. Not a number of one: none.
    size_t parent_disk(const DiskRecord& record) const {
        if (!parent_ || !parent_->record || parent_->record->chunk_size != record_.chunk_size)
            return SIZE_MAX;
        const auto& disks = parent_->record->disks;
        const auto found = std::ranges::find_if(disks, [&](const DiskRecord& disk) {
            return disk.file == record.file && disk.size == record.size && !disk.changed_while_read;
        });
        return found == disks.end() ? SIZE_MAX : static_cast<size_t>(found - disks.begin());
    }

    // nullopt: the repository has lost some of it, so that it is to be saved again.
    std::optional<DiskContents> contents_of(size_t disk) {
        try {
            std::vector<uint64_t> zeros{parent_->record->chunk_size, parent_->record->zero_unit};
            return DiskContents(*access_.repository(), parent_->disks[disk], zeros);
        } catch (const Error& error) {
            result_.warnings.push_back("the last backup can't be built on: " + error.message());
            return std::nullopt;
        }
    }

    void check_not_changed(size_t number, const DiskSpec& spec) {
        try {
            for (const auto& file : images_[number]->files()) file->check_not_changed();
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kBusy || !spec.force_share) throw;
            record_.disks[number].changed_while_read = true;
            result_.changed_while_read = true;
            result_.warnings.push_back(error.message() + " while it was read: the backup may make no sense");
        }
    }

    TreeNode save_text(std::string_view name, const std::string& text) {
        const ObjectId id = ObjectId::of(repository::as_bytes(text));
        writer_->save(BlobType::kData, id, repository::as_bytes(text));
        TreeNode file{.name = std::string(name), .type = "file", .mode = 0600, .size = text.size()};
        file.modified = repository::Timestamp::now();
        file.content.push_back(id);
        return file;
    }

    void show_progress() {
        if (options_.on_progress)
            options_.on_progress({counters_.done, total_, counters_.read,
                                  preparing_.valid() ? 0 : writer_->totals().stored_bytes});
    }

    BackupRepository::Impl& access_;
    const BackupOptions& options_;
    RateLimiter limiter_;
    const std::string name_;
    std::optional<BlobWriter> writer_;
    std::vector<std::unique_ptr<Image>> images_;
    std::vector<UnusedSpace> unused_;
    uint64_t total_ = 0;
    SaveDiskCounters counters_;
    std::optional<GuestBackup> parent_;
    GuestRecord record_;
    BackupResult result_;
    std::future<void> tidying_;
    std::future<void> preparing_;  // last: it is waited for before what it uses goes
};

}  // namespace

std::string backup_guest_name(const BackupGuest& guest) {
    std::string name = guest.name;
    if (guest.disks.empty()) throw Error(ErrorKind::kUsage, "there is no disk to back up");
    if (name.empty()) {
        name = guest.disks[0].path;
        name.erase(0, name.find_last_of('/') + 1);
        const size_t dot = name.rfind('.');
        if (dot != std::string::npos && dot > 0) name.resize(dot);
    }
    if (name.empty() || name == "." || name == ".." || name.size() > kMaxNameLength ||
        std::ranges::any_of(name,
                            [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '/' || c == ':'; }))
        throw Error(ErrorKind::kUsage, "'" + name + "' can't be a guest's name: give another with --name");
    return name;
}

BackupResult BackupRepository::create(const BackupGuest& guest, const BackupOptions& options) {
    auto [result, snapshot] = Creation(*impl_, guest, options).run(guest);
    impl_->known_snapshots->push_back(std::move(snapshot));
    return result;
}

}  // namespace inspect
