// SPDX-License-Identifier: GPL-2.0-or-later
//
// WriteTree: entries and data from the host become files in a directory of the guest.
//
// Entries come depth first, a directory before what is in it, so a stack of open directories is enough, and a
// directory's metadata is set when the stream leaves it: its times are then changed by nobody any more. What
// is in the way is replaced, but a directory is never replaced by something else, nor the other way round.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>
#include <vector>

#include "attributes.h"
#include "new_file.h"
#include "operations.h"
#include "tree_entry.h"

namespace inspect::agent {

namespace {

constexpr size_t kMaxDepth = 1000;

// A directory on the way down.
struct Level {
    Fd directory;
    std::string path;                       // relative to the top
    std::optional<proto::TreeEntry> entry;  // what it is to become
};
// The regular file that data goes to.
struct OpenFile {
    GuestTree::Place place;
    proto::TreeEntry entry;
    std::string path;
    std::optional<NewFile> file;
    uint64_t position = 0;
};

class TreeReceiver {
  public:
    TreeReceiver(const Context& context, const std::string& top) : context_(context), top_(top) {
        Fd directory = context.tree.open(top, O_PATH | O_DIRECTORY);
        context.tree.settle_below(directory.get());
        // Through the descriptor: a mount or a rename meanwhile doesn't lead the rest elsewhere.
        levels_.push_back({std::move(directory), {}, {}});
    }

    void run() {
        for (;;) {
            Connection::Upload upload = context_.connection.receive();
            if (upload.type == protocol::FrameType::kEnd) break;
            if (upload.type == protocol::FrameType::kData) {
                write_data(upload.payload);
                continue;
            }
            proto::Item item;
            if (!item.ParseFromString(upload.payload))
                throw Failure(proto::USAGE, "an item that can't be parsed", EINVAL);
            if (item.has_tree_entry()) {
                take(item.tree_entry());
            } else if (item.has_seek()) {
                seek(item.seek().offset());
            } else {
                throw Failure(proto::USAGE, "an item that has no place in a tree", EINVAL);
            }
        }
        finish_file();
        while (levels_.size() > 1) leave();
    }

  private:
    std::string full(const std::string& relative) const { return join(top_, relative); }

    static void check_path(const std::string& path) {
        bool good = !path.empty() && path.find('\0') == std::string::npos;
        for (size_t at = 0; good && at <= path.size();) {
            size_t slash = std::min(path.find('/', at), path.size());
            std::string_view part = std::string_view(path).substr(at, slash - at);
            good = !part.empty() && part != "." && part != "..";
            at = slash + 1;
        }
        if (!good) throw Failure(proto::USAGE, "an entry of a tree has the path '" + path + "'", EINVAL);
    }

    void take(const proto::TreeEntry& entry) {
        finish_file();
        const std::string& path = entry.path();
        check_path(path);
        size_t slash = path.rfind('/');
        std::string parent = slash == std::string::npos ? std::string() : path.substr(0, slash);
        std::string name = path.substr(slash == std::string::npos ? 0 : slash + 1);
        while (levels_.back().path != parent) {
            if (levels_.size() == 1)
                throw Failure(proto::USAGE, full(path) + " comes before its directory", EINVAL);
            leave();
        }
        int directory = levels_.back().directory.get();
        if (!entry.hard_link_to().empty()) return make_hard_link(directory, name, entry);
        mode_t type = entry.stat().mode() & S_IFMT;
        if (type == S_IFREG) return start_file(directory, name, entry);
        if (type == S_IFDIR) return enter_directory(directory, name, entry);
        make_way(directory, name, full(path));
        make_node(directory, name, entry, full(path));
        apply_entry_metadata(directory, name, entry, full(path), warn_);
        apply_entry_times(directory, name, entry.stat(), full(path));
    }

    // Removes what has the name; a directory stays and fails the request.
    void make_way(int directory, const std::string& name, const std::string& path) {
        if (::unlinkat(directory, name.c_str(), 0) < 0 && errno != ENOENT) {
            if (errno == EISDIR)
                throw Failure(proto::USAGE, "cannot replace the directory " + path + " by something else",
                              EISDIR);
            fail_errno("cannot replace", path);
        }
    }

