// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/backup_open.h"

#include <sys/socket.h>

#include <tuple>

#include <inspect/error.h>

#include "base/log.h"
#include "block/nbd_device.h"
#include "block/nbd_server.h"
#include "repository/guest_backup.h"

namespace inspect {

namespace {

// Keeps the snapshot from being forgotten meanwhile. A repository that can't be written is read without.
std::unique_ptr<repository::RepositoryLock> lock_for_reading(repository::Repository& repository) {
    try {
        return std::make_unique<repository::RepositoryLock>(repository, repository::LockKind::kShared);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kDenied) throw;
        log(LogLevel::kVerbose, "the repository is read without a lock: " + error.message());
        return nullptr;
    }
}

}  // namespace

BackupLocation BackupLocation::parse(std::string_view text) {
    text.remove_prefix(sizeof("backup:") - 1);
    size_t start = 0;
    if (text.starts_with("rest:http://") || text.starts_with("rest:https://")) {
        start = text.find('/', text.find("://") + 3);
    } else if (text.starts_with("local:")) {
        start = sizeof("local:") - 1;
    }
    const size_t end = std::min(text.size(), text.find(':', std::min(start, text.size())));
    BackupLocation location;
    location.repository = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    const size_t colon = std::min(text.size(), text.find(':'));
    location.snapshot = text.substr(0, colon);
    location.disk = text.substr(std::min(text.size(), colon + 1));
    return location;
}

BackupServer::BackupServer(const std::string& text, const repository::Access& access) {
    const BackupLocation location = BackupLocation::parse(text);
    repository::Access whole = access;
    if (!location.repository.empty()) whole.location = location.repository;
    auto storage = repository::open_storage(repository::find_location(whole));
    const bool remote = storage->is_remote();
    repository_ = repository::Repository::open(std::move(storage), repository::find_password(whole, false));
    lock_ = lock_for_reading(*repository_);
    const repository::GuestBackup backup =
        read_guest_backup(*repository_, find_snapshot(repository_->snapshots(), location.snapshot));
    const size_t disk = find_disk(backup, location.disk);
    repository::DiskContents contents(*repository_, backup.disks[disk], zero_lengths(backup, disk));
    std::unique_ptr<repository::ChunkCache> cache;
    if (remote) cache = repository::ChunkCache::open(repository_->config().id, repository_->key());
    device_ = std::make_unique<BackupDevice>(repository_, std::move(contents), std::move(cache), text);
    Fd ours;
    std::tie(ours, server_socket_) = make_socket_pair(SOCK_STREAM);
    thread_ = std::thread([this] {
        NbdServer server(*device_, {.read_only = true});
        server.serve_connection(server_socket_.get());
    });
    try {
        NbdDevice client(std::move(ours), "", {.name = text, .read_only = true});
        terms_ = client.terms();
        socket_ = client.release();
    } catch (...) {
        thread_.join();
        throw;
    }
}

BackupServer::~BackupServer() {
    // Whoever has the other end: a process that lingers must not hold this one up.
    ::shutdown(server_socket_.get(), SHUT_RDWR);
    thread_.join();
}

}  // namespace inspect
