// SPDX-License-Identifier: GPL-2.0-or-later
//
// Operations of the open tree on the contents of files.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "failure.h"
#include "open_tree.h"

namespace inspect::agent {

namespace {

using Handle = OpenTree::Handle;

// So that the host hears of us: a copy by the kernel can't be interrupted.
constexpr uint64_t kMaxCopy = 16 << 20;

}  // namespace

void tree_read(const Context& context, OpenTree& tree, const proto::TreeRead& request) {
    Handle file = tree.file(request.place());
    auto offset = static_cast<off_t>(request.offset());
    for (size_t left = std::min(request.length(), protocol::kMaxPayload); left > 0;) {
        std::span<std::byte> room = context.connection.data_room(left);
        ssize_t count = ::pread(file.get(), room.data(), room.size(), offset);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw Failure::from_errno("read a file", errno);
        if (count == 0) return;
        context.connection.send_data(static_cast<size_t>(count));
        offset += count;
        left -= static_cast<size_t>(count);
    }
}

void tree_write(const Context& context, OpenTree& tree, const proto::TreeWrite& request) {
    Handle file = tree.file(request.place());
    const std::string& data = request.data();
    size_t done = 0;
    while (done < data.size()) {
        ssize_t count = ::pwrite(file.get(), data.data() + done, data.size() - done,
                                 static_cast<off_t>(request.offset() + done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && done == 0) throw Failure::from_errno("write a file", errno);
        if (count <= 0) break;
        done += static_cast<size_t>(count);
    }
    context.response.set_number(done);
}

void tree_allocate(const Context&, OpenTree& tree, const proto::TreeAllocate& request) {
    Handle file = tree.file(request.place());
    must(::fallocate(file.get(), static_cast<int>(request.mode()), static_cast<off_t>(request.offset()),
                     static_cast<off_t>(request.length())),
         "allocate room");
}

void tree_seek(const Context& context, OpenTree& tree, const proto::TreeSeek& request) {
    Handle file = tree.file(request.place());
    off_t at = ::lseek(file.get(), static_cast<off_t>(request.offset()), static_cast<int>(request.whence()));
    if (at < 0) throw Failure::from_errno("seek", errno);
    context.response.set_number(static_cast<uint64_t>(at));
}

void tree_copy(const Context& context, OpenTree& tree, const proto::TreeCopy& request) {
    Handle from = tree.file(request.from());
    Handle to = tree.file(request.to());
    auto from_offset = static_cast<off64_t>(request.from_offset());
    auto to_offset = static_cast<off64_t>(request.to_offset());
    ssize_t count = ::copy_file_range(from.get(), &from_offset, to.get(), &to_offset,
                                      std::min(request.length(), kMaxCopy), 0);
    if (count < 0) throw Failure::from_errno("copy", errno);
    context.response.set_number(static_cast<uint64_t>(count));
}

void tree_sync(const Context&, OpenTree& tree, const proto::TreeSync& request) {
    Handle file = request.is_directory() ? tree.directory(request.place()) : tree.file(request.place());
    must(request.data_only() ? ::fdatasync(file.get()) : ::fsync(file.get()), "write back");
}

}  // namespace inspect::agent