    void enter_directory(int parent, const std::string& name, const proto::TreeEntry& entry) {
        std::string path = full(entry.path());
        if (levels_.size() > kMaxDepth)
            throw Failure(proto::UNSUPPORTED, path + " is nested too deeply", ELOOP);
        struct stat status;
        bool exists = ::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
        if (!exists) {
            make_node(parent, name, entry, path);
        } else if (!S_ISDIR(status.st_mode)) {
            throw Failure(proto::USAGE,
                          "cannot replace " + path + " by a directory: it is " + type_name(status.st_mode),
                          ENOTDIR);
        }
        Fd directory(::openat(parent, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!directory) fail_errno("cannot open the directory", path);
        levels_.push_back({std::move(directory), entry.path(), entry});
    }

    void leave() {
        Level done = std::move(levels_.back());
        levels_.pop_back();
        size_t slash = done.path.rfind('/');
        std::string name = done.path.substr(slash == std::string::npos ? 0 : slash + 1);
        int parent = levels_.back().directory.get();
        apply_entry_metadata(parent, name, *done.entry, full(done.path), warn_);
        apply_entry_times(parent, name, done.entry->stat(), full(done.path));
    }

    void make_hard_link(int directory, const std::string& name, const proto::TreeEntry& entry) {
        std::string path = full(entry.path());
        check_path(entry.hard_link_to());
        // What it names was made by this stream, below the top; it is looked up from there, and no symlink is
        // followed.
        Fd top(::openat(levels_.front().directory.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!top) fail_errno("cannot link", path);
        GuestTree below(std::move(top));
        GuestTree::Place target = below.place(entry.hard_link_to(), "cannot link to");
        make_way(directory, name, path);
        if (::linkat(target.directory.get(), target.name.c_str(), directory, name.c_str(), 0) < 0)
            fail_errno("cannot create the hard link", path);
    }

    void start_file(int directory, const std::string& name, const proto::TreeEntry& entry) {
        std::string path = full(entry.path());
        struct stat status;
        if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode))
            throw Failure(proto::USAGE, "cannot replace the directory " + path + " by a file", EISDIR);
        Fd copy(::openat(directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!copy) fail_errno("cannot open the directory of", path);
        file_.emplace();
        file_->place = {std::move(copy), name};
        file_->entry = entry;
        file_->path = path;
        file_->file.emplace(file_->place, path);
    }

    void write_data(const std::string& bytes) {
        if (!file_) throw Failure(proto::USAGE, "data that belongs to no file", EINVAL);
        file_->file->write(bytes);
        file_->position += bytes.size();
    }

    void seek(uint64_t offset) {
        if (!file_ || offset < file_->position || offset > static_cast<uint64_t>(INT64_MAX))
            throw Failure(proto::USAGE, "a seek to where it cannot lead", EINVAL);
        if (::lseek(file_->file->fd(), static_cast<off_t>(offset), SEEK_SET) < 0)
            fail_errno("cannot write", file_->path);
        file_->position = offset;
    }

    void finish_file() {
        if (!file_) return;
        OpenFile& open = *file_;
        int fd = open.file->fd();
        // A hole at the end has nothing written behind it.
        if (::ftruncate(fd, static_cast<off_t>(open.position)) < 0) fail_errno("cannot write", open.path);
        open.file->publish();
        apply_entry_metadata(open.place.directory.get(), open.place.name, open.entry, open.path, warn_);
        apply_entry_times(open.place.directory.get(), open.place.name, open.entry.stat(), open.path);
        file_.reset();
    }

    const Context& context_;
    const std::string& top_;
    Warn warn_ = [this](std::string text) { context_.warn(std::move(text)); };
    std::vector<Level> levels_;
    std::optional<OpenFile> file_;
};

}  // namespace

void write_tree(const Context& context, const proto::WriteTree& request) {
    TreeReceiver(context, request.path()).run();
}

}  // namespace inspect::agent
