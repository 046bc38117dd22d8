// SPDX-License-Identifier: GPL-2.0-or-later
//
// Stat, ListDirectory, ReadFile.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "file_stat.h"
#include "operations.h"
#include "walk.h"

namespace inspect::agent {

void stat_file(const Context& context, const proto::Stat& request) {
    Fd handle = context.tree.open_path(request.path(), request.follow());
    *context.response.mutable_stat() = stat_handle(handle.get(), request.path());
}

void list_directory(const Context& context, const proto::ListDirectory& request) {
    const std::string& top = request.path();
    Fd directory = context.tree.try_open(top, O_RDONLY | O_DIRECTORY);
    if (!directory) fail_errno("cannot list", shown(top));
    // The entries' own status may be that of what is mounted on them.
    if (request.recursive() || request.with_stat()) context.tree.settle_below(directory.get());
    // Is the top itself unreadable, the request fails; below it, the entry says so.
    proto::Item item;
    proto::DirectoryEntry& entry = *item.mutable_entry();
    auto send = [&](const std::string& path, uint8_t type) {
        entry.set_path(path);
        entry.set_type(type);
        context.connection.send_item(item);
        entry.Clear();
        context.connection.check_cancelled();
    };
    auto enter = [&](const WalkEntry& found) {
        if (request.with_stat()) {
            try {
                *entry.mutable_stat() = stat_entry(found.directory, found.name, join(top, found.path));
            } catch (const Failure& failure) {
                entry.clear_stat();
                entry.set_error(failure.message());
            }
        }
        send(found.path, found.type);
        return request.recursive();
    };
    auto error = [&](const std::string& path, const std::string& why, int errnum) {
        if (path.empty()) throw Failure(errno_kind(errnum), why, errnum);
        entry.set_error(why);
        send(path, DT_DIR);
    };
    walk(std::move(directory), shown(top), {enter, {}, error});
}

void read_file(const Context& context, const proto::ReadFile& request) {
    const std::string& path = request.path();
    struct stat status;
    Fd file = context.tree.open_regular(path, status);
    uint64_t offset = request.offset();
    uint64_t size = static_cast<uint64_t>(status.st_size);
    // The size is believed, so that a small file is one read(); the end comes early when it lied.
    uint64_t left = offset < size ? size - offset : 0;
    if (request.length() != 0) left = std::min(left, request.length());
    if (left > Connection::kDataChunk) ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    while (left > 0) {
        std::span<std::byte> room =
            context.connection.data_room(std::min<uint64_t>(left, Connection::kDataChunk));
        ssize_t n = ::pread(file.get(), room.data(), room.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail_errno("cannot read", path);
        if (n == 0) break;
        context.connection.send_data(static_cast<size_t>(n));
        offset += static_cast<uint64_t>(n);
        left -= static_cast<uint64_t>(n);
        context.connection.check_cancelled();
    }
}

}  // namespace inspect::agent
