// SPDX-License-Identifier: LGPL-2.1-or-later
//
// "backup:REPOSITORY[:SNAPSHOT[:DISK]]": a disk in a backup, as an NBD connection to a thread of this
// process, because insp-vmm, which may open nothing, is to read it as well.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "base/fd.h"
#include "block/backup_device.h"
#include "block/nbd_client_handshake.h"
#include "repository/lock.h"
#include "repository/password.h"

namespace inspect {

struct BackupLocation {
    std::string repository;  // empty: from the environment
    std::string snapshot;    // empty: the latest
    std::string disk;        // empty: the only one

    static bool looks_like(std::string_view text) { return text.starts_with("backup:"); }
    // A repository's path has no ':' in it, but for that of rest:http://HOST:PORT/.
    static BackupLocation parse(std::string_view text);
};

// Serves the disk while it lives. Not thread-safe.
class BackupServer {
  public:
    // Throws what opening a repository and finding a disk in it do.
    BackupServer(const std::string& location, const repository::Access& access);
    // Ends the connection.
    ~BackupServer();
    BackupServer(const BackupServer&) = delete;
    BackupServer& operator=(const BackupServer&) = delete;

    // The client's end, negotiated, for NbdDevice(socket, terms) in any process. Once only.
    Fd take_socket() { return std::move(socket_); }
    const NbdTerms& terms() const noexcept { return terms_; }

  private:
    std::shared_ptr<repository::Repository> repository_;
    std::unique_ptr<repository::RepositoryLock> lock_;
    std::unique_ptr<BackupDevice> device_;
    Fd socket_;         // the client's end, until it is taken
    Fd server_socket_;  // the thread's
    NbdTerms terms_;
    std::thread thread_;
};

}  // namespace inspect
