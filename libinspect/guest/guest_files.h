// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files of a guest by names and by patterns, and small ones as texts: for what changes a guest by its
// Session.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
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

// Follows symlinks. nullopt: there is nothing of that name. Throws Error for other troubles.
std::optional<FileStat> find_file(Session& session, const std::string& path);
bool exists(Session& session, const std::string& path);
bool is_directory(Session& session, const std::string& path);

// All of a file. Throws Error; kUnsupported when it has more than 4 MiB.
std::string read_guest_file(Session& session, const std::string& path);
// The same; nullopt: there is no such file.
std::optional<std::string> read_text(Session& session, const std::string& path);
// An existing file keeps its owner, mode, attributes and links; a new one is root's, with these permissions.
void write_text(Session& session, const std::string& path, std::string_view text,
                uint32_t permissions = 0644);

// For Session::write_file(). The text must live as long.
Source source_of(std::string_view text);

}  // namespace inspect
