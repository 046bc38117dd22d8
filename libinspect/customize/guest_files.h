// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Small files of a guest, as texts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <inspect/session.h>

namespace inspect {

// Follows symlinks. nullopt: there is nothing of that name. Throws Error for other troubles.
std::optional<FileStat> find_file(Session& session, const std::string& path);
bool exists(Session& session, const std::string& path);
bool is_directory(Session& session, const std::string& path);

// nullopt: there is no such file. Throws Error(kUnsupported) for one of more than a MiB.
std::optional<std::string> read_text(Session& session, const std::string& path);
// An existing file keeps its owner, mode, labels and links; a new one is root's, with these permissions.
void write_text(Session& session, const std::string& path, std::string_view text,
                uint32_t permissions = 0644);

}  // namespace inspect
