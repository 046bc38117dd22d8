// SPDX-License-Identifier: GPL-2.0-or-later
//
// WriteFile, and the replacing that it shares with EditFile.
#include "write_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "accounts.h"
#include "attributes.h"
#include "new_file.h"
#include "operations.h"

namespace inspect::agent {

namespace {

// Up to here an upload is held in memory before a file is touched.
constexpr size_t kMaxHeld = 4 << 20;
constexpr mode_t kNewFileMode = 0644;

struct Existing {
    Fd fd;
    struct stat status;
};

// Opens what is at the place; nullopt when it is vacant. Throws when it is no regular file.
std::optional<Existing> open_existing(const GuestTree::Place& place, const std::string& path, int flags) {
    Existing existing{};
    if (::fstatat(place.directory.get(), place.name.c_str(), &existing.status, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT) return std::nullopt;
        fail_errno("cannot write", path);
    }
    if (!S_ISREG(existing.status.st_mode)) {
        throw Failure(proto::USAGE,
                      path + " is not a regular file: it is " + type_name(existing.status.st_mode),
                      S_ISDIR(existing.status.st_mode) ? EISDIR : EINVAL);
    }
    int fd = ::openat(place.directory.get(), place.name.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) fail_errno("cannot open", path);
    existing.fd = Fd(fd);
    return existing;
}

// What the request says of owner and mode, where it says something.
void apply_metadata(int fd, const std::optional<Owner>& owner, std::optional<mode_t> mode,
                    const std::string& path) {
    if (owner && ::fchown(fd, owner->uid.value_or(static_cast<uid_t>(-1)),
                          owner->gid.value_or(static_cast<gid_t>(-1))) < 0)
        fail_errno("cannot change the owner of", path);
    if (mode && ::fchmod(fd, *mode) < 0) fail_errno("cannot change the mode of", path);
}

// Reserves the room first, so that what was there isn't lost to a full file system.
void reserve(int fd, uint64_t size, uint64_t old_size, const std::string& path) {
    if (size == 0 || ::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) == 0) return;
    if (errno == EOPNOTSUPP || errno == EINTR) return;
    int saved = errno;
    if (::ftruncate(fd, static_cast<off_t>(old_size)) < 0)
        fail_errno("cannot write", path);  // gives the part back
    throw Failure::from_errno("cannot write " + path, saved);
}

// The contents of an existing file are exchanged; the inode and all that belongs to it stay.
void replace_contents(const Context& context, const GuestTree::Place& place, Existing& existing,
                      const std::string& path) {
    std::string held;
    std::optional<NewFile> spill;
    receive_data(context.connection, [&](std::string_view piece) {
        if (!spill && held.size() + piece.size() > kMaxHeld) {
            spill.emplace(place, path);
            spill->write(held);
            held = std::string();
        }
        if (spill) {
            spill->write(piece);
        } else {
            held += piece;
        }
    });
    int fd = existing.fd.get();
    uint64_t old_size = static_cast<uint64_t>(existing.status.st_size);
    uint64_t size = held.size();
    if (spill) {
        struct stat status;
        if (::fstat(spill->fd(), &status) < 0) fail_errno("cannot stat", path);
        size = static_cast<uint64_t>(status.st_size);
    }
    reserve(fd, size, old_size, path);
    if (spill) {
        std::string buffer(256 << 10, '\0');
        for (uint64_t at = 0; at < size;) {
            ssize_t n = ::pread(spill->fd(), buffer.data(), buffer.size(), static_cast<off_t>(at));
            if (n <= 0) fail_errno("cannot read back", path);
            write_all(fd, std::as_bytes(std::span(buffer)).first(static_cast<size_t>(n)), path);
            at += static_cast<uint64_t>(n);
            context.connection.check_cancelled();
        }
    } else {
        write_all(fd, std::as_bytes(std::span(held)), path);
    }
    // What was reserved past the end of a file on ext4 goes with it too.
    if (::ftruncate(fd, static_cast<off_t>(size)) < 0) fail_errno("cannot write", path);
}

void append(const Context& context, Existing& existing, const std::string& path) {
    int fd = existing.fd.get();
    try {
        receive_data(context.connection,
                     [&](std::string_view piece) { write_all(fd, std::as_bytes(std::span(piece)), path); });
    } catch (...) {
        if (::ftruncate(fd, existing.status.st_size) < 0)
            context.warn("the start of what was to be appended to " + path +
                         " stays there: " + errno_text(errno));
        throw;
    }
}

}  // namespace

void keep_backup(const GuestTree::Place& place, const std::string& suffix, const std::string& path) {
    if (suffix.find('/') != std::string::npos || suffix.find('\0') != std::string::npos)
        throw Failure(proto::USAGE, "the backup's suffix '" + suffix + "' has a slash in it", EINVAL);
    if (::renameat(place.directory.get(), place.name.c_str(), place.directory.get(),
                   (place.name + suffix).c_str()) < 0)
        fail_errno("cannot keep a backup of", path);
}

void replace_file(const GuestTree::Place& place, NewFile& file, const std::string& backup_suffix,
                  const std::string& path) {
    if (backup_suffix.empty()) return file.publish();
    keep_backup(place, backup_suffix, path);
    try {
        file.publish();
    } catch (const Failure&) {
        ::renameat(place.directory.get(), (place.name + backup_suffix).c_str(), place.directory.get(),
                   place.name.c_str());
        throw;
    }
}

void write_file(const Context& context, const proto::WriteFile& request) {
    using Mode = proto::WriteFile;
    std::string path = request.path();
    std::optional<Owner> owner;
    if (!request.owner().empty()) owner = parse_owner(context.tree, request.owner());
    std::optional<mode_t> mode;
    if (request.has_permissions()) mode = request.permissions() & 07777;
    auto warn = [&](std::string text) { context.warn(std::move(text)); };

    GuestTree::Place place = request.mode() == Mode::CREATE
                                 ? context.tree.place(path, "cannot create")
                                 : context.tree.followed_place(path, "cannot write");
    int flags = request.mode() == Mode::EDIT     ? O_RDONLY
                : request.mode() == Mode::APPEND ? O_WRONLY | O_APPEND
                                                 : O_RDWR;
    std::optional<Existing> existing = open_existing(place, path, flags);
    if (existing && request.mode() == Mode::CREATE)
        throw Failure::from_errno("cannot create " + path, EEXIST);
    if (!existing && request.mode() == Mode::EDIT) throw Failure::from_errno("cannot edit " + path, ENOENT);

    if (existing && request.mode() != Mode::EDIT) {
        if (request.mode() == Mode::APPEND) {
            append(context, *existing, path);
        } else {
            replace_contents(context, place, *existing, path);
        }
        apply_metadata(existing->fd.get(), owner, mode, path);
        return;
    }
    NewFile file(place, path);
    receive_data(context.connection, [&](std::string_view piece) { file.write(piece); });
    if (existing) {
        copy_attributes(existing->fd.get(), file.fd(), path, warn);
        apply_metadata(file.fd(), owner, mode, path);
        replace_file(place, file, request.backup_suffix(), path);
    } else {
        apply_metadata(file.fd(), owner, mode.value_or(kNewFileMode), path);
        file.publish_new();
    }
}

}  // namespace inspect::agent
