// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/guest_files.h"

#include <dirent.h>
#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

namespace inspect {

namespace {

constexpr size_t kMaxFile = 4u << 20;

// A guest whose file system or appliance fails must not look like one that lacks a file.
bool means_absence(const Error& error) {
    return error.kind() != ErrorKind::kEngine && error.kind() != ErrorKind::kCancelled &&
           error.kind() != ErrorKind::kCorrupt && error.kind() != ErrorKind::kDenied;
}

}  // namespace

const std::vector<DirectoryEntry>& GuestGlob::list(const std::string& directory) {
    const auto [entry, fresh] = listed_.try_emplace(directory);
    std::vector<DirectoryEntry>& entries = entry->second;
    if (!fresh) return entries;
    try {
        session_.list_directory(directory, false, false,
                                [&entries](const DirectoryEntry& found) { entries.push_back(found); });
    } catch (const Error& error) {
        entries.clear();
        if (!means_absence(error)) throw;
    }
    return entries;
}

// `directory` is "" for the root.
void GuestGlob::descend(const std::string& directory, std::string_view rest, std::vector<Match>& result) {
    const size_t slash = rest.find('/');
    const std::string component(rest.substr(0, slash));
    // A copy: deeper lists come beside this one.
    std::vector<DirectoryEntry> matches;
    for (const DirectoryEntry& entry : list(directory.empty() ? "/" : directory))
        if (::fnmatch(component.c_str(), entry.path.c_str(), FNM_PERIOD) == 0) matches.push_back(entry);
    for (const DirectoryEntry& entry : matches) {
        const std::string path = directory + "/" + entry.path;
        if (slash == rest.npos) {
            result.push_back({path, entry.type});
        } else if (entry.type == DT_DIR || entry.type == DT_LNK || entry.type == DT_UNKNOWN) {
            descend(path, rest.substr(slash + 1), result);
        }
    }
}

std::vector<GuestGlob::Match> GuestGlob::find(const std::string& pattern) {
    std::vector<Match> result;
    descend("", std::string_view(pattern).substr(1), result);
    return result;
}

std::string read_guest_file(Session& session, const std::string& path) {
    std::string contents;
    session.read_file(path, [&](std::span<const std::byte> bytes) {
        if (contents.size() + bytes.size() > kMaxFile)
            throw Error(ErrorKind::kUnsupported, "the guest's file " + path + " has more than 4 MiB");
        contents.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    });
    return contents;
}

std::optional<FileStat> find_file(Session& session, const std::string& path) {
    try {
        return session.stat(path, true);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNotFound) throw;
        return std::nullopt;
    }
}

bool exists(Session& session, const std::string& path) { return find_file(session, path).has_value(); }

bool is_directory(Session& session, const std::string& path) {
    const std::optional<FileStat> found = find_file(session, path);
    return found && S_ISDIR(found->mode);
}

std::optional<std::string> read_text(Session& session, const std::string& path) {
    if (!exists(session, path)) return std::nullopt;
    return read_guest_file(session, path);
}

void write_text(Session& session, const std::string& path, std::string_view text, uint32_t permissions) {
    WriteOptions options;
    if (exists(session, path)) {
        options.mode = WriteOptions::Mode::kEdit;
    } else {
        options.permissions = permissions;
    }
    session.write_file(path, source_of(text), options);
}

Source source_of(std::string_view text) {
    return [text, done = size_t{0}](std::span<std::byte> buffer) mutable {
        const size_t n = std::min(buffer.size(), text.size() - done);
        std::memcpy(buffer.data(), text.data() + done, n);
        done += n;
        return n;
    };
}

}  // namespace inspect
