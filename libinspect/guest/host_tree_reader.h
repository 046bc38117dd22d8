// SPDX-License-Identifier: LGPL-2.1-or-later
//
// HostTreeReader: a file or tree of the host becomes a stream of tree entries for the guest.
//
// Kept: modes, numeric owners, times, symlinks (never followed), hard links inside the tree, holes, devices
// and FIFOs, and the attributes user.*, trusted.*, system.posix_acl_* and security.capability (not SELinux
// labels and the like: those belong to the host's policy). Sockets are left out, with a warning.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <inspect/session.h>

#include "base/fd.h"
#include "guest/connection.h"

namespace inspect {

// Not thread-safe; for one tree.
class HostTreeReader {
  public:
    // Throws Error(kNotFound) when `path` does not exist, Error(kUsage) when it has no name of its own ("/").
    HostTreeReader(const std::string& path, const CopyOptions& options,
                   std::function<void(const std::string&)> warn);

    // The name that the top gets in the guest.
    const std::string& name() const noexcept { return name_; }
    // Sends it all, depth first, the names of a directory in the order of their bytes. Throws Error, which
    // names the file, for what cannot be read or changed while it was. Stops early when the agent has
    // answered.
    void send(Connection::Upload& upload);

  private:
    bool send_entry(int directory, const std::string& name, const std::string& path);
    bool send_directory(const Fd& directory, const std::string& path, proto::Item& item);
    bool send_file(const Fd& file, const struct stat& status, const std::string& path);
    bool send_hole(uint64_t offset);
    bool send_data(const Fd& file, uint64_t begin, uint64_t end, const std::string& path);
    bool link_to_earlier(const struct stat& status, const std::string& path, proto::TreeEntry& entry);
    void add_xattrs(const std::string& proc_path, bool follow, const std::string& path,
                    proto::TreeEntry& entry);
    Fd open_entry(int directory, const std::string& name, const struct stat& expected,
                  const std::string& path);
    std::string shown(const std::string& path) const;
    void done(const std::string& path);

    std::string parent_;  // the directory that the top is in
    std::string name_;
    const CopyOptions& options_;
    std::function<void(const std::string&)> warn_;
    Connection::Upload* upload_ = nullptr;
    std::map<std::pair<dev_t, ino_t>, std::string>
        links_;  // files with more links, and where they came first
    std::vector<std::byte> buffer_;
};

}  // namespace inspect
