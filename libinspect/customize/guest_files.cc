// SPDX-License-Identifier: LGPL-2.1-or-later
#include "customize/guest_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "guest/printable.h"

namespace inspect {

namespace {

constexpr size_t kMostText = 1 << 20;

Source source_of(std::string_view text) {
    return [text, at = size_t{0}](std::span<std::byte> out) mutable {
        const size_t n = std::min(out.size(), text.size() - at);
        std::memcpy(out.data(), text.data() + at, n);
        at += n;
        return n;
    };
}

}  // namespace

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
    const std::optional<FileStat> found = find_file(session, path);
    if (!found) return std::nullopt;
    std::string text;
    session.read_file(
        path,
        [&](std::span<const std::byte> bytes) {
            if (text.size() + bytes.size() > kMostText)
                throw Error(ErrorKind::kUnsupported, quoted(path) + " is larger than a MiB");
            text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        },
        0, kMostText + 1);
    return text;
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

}  // namespace inspect
