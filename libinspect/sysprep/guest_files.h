// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files of a guest by patterns, and what is in them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <inspect/session.h>

namespace inspect {

// Finds paths by shell patterns (glob(7): *, ? and [...] in each component; a leading dot must be written).
// Each directory is listed once. The guest's tree must be mounted, and stay as it is. Not thread-safe.
class GuestGlob {
  public:
    explicit GuestGlob(Session& session) : session_(session) {}

    struct Match {
        std::string path;
        uint8_t type;  // DT_*
    };
    // In the order of their bytes; none is no error. Throws Error when the guest can't be read.
    std::vector<Match> find(const std::string& pattern);

  private:
    const std::vector<DirectoryEntry>& list(const std::string& directory);
    void descend(const std::string& directory, std::string_view rest, std::vector<Match>& result);

    Session& session_;
    std::map<std::string, std::vector<DirectoryEntry>> listed_;
};

// All of a file. Throws Error; kUnsupported when it has more than 4 MiB.
std::string read_guest_file(Session& session, const std::string& path);
// Puts a new file with these contents in its place, with its owner, mode and attributes.
void replace_guest_file(Session& session, const std::string& path, const std::string& contents);

}  // namespace inspect
