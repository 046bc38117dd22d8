// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Steps on the guest's files.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/fd.h"
#include "customize/steps.h"
#include "guest/guest_files.h"
#include "guest/names.h"
#include "guest/printable.h"

namespace inspect {

namespace {

// What ends the lines of a text, as its beginning shows it.
std::string line_end_of(std::string_view text) {
    for (const char* end : {"\r\n", "\n", "\r"})
        if (text.find(end) != text.npos) return end;
    return "\n";
}

std::string read_piece(Session& session, const std::string& path, uint64_t offset, uint64_t length) {
    std::string text;
    session.read_file(
        path,
        [&](std::span<const std::byte> bytes) {
            text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        },
        offset, length);
    return text;
}

void append_line(Session& session, const std::string& path, const std::string& line) {
    const std::optional<FileStat> found = find_file(session, path);
    std::string end = "\n";
    bool complete = true;  // the last line that is there
    if (found && found->size > 0) {
        constexpr uint64_t kEnough = 8192;
        end = line_end_of(read_piece(session, path, 0, std::min<uint64_t>(found->size, kEnough)));
        const uint64_t length = std::min<uint64_t>(found->size, end.size());
        complete = read_piece(session, path, found->size - length, length) == end;
    }
    const std::string text = (complete ? "" : end) + line + end;
    WriteOptions options;
    options.mode = WriteOptions::Mode::kAppend;
    session.write_file(path, source_of(text), options);
}

// A file of this process alone, for what may be too large for its memory.
Fd scratch_file() {
    const char* directory = ::getenv("TMPDIR");
    Fd file(::open(directory && *directory ? directory : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file) throw Error::from_errno("cannot make a temporary file", errno);
    return file;
}

Source source_of_file(int fd) {
    return [fd](std::span<std::byte> out) { return read_full(fd, out, "read the file"); };
}

void copy_within(Session& session, const std::string& from, std::string to, const CustomizeOptions& all) {
    const FileStat stat = session.stat(from, true);
    // A tree with all that its files have is the work of the guest's own cp.
    if (S_ISDIR(stat.mode))
        return require_success(session.run({.arguments = {"cp", "-a", "--", from, to},
                                            .chroot = true,
                                            .on_output = all.on_output,
                                            .on_error_output = all.on_output}));
    if (!S_ISREG(stat.mode))
        throw Error(ErrorKind::kUnsupported,
                    inspect::quoted(from) + " is neither a regular file nor a directory");
    if (is_directory(session, to)) to += "/" + std::string(last_name(from));
    const Fd file = scratch_file();
    session.read_file(
        from, [&](std::span<const std::byte> bytes) { write_full(file.get(), bytes, "copy the file"); });
    if (::lseek(file.get(), 0, SEEK_SET) != 0) throw Error::from_errno("copy the file", errno);
    WriteOptions options;
    options.permissions = stat.mode & 07777;
    options.owner = std::to_string(stat.uid) + ":" + std::to_string(stat.gid);
    session.write_file(to, source_of_file(file.get()), options);
}

// What the pattern stands for; a path without one is what it is.
std::vector<std::string> expand(Session& session, std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    if (path.find_first_of("*?[") == path.npos) return {path};
    std::vector<std::string> found;
    for (const GuestGlob::Match& match : GuestGlob(session).find(path)) found.push_back(match.path);
    return found;
}

void truncate_file(Session& session, const std::string& path) {
    session.write_file(path, [](std::span<std::byte>) { return size_t{0}; });
}

}  // namespace

PreparedStep prepare_append_line(const std::string& argument, const CustomizeOptions&) {
    const auto [path, line] = split_argument(argument, "FILE:LINE");
    require_guest_path(path);
    return {"Appending a line to " + printable(path),
            [path = path, line = line](Session& session, const CustomizeOptions&) {
                append_line(session, path, line);
            }};
}

PreparedStep prepare_chmod(const std::string& argument, const CustomizeOptions&) {
    const auto [mode, path] = split_argument(argument, "PERMISSIONS:FILE");
    require_guest_path(path);
    return {
        "Changing the permissions of " + printable(path) + " to " + printable(mode),
        [path = path, mode = mode](Session& session, const CustomizeOptions&) { session.chmod(path, mode); }};
}

// The owner may have a colon, too: UID:GID:/PATH.
PreparedStep prepare_chown(const std::string& argument, const CustomizeOptions&) {
    const size_t colon = argument.find(":/");
    if (colon == argument.npos || colon == 0)
        throw Error(ErrorKind::kUsage, "'" + printable(argument) + "' is not of the form UID.GID:PATH");
    std::string owner = argument.substr(0, colon);
    const std::string path = argument.substr(colon + 1);
    if (const size_t dot = owner.find('.'); dot != owner.npos && owner.find(':') == owner.npos)
        owner[dot] = ':';
    return {"Changing the owner of " + printable(path) + " to " + printable(owner),
            [path, owner](Session& session, const CustomizeOptions&) { session.chown(path, owner); }};
}

PreparedStep prepare_copy(const std::string& argument, const CustomizeOptions&) {
    const auto [from, to] = split_argument(argument, "SOURCE:DEST");
    require_guest_path(from);
    require_guest_path(to);
    return {"Copying " + printable(from) + " to " + printable(to),
            [from = from, to = to](Session& session, const CustomizeOptions& all) {
                copy_within(session, from, to, all);
            }};
}

PreparedStep prepare_copy_in(const std::string& argument, const CustomizeOptions&) {
    const size_t colon = argument.rfind(':');
    if (colon == argument.npos || colon == 0)
        throw Error(ErrorKind::kUsage,
                    "'" + printable(argument) + "' is not of the form LOCALPATH:REMOTEDIR");
    const std::string from = argument.substr(0, colon), to = argument.substr(colon + 1);
    require_guest_path(to);
    struct stat st;
    if (::lstat(from.c_str(), &st) != 0) throw Error::from_errno("'" + from + "'", errno);
    return {"Copying " + printable(from) + " to " + printable(to),
            [from, to](Session& session, const CustomizeOptions&) { session.copy_in(from, to); }};
}

PreparedStep prepare_delete(const std::string& argument, const CustomizeOptions&) {
    require_guest_path(argument);
    return {"Deleting " + printable(argument), [argument](Session& session, const CustomizeOptions&) {
                for (const std::string& path : expand(session, argument)) session.remove(path, true, true);
            }};
}

PreparedStep prepare_edit(const std::string& argument, const CustomizeOptions&) {
    const auto [path, expression] = split_argument(argument, "FILE:EXPR");
    require_guest_path(path);
    return {"Editing " + printable(path),
            [path = path, expression = expression](Session& session, const CustomizeOptions&) {
                session.edit_file(path, expression);
            }};
}

PreparedStep prepare_link(const std::string& argument, const CustomizeOptions&) {
    auto [target, rest] = split_argument(argument, "TARGET:LINK[:LINK...]");
    std::vector<std::string> links;
    for (size_t at = 0; at <= rest.size();) {
        const size_t end = std::min(rest.find(':', at), rest.size());
        links.push_back(rest.substr(at, end - at));
        require_guest_path(links.back());
        at = end + 1;
    }
    return {"Linking " + printable(rest) + " to " + printable(target),
            [target = target, links](Session& session, const CustomizeOptions&) {
                for (const std::string& link : links) session.link(target, link, true, true);
            }};
}

PreparedStep prepare_mkdir(const std::string& argument, const CustomizeOptions&) {
    require_guest_path(argument);
    return {
        "Making the directory " + printable(argument),
        [argument](Session& session, const CustomizeOptions&) { session.make_directory(argument, true); }};
}

PreparedStep prepare_move(const std::string& argument, const CustomizeOptions&) {
    const auto [from, to] = split_argument(argument, "SOURCE:DEST");
    require_guest_path(from);
    require_guest_path(to);
    return {"Moving " + printable(from) + " to " + printable(to),
            [from = from, to = to](Session& session, const CustomizeOptions&) { session.rename(from, to); }};
}

PreparedStep prepare_scrub(const std::string& argument, const CustomizeOptions&) {
    require_guest_path(argument);
    return {"Scrubbing " + printable(argument),
            [argument](Session& session, const CustomizeOptions&) { session.scrub(argument); }};
}

PreparedStep prepare_touch(const std::string& argument, const CustomizeOptions&) {
    require_guest_path(argument);
    return {"Touching " + printable(argument),
            [argument](Session& session, const CustomizeOptions&) { session.touch(argument); }};
}

PreparedStep prepare_truncate(const std::string& argument, const CustomizeOptions&) {
    require_guest_path(argument);
    return {"Emptying " + printable(argument), [argument](Session& session, const CustomizeOptions&) {
                session.stat(argument, true);  // one that isn't there is not made
                truncate_file(session, argument);
            }};
}

PreparedStep prepare_truncate_recursive(const std::string& argument, const CustomizeOptions&) {
    require_guest_path(argument);
    return {"Emptying all files below " + printable(argument),
            [argument](Session& session, const CustomizeOptions&) {
                std::vector<std::string> files;
                session.list_directory(argument, true, true, [&](const DirectoryEntry& entry) {
                    if (S_ISREG(entry.stat.mode) && entry.stat.size > 0) files.push_back(entry.path);
                });
                for (const std::string& file : files) truncate_file(session, argument + "/" + file);
            }};
}

PreparedStep prepare_upload(const std::string& argument, const CustomizeOptions&) {
    const size_t colon = argument.rfind(':');
    if (colon == argument.npos || colon == 0)
        throw Error(ErrorKind::kUsage, "'" + printable(argument) + "' is not of the form FILE:DEST");
    const std::string from = argument.substr(0, colon), to = argument.substr(colon + 1);
    require_guest_path(to);
    const auto file = std::make_shared<Fd>(open_file(from, O_RDONLY));
    struct stat st;
    if (::fstat(file->get(), &st) != 0) throw Error::from_errno("'" + from + "'", errno);
    if (!S_ISREG(st.st_mode)) throw Error(ErrorKind::kUsage, "'" + from + "' is not a regular file");
    return {"Uploading " + printable(from) + " to " + printable(to),
            [file, st, to, name = std::string(last_name(from))](Session& session, const CustomizeOptions&) {
                // For each guest from its beginning.
                if (::lseek(file->get(), 0, SEEK_SET) != 0) throw Error::from_errno("read the file", errno);
                WriteOptions options;
                options.permissions = st.st_mode & 07777;
                options.owner = std::to_string(st.st_uid) + ":" + std::to_string(st.st_gid);
                session.write_file(is_directory(session, to) ? to + "/" + name : to,
                                   source_of_file(file->get()), options);
            }};
}

PreparedStep prepare_write(const std::string& argument, const CustomizeOptions&) {
    const auto [path, text] = split_argument(argument, "FILE:CONTENT");
    require_guest_path(path);
    return {"Writing " + printable(path),
            [path = path, text = text](Session& session, const CustomizeOptions&) {
                write_text(session, path, text);
            }};
}

}  // namespace inspect
