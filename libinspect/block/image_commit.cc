// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Image::commit(): what several images, each of one file or more, come to in one journal.
#include <unistd.h>

#include <algorithm>
#include <list>

#include <inspect/error.h>

#include "block/commit.h"
#include "block/image.h"
#include "block/qcow2_commit.h"
#include "block/raw.h"

namespace inspect {

namespace {

std::string quote(const std::string& text) { return "'" + text + "'"; }

}  // namespace

// A change of one local file, ready to be committed.
struct Image::Staged {
    const ImageFile* file;
    std::shared_ptr<const OverlayStore> store;
    CommitOptions options;
};

// Before the first commit. False when there is nothing to commit.
bool Image::begin_commit() {
    if (!writable()) throw Error(ErrorKind::kDenied, quote(path()) + " was not opened for writing");
    if (committed_)
        throw Error(ErrorKind::kUsage, "the changes to " + quote(path()) + " were committed already");
    if (!overlay_ || (overlay_->empty() && new_size_ == size_)) return false;
    committed_ = true;
    return true;
}

std::vector<Image::Staged> Image::stage() const {
    files_[0]->check_not_changed();
    if (node_.kind != DiskNode::Kind::kQcow2) {
        return {{files_[0].get(),
                 overlay_,
                 {.protect_first_sector = detected_, .new_size = new_size_, .give_back = give_back_}}};
    }
    if (data_file_ != nullptr) data_file_->check_not_changed();
    Qcow2Files before;
    before.file = node_.file->open();
    if (node_.backing) before.backing = node_.backing->open();
    if (node_.data_file) before.data_file = node_.data_file->open();
    const Qcow2Change change = stage_qcow2(*overlay_, std::move(before), new_size_ == size_ ? 0 : new_size_);
    const auto changes = [](const ImageFile& file, const FileChange& part) {
        return !part.store->empty() || part.size != file.size();
    };
    const bool data_changes = data_file_ != nullptr && changes(*data_file_, change.data_file);
    if (!changes(*files_[0], change.file) && !data_changes) return {};
    // The image is always among them, and first, so that the journal is beside it.
    const auto staged_as = [this](const ImageFile* file, const FileChange& part) {
        return Staged{file,
                      part.store,
                      {.protect_first_sector = false, .new_size = part.size, .give_back = give_back_}};
    };
    std::vector<Staged> staged = {staged_as(files_[0].get(), change.file)};
    if (data_changes) staged.push_back(staged_as(data_file_, change.data_file));
    return staged;
}

bool Image::commit_remote() {
    auto device = node_.open();
    PosixJournalFile journal(remote_journal_path(path(), true), ::geteuid(), ::getegid());
    return inspect::commit(*overlay_, *device, journal, {});
}

bool Image::commit() {
    Image* const self = this;
    return commit({&self, 1});
}

bool Image::commit(std::span<Image* const> images) {
    std::vector<Image*> remote;
    std::vector<Staged> staged;
    bool changed = false;
    for (Image* image : images) {
        if (image->undo_journal_) {
            image->commit_undoable();
            changed = true;
            continue;
        }
        if (!image->begin_commit()) continue;
        if (image->files_.empty()) {
            remote.push_back(image);
            continue;
        }
        const std::vector<Staged> files = image->stage();
        staged.insert(staged.end(), files.begin(), files.end());
    }
    const bool files_changed = !staged.empty() && commit_files(staged);
    changed = changed || files_changed;
    std::string done = files_changed ? "the local images" : "";
    for (Image* image : remote) {
        try {
            if (!image->commit_remote()) continue;
        } catch (const Error& error) {
            if (done.empty()) throw;
            throw Error(error.kind(),
                        error.message() + "; the changes of " + done + " were already in place");
        }
        changed = true;
        done += (done.empty() ? "" : ", ") + quote(image->path());
    }
    return changed;
}

// The journal of files that have different owners is no owner's.
bool Image::commit_files(std::span<const Staged> staged) {
    const auto owner = [](const Staged& change) { return change.file->status().st_uid; };
    const bool one_owner = std::all_of(staged.begin(), staged.end(), [&](const Staged& change) {
        return owner(change) == owner(staged[0]);
    });
    std::list<RawDevice> devices;
    std::vector<PosixJournalFile> journals;
    std::vector<CommitTarget> targets;
    journals.reserve(staged.size());
    for (const Staged& change : staged) {
        const std::string& path = change.file->resolved_path();
        devices.emplace_back(dup_fd(change.file->write_fd()), false, change.file->path());
        journals.push_back(change.file->journal_file(true));
        if (&change == &staged[0] && !one_owner)
            journals.back() = PosixJournalFile(journals.back().name(), ::geteuid(), ::getegid());
        targets.push_back({change.store.get(), &devices.back(), &journals.back(), change.options, path});
    }
    return inspect::commit(targets);
}

}  // namespace inspect
