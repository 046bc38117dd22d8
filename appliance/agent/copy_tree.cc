// SPDX-License-Identifier: GPL-2.0-or-later
#include "copy_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "attributes.h"
#include "file_stat.h"
#include "new_file.h"
#include "remove_tree.h"
#include "tree_entry.h"
#include "walk.h"

namespace inspect::agent {

namespace {

class Copier {
  public:
    Copier(const Context& context, const std::string& from, std::string name, const GuestTree::Place& to)
        : context_(context), from_(from), to_(to), top_name_(std::move(name)) {}

    // Makes the tree under the temporary name, in the directory that it will be in.
    void run(const GuestTree::Place& from) {
        proto::TreeEntry entry = read_entry(from.directory.get(), from.name, from_);
        copy_one(from.directory.get(), from.name, to_.directory.get(), top_name_, entry, {});
        if (!S_ISDIR(entry.stat().mode())) return finish(to_.directory.get(), top_name_, entry, from_);
        Fd top(::openat(from.directory.get(), from.name.c_str(),
                        O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!top) fail_errno("cannot read", from_);
        push(to_.directory.get(), top_name_, entry);
        WalkVisitor visitor;
        visitor.enter = [&](const WalkEntry& found) {
            context_.connection.check_cancelled();
            std::string path = join(from_, found.path);
            proto::TreeEntry item = read_entry(found.directory, found.name, path);
            int directory = levels_.back().directory.get();
            copy_one(found.directory, found.name, directory, found.name, item, found.path);
            if (S_ISDIR(item.stat().mode())) {
                push(directory, found.name, item);
                return true;
            }
            finish(directory, found.name, item, path);
            return false;
        };
        visitor.leave = [&](const WalkEntry& found) {
            Level done = std::move(levels_.back());
            levels_.pop_back();
            finish(levels_.back().directory.get(), found.name, done.entry, join(from_, found.path));
        };
        visitor.error = [](const std::string&, const std::string& why, int errnum) {
            throw Failure(errno_kind(errnum), "cannot copy all: " + why, errnum);
        };
        walk(std::move(top), from_, visitor);
        finish(to_.directory.get(), top_name_, entry, from_);
    }

  private:
    struct Level {
        Fd directory;
        proto::TreeEntry entry;
    };

    static proto::TreeEntry read_entry(int directory, const std::string& name, const std::string& path) {
        proto::TreeEntry entry;
        *entry.mutable_stat() = stat_entry(directory, name, path);
        *entry.mutable_xattrs() = read_xattrs(proc_path(directory, name).c_str(), path);
        return entry;
    }

    void push(int directory, const std::string& name, const proto::TreeEntry& entry) {
        Fd opened(::openat(directory, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!opened) fail_errno("cannot open the copy of", from_);
        levels_.push_back({std::move(opened), entry});
    }

    void copy_one(int from, const std::string& from_name, int to, const std::string& to_name,
                  proto::TreeEntry& entry, const std::string& relative) {
        std::string path = relative.empty() ? from_ : join(from_, relative);
        if (!S_ISREG(entry.stat().mode())) return make_node(to, to_name, entry, path);
        struct stat status;
        if (::fstatat(from, from_name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0)
            fail_errno("cannot stat", path);
        std::string earlier = links_.find_or_add(status, relative);
        if (!earlier.empty()) {
            if (::linkat(levels_.front().directory.get(), earlier.c_str(), to, to_name.c_str(), 0) < 0)
                fail_errno("cannot copy the hard link", path);
            return;
        }
        Fd source(::openat(from, from_name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
        if (!source) fail_errno("cannot open", path);
        constexpr mode_t kPrivate = 0600;
        Fd copy(
            ::openat(to, to_name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kPrivate));
        if (!copy) fail_errno("cannot create the copy of", path);
        uint64_t size = entry.stat().size();
        if (buffer_.empty()) buffer_.resize(256 << 10);
        for_each_extent(source.get(), size, path, [&](uint64_t offset, uint64_t length) {
            if (::lseek(copy.get(), static_cast<off_t>(offset), SEEK_SET) < 0)
                fail_errno("cannot copy", path);
            while (length > 0) {
                ssize_t n = ::pread(source.get(), buffer_.data(), std::min<uint64_t>(length, buffer_.size()),
                                    static_cast<off_t>(offset));
                if (n < 0) fail_errno("cannot read", path);
                if (n == 0) throw Failure(proto::CORRUPT, path + " ends before its size", EIO);
                write_all(copy.get(), std::as_bytes(std::span(buffer_)).first(static_cast<size_t>(n)), path);
                offset += static_cast<uint64_t>(n);
                length -= static_cast<uint64_t>(n);
                context_.connection.check_cancelled();
            }
        });
        if (::ftruncate(copy.get(), static_cast<off_t>(size)) < 0) fail_errno("cannot copy", path);
    }

    void finish(int directory, const std::string& name, const proto::TreeEntry& entry,
                const std::string& path) {
        apply_entry_metadata(directory, name, entry, path,
                             [&](std::string text) { context_.warn(std::move(text)); });
        apply_entry_times(directory, name, entry.stat(), path);
    }

    const Context& context_;
    const std::string& from_;
    const GuestTree::Place& to_;
    std::string top_name_;
    std::vector<Level> levels_;
    HardLinks links_;
    std::string buffer_;
};

}  // namespace

void copy_tree(const Context& context, const GuestTree::Place& from, const std::string& from_path,
               const GuestTree::Place& to, const std::string& to_path) {
    // Under a temporary name beside its place, then renamed: a directory replaces only an empty one, as
    // rename(2) has it.
    std::string name = temporary_name();
    GuestTree::Place temporary{to.directory.dup(), name};
    try {
        Copier(context, from_path, name, to).run(from);
        if (::renameat(to.directory.get(), name.c_str(), to.directory.get(), to.name.c_str()) < 0)
            fail_errno("cannot move " + from_path + " to", to_path);
    } catch (...) {
        try {
            remove_tree(temporary, to_path, [] {});
        } catch (const Failure&) {
            // The first failure counts.
        }
        throw;
    }
}

}  // namespace inspect::agent
