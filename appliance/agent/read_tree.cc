// SPDX-License-Identifier: GPL-2.0-or-later
//
// ReadTree: a file or a directory with all below it, to the host.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "attributes.h"
#include "file_stat.h"
#include "operations.h"
#include "tree_entry.h"
#include "walk.h"

namespace inspect::agent {

namespace {

class TreeSender {
  public:
    TreeSender(const Context& context, std::string top) : context_(context), top_(std::move(top)) {}

    void run() {
        context_.tree.settle_all();
        // The top itself is `name` in `place`, or what an O_PATH descriptor of "/" says.
        std::string_view last = last_component(top_);
        if (last.empty() || last == "." || last == "..") {
            Fd root = context_.tree.open(top_, O_RDONLY | O_DIRECTORY);
            send_entry(root.get(), ".", {});
            send_below(std::move(root));
            return;
        }
        GuestTree::Place place = context_.tree.place(top_, "cannot read");
        struct stat status;
        if (::fstatat(place.directory.get(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0)
            fail_errno("cannot read", top_);
        // Of the top an error fails the request.
        send_entry(place.directory.get(), place.name, {});
        if (!S_ISDIR(status.st_mode)) return;
        Fd directory(::openat(place.directory.get(), place.name.c_str(),
                              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!directory) fail_errno("cannot read", top_);
        send_below(std::move(directory));
    }

  private:
    void send_below(Fd directory) {
        WalkVisitor visitor;
        visitor.enter = [&](const WalkEntry& entry) {
            context_.connection.check_cancelled();
            try {
                send_entry(entry.directory, entry.name, entry.path);
            } catch (const Failure& failure) {
                send_error(entry.path, failure.message());
                return false;
            }
            return true;
        };
        visitor.error = [&](const std::string& path, const std::string& why, int) { send_error(path, why); };
        walk(std::move(directory), shown(top_), visitor);
    }

    void send_error(const std::string& path, const std::string& why) {
        proto::Item item;
        item.mutable_tree_entry()->set_path(path);
        item.mutable_tree_entry()->set_error(why);
        context_.connection.send_item(item);
    }

    void send_entry(int directory, const std::string& name, const std::string& relative) {
        std::string path = relative.empty() ? top_ : join(top_, relative);
        struct stat status;
        if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0)
            fail_errno("cannot stat", path);
        proto::Item item;
        proto::TreeEntry& entry = *item.mutable_tree_entry();
        entry.set_path(relative);
        to_proto(status, *entry.mutable_stat());
        if (S_ISLNK(status.st_mode))
            entry.mutable_stat()->set_link_target(read_link(directory, name.c_str(), path));
        std::string earlier = links_.find_or_add(status, relative);
        if (!earlier.empty()) {
            entry.set_hard_link_to(earlier);
            context_.connection.send_item(item);
            return;
        }
        *entry.mutable_xattrs() = read_xattrs(proc_path(directory, name).c_str(), path);
        Fd file;
        if (S_ISREG(status.st_mode)) {
            file = Fd(
                ::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
            if (!file) fail_errno("cannot open", path);
        }
        context_.connection.send_item(item);
        if (file) send_data(file.get(), static_cast<uint64_t>(status.st_size), path);
    }

    // From 0 to exactly `size`: data, and seeks over the holes.
    void send_data(int fd, uint64_t size, const std::string& path) {
        uint64_t position = 0;
        auto seek = [&](uint64_t offset) {
            if (offset == position) return;
            proto::Item item;
            item.mutable_seek()->set_offset(offset);
            context_.connection.send_item(item);
            position = offset;
        };
        for_each_extent(fd, size, path, [&](uint64_t offset, uint64_t length) {
            seek(offset);
            while (length > 0) {
                std::span<std::byte> room =
                    context_.connection.data_room(std::min<uint64_t>(length, Connection::kDataChunk));
                ssize_t n = ::pread(fd, room.data(), room.size(), static_cast<off_t>(position));
                if (n < 0 && errno == EINTR) continue;
                if (n < 0) fail_errno("cannot read", path);
                if (n == 0) throw Failure(proto::CORRUPT, path + " ends before its size", EIO);
                context_.connection.send_data(static_cast<size_t>(n));
                position += static_cast<uint64_t>(n);
                length -= static_cast<uint64_t>(n);
                context_.connection.check_cancelled();
            }
        });
        seek(size);
    }

    const Context& context_;
    std::string top_;
    HardLinks links_;
};

}  // namespace

void read_tree(const Context& context, const proto::ReadTree& request) {
    TreeSender(context, request.path()).run();
}

}  // namespace inspect::agent
