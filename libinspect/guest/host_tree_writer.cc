// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/host_tree_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/uuid.h"
#include "guest/connection.h"
#include "guest/names.h"
#include "guest/printable.h"
#include "guest/wire_convert.h"

namespace inspect {

namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr size_t kMaxLevelsBytes = 64 << 20;     // memory for the metadata of the way down
constexpr size_t kMaxLinkableBytes = 256 << 20;  // memory for the files that hard links may name

std::string temporary_name() {
    uint64_t number = 0;
    draw_random(std::as_writable_bytes(std::span(&number, 1)));
    std::array<char, 40> name;
    std::snprintf(name.data(), name.size(), ".insp-%016llx", static_cast<unsigned long long>(number));
    return name.data();
}

std::string fd_path(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

timespec to_timespec(int64_t ns) {
    timespec time{ns / 1'000'000'000, ns % 1'000'000'000};
    if (time.tv_nsec < 0) {
        time.tv_nsec += 1'000'000'000;
        --time.tv_sec;
    }
    return time;
}

struct stat status_of(int fd, const std::string& shown) {
    struct stat status;
    if (fstat(fd, &status) != 0) throw Error::from_errno("cannot look at " + shown, errno);
    return status;
}

}  // namespace

HostTreeWriter::HostTreeWriter(const std::string& directory, std::string name, const CopyOptions& options,
                               std::function<void(const std::string&)> warn)
    : directory_(directory),
      name_(std::move(name)),
      options_(options),
      warn_(std::move(warn)),
      root_(open_file(directory, O_RDONLY | O_DIRECTORY)) {
    if (!name_.empty() && !is_entry_name(name_))
        throw Error(ErrorKind::kUsage, quoted(name_) + " can't be a name on the host");
    while (directory_.size() > 1 && directory_.ends_with('/')) directory_.pop_back();
}

HostTreeWriter::~HostTreeWriter() { abandon_file(); }

bool HostTreeWriter::privileged() const { return options_.preserve_owner && geteuid() == 0; }

// A path of the stream as the host's user sees it.
std::string HostTreeWriter::shown(std::string_view path) const {
    std::string full = directory_;
    if (!name_.empty()) full += "/" + name_;
    if (!path.empty()) full += "/" + std::string(path);
    return quoted(full);
}

void HostTreeWriter::fail(const char* what, std::string_view path, int errnum) const {
    throw Error::from_errno(std::string(what) + " " + shown(path), errnum);
}

void HostTreeWriter::done(const std::string& path) {
    if (!options_.on_entry) return;
    std::string reported = name_;
    if (!path.empty()) reported += (reported.empty() ? "" : "/") + path;
    options_.on_entry(reported);
}

// ---- the stream

void HostTreeWriter::item(const proto::Item& item) {
    if (item.has_tree_entry()) {
        entry(item.tree_entry());
    } else if (item.has_seek()) {
        uint64_t offset = item.seek().offset();
        if (!file_.fd || offset <= file_.position || offset > file_.entry.stat().size())
            throw ProtocolError("a seek where none belongs");
        file_.position = offset;
    } else {
        throw ProtocolError("an item of another kind in a tree");
    }
}

void HostTreeWriter::data(std::span<const std::byte> bytes) {
    if (!file_.fd || bytes.size() > file_.entry.stat().size() - file_.position)
        throw ProtocolError("data beyond the end of a file");
    pwrite_full(file_.fd.get(), bytes, file_.position, ("cannot write to " + shown(file_.path)).c_str());
    file_.position += bytes.size();
}

void HostTreeWriter::finish() {
    end_file();
    if (!begun_) throw ProtocolError("a tree without a top");
    while (!levels_.empty()) leave_directory();
    if (unreadable_ == 0) return;
    std::string message = first_unreadable_;
    if (unreadable_ > 1) message += " (and " + std::to_string(unreadable_ - 1) + " more entries like it)";
    throw Error(ErrorKind::kCorrupt, message);
}

void HostTreeWriter::entry(const proto::TreeEntry& entry) {
    if (!begun_ ? !entry.path().empty() : !is_relative_path(entry.path()))
        throw ProtocolError("a tree entry " + quoted(entry.path()));
    if (!entry.error().empty()) return unreadable(entry);
    end_file();
    to_stat(entry.stat());  // for its checks
    std::string name = enter_parent(entry);
    begun_ = true;
    if (!entry.hard_link_to().empty()) return make_hard_link(entry, name);
    switch (entry.stat().mode() & S_IFMT) {
        case S_IFDIR:
            return make_directory(entry, name);
        case S_IFREG:
            return begin_file(entry, name);
        case S_IFLNK:
            return make_symlink(entry, name);
        case S_IFIFO:
        case S_IFSOCK:
        case S_IFCHR:
        case S_IFBLK:
            return make_node(entry, name);
        default:
            throw ProtocolError("a file of mode " + std::to_string(entry.stat().mode()));
    }
}

// An entry could not be read, or the file that the stream is in could not be read on.
void HostTreeWriter::unreadable(const proto::TreeEntry& entry) {
    if (file_.fd && file_.path == entry.path()) {
        abandon_file();
    } else {
        end_file();
    }
    begun_ = true;
    std::string message = shown(entry.path()) + " was not copied: " + printable(entry.error());
    warn_(message);
    if (unreadable_++ == 0) first_unreadable_ = std::move(message);
}

// Goes up until the current directory is the entry's parent; the entry's name in it.
std::string HostTreeWriter::enter_parent(const proto::TreeEntry& entry) {
    const std::string& path = entry.path();
    if (path.empty()) {
        if (name_.empty() && (entry.stat().mode() & S_IFMT) != S_IFDIR)
            throw ProtocolError("a root that is no directory");
        return name_;
    }
    size_t slash = path.rfind('/');
    std::string_view parent =
        slash == path.npos ? std::string_view() : std::string_view(path).substr(0, slash);
    while (!levels_.empty() && path_ != parent) leave_directory();
    if (levels_.empty())
        throw ProtocolError("a tree entry " + quoted(path) + " whose directory has not come");
    return slash == path.npos ? path : path.substr(slash + 1);
}

// ---- directories

void HostTreeWriter::make_directory(const proto::TreeEntry& entry, const std::string& name) {
    Level level;
    level.entry = entry;
    level.entry.clear_path();
    levels_bytes_ += level.entry.ByteSizeLong();
    if (levels_bytes_ > kMaxLevelsBytes) {
        throw Error(ErrorKind::kUnsupported, "the attributes of " + shown(entry.path()) +
                                                 " and the directories above it are too long");
    }
    Fd opened;
    if (name.empty()) {
        opened = root_.dup();
        level.keep = true;
    } else {
        const Fd& parent = levels_.empty() ? root_ : current_;
        if (mkdirat(parent.get(), name.c_str(), 0700) != 0 && errno != EEXIST)
            fail("cannot make the directory", entry.path(), errno);
        opened = Fd(openat(parent.get(), name.c_str(), kOpenDirectory));
        if (!opened && (errno == ENOTDIR || errno == ELOOP)) {
            throw Error(ErrorKind::kDenied, shown(entry.path()) +
                                                " is in the way: it is to be a directory, but there is "
                                                "something else of that name on the host");
        }
        if (!opened) fail("cannot open the directory", entry.path(), errno);
    }
    struct stat status = status_of(opened.get(), shown(entry.path()));
    level.device = status.st_dev;
    level.inode = status.st_ino;
    level.path_length = entry.path().size();
    levels_.push_back(std::move(level));
    current_ = std::move(opened);
    path_ = entry.path();
    done(path_);
}

// The directory is complete: its metadata, then up.
void HostTreeWriter::leave_directory() {
    Level& left = levels_.back();
    Fd parent;
    if (levels_.size() > 1) {
        const Level& above = levels_[levels_.size() - 2];
        parent = Fd(openat(current_.get(), "..", kOpenDirectory));
        if (!parent) fail("cannot go back up from the directory", path_, errno);
        struct stat status = status_of(parent.get(), shown(path_));
        if (status.st_dev != above.device || status.st_ino != above.inode)
            throw Error(ErrorKind::kBusy, shown(path_) + " was moved on the host while it was being filled");
    }
    if (!left.keep) restore(current_.get(), left.entry);
    levels_bytes_ -= left.entry.ByteSizeLong();
    levels_.pop_back();
    current_ = std::move(parent);
    path_.resize(levels_.empty() ? 0 : levels_.back().path_length);
}

// ---- files

void HostTreeWriter::begin_file(const proto::TreeEntry& entry, const std::string& name) {
    const Fd& parent = levels_.empty() ? root_ : current_;
    file_ = {};
    file_.name = name;
    file_.path = entry.path();
    file_.entry = entry;
    // A file without a name leaves nothing behind when we are killed. Not every file system has them.
    file_.fd = Fd(openat(parent.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
    if (!file_.fd && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL)) {
        file_.temporary = temporary_name();
        file_.fd = Fd(openat(parent.get(), file_.temporary.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    }
    if (!file_.fd) {
        file_.temporary.clear();
        fail("cannot make the file", entry.path(), errno);
    }
}

void HostTreeWriter::end_file() {
    if (!file_.fd) return;
    uint64_t size = file_.entry.stat().size();
    if (file_.position != size) throw ProtocolError("a file that ends early: " + shown(file_.path));
    // Data ends where the file does, unless it ends with a hole.
    if (ftruncate(file_.fd.get(), static_cast<off_t>(size)) != 0)
        fail("cannot set the size of", file_.path, errno);
    restore(file_.fd.get(), file_.entry);
    if (file_.entry.stat().links() > 1) {
        linkable_bytes_ += file_.path.size() + sizeof(Made) + 64;
        if (linkable_bytes_ > kMaxLinkableBytes)
            throw Error(ErrorKind::kUnsupported,
                        "there are more files with hard links than can be kept in mind");
        struct stat status = status_of(file_.fd.get(), shown(file_.path));
        linkable_[file_.path] = {status.st_dev, status.st_ino};
    }
    publish(file_);
    done(file_.path);
    file_ = {};
}

void HostTreeWriter::abandon_file() noexcept {
    if (!file_.fd) return;
    const Fd& parent = levels_.empty() ? root_ : current_;
    if (!file_.temporary.empty()) unlinkat(parent.get(), file_.temporary.c_str(), 0);
    file_ = {};
}

void HostTreeWriter::publish(OpenFile& file) {
    const Fd& parent = levels_.empty() ? root_ : current_;
    if (!file.temporary.empty()) {
        if (renameat(parent.get(), file.temporary.c_str(), parent.get(), file.name.c_str()) != 0)
            fail("cannot put into place the file", file.path, errno);
        file.temporary.clear();
        return;
    }
    place(file.name, [&](const char* name) {
        return linkat(AT_FDCWD, fd_path(file.fd.get()).c_str(), parent.get(), name, AT_SYMLINK_FOLLOW);
    });
}

// Makes something under its name in the current directory; where that is taken, under another, which then
// replaces it in one step.
void HostTreeWriter::place(const std::string& name, const std::function<int(const char*)>& make) {
    const Fd& parent = levels_.empty() ? root_ : current_;
    std::string path = path_.empty() ? name : path_ + "/" + name;
    if (levels_.empty()) path.clear();
    if (make(name.c_str()) == 0) return;
    if (errno != EEXIST) fail("cannot make", path, errno);
    std::string temporary = temporary_name();
    if (make(temporary.c_str()) != 0) fail("cannot make", path, errno);
    int errnum = renameat(parent.get(), temporary.c_str(), parent.get(), name.c_str()) == 0 ? 0 : errno;
    // Two links of one file are left as they are by renameat; then the name was right before.
    unlinkat(parent.get(), temporary.c_str(), 0);
    if (errnum != 0) fail("cannot replace", path, errnum);
}

// ---- everything else

// A descriptor of a regular file that this run made; none when it isn't there any more.
Fd HostTreeWriter::find_made(const std::string& path) {
    auto made = linkable_.find(path);
    if (made == linkable_.end())
        throw ProtocolError("a hard link to " + quoted(path) + ", which is no file of this tree");
    Fd at = root_.dup();
    std::string rest = name_.empty() ? path : path.empty() ? name_ : name_ + "/" + path;
    for (size_t slash; (slash = rest.find('/')) != rest.npos; rest.erase(0, slash + 1)) {
        at = Fd(openat(at.get(), rest.substr(0, slash).c_str(), kOpenDirectory));
        if (!at) return {};
    }
    Fd found(openat(at.get(), rest.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!found) return {};
    struct stat status = status_of(found.get(), shown(path));
    bool same = S_ISREG(status.st_mode) && status.st_dev == made->second.device &&
                status.st_ino == made->second.inode;
    return same ? std::move(found) : Fd();
}

void HostTreeWriter::make_hard_link(const proto::TreeEntry& entry, const std::string& name) {
    Fd target = find_made(entry.hard_link_to());
    if (!target) {
        throw Error(ErrorKind::kBusy, shown(entry.hard_link_to()) + ", which " + shown(entry.path()) +
                                          " is to be a link to, was changed on the host meanwhile");
    }
    const Fd& parent = levels_.empty() ? root_ : current_;
    place(name, [&](const char* as) {
        return linkat(AT_FDCWD, fd_path(target.get()).c_str(), parent.get(), as, AT_SYMLINK_FOLLOW);
    });
    done(entry.path());
}

void HostTreeWriter::make_symlink(const proto::TreeEntry& entry, const std::string& name) {
    const std::string& target = entry.stat().link_target();
    if (target.empty()) throw ProtocolError("a symlink to nowhere");
    const Fd& parent = levels_.empty() ? root_ : current_;
    place(name, [&](const char* as) { return symlinkat(target.c_str(), parent.get(), as); });
    if (privileged() && fchownat(parent.get(), name.c_str(), entry.stat().uid(), entry.stat().gid(),
                                 AT_SYMLINK_NOFOLLOW) != 0)
        warn_("the owner of " + shown(entry.path()) + " could not be kept");
    timespec times[] = {to_timespec(entry.stat().atime_ns()), to_timespec(entry.stat().mtime_ns())};
    utimensat(parent.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW);  // nobody misses it where it can't be
    done(entry.path());
}

void HostTreeWriter::make_node(const proto::TreeEntry& entry, const std::string& name) {
    mode_t type = entry.stat().mode() & S_IFMT;
    if (type == S_IFSOCK || !privileged()) {
        const char* what = type == S_IFSOCK ? "a socket" : type == S_IFIFO ? "a FIFO" : "a device";
        warn_(shown(entry.path()) + " was left out: it is " + what);
        return;
    }
    const Fd& parent = levels_.empty() ? root_ : current_;
    dev_t device = makedev(entry.stat().rdev_major(), entry.stat().rdev_minor());
    place(name, [&](const char* as) { return mknodat(parent.get(), as, type | 0600, device); });
    // Opening a device would do things; O_PATH only takes hold of it.
    Fd node(openat(parent.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!node || fchownat(node.get(), "", entry.stat().uid(), entry.stat().gid(), AT_EMPTY_PATH) != 0 ||
        chmod(fd_path(node.get()).c_str(), entry.stat().mode() & 0777) != 0)
        warn_("the owner and mode of " + shown(entry.path()) + " could not be kept");
    timespec times[] = {to_timespec(entry.stat().atime_ns()), to_timespec(entry.stat().mtime_ns())};
    utimensat(parent.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW);
    done(entry.path());
}

// ---- metadata of files and directories

// The owner first, because that clears set-id bits and capabilities; times last.
void HostTreeWriter::restore(int fd, const proto::TreeEntry& entry) {
    const proto::FileStat& stat = entry.stat();
    std::string_view path = fd == file_.fd.get() ? std::string_view(file_.path) : std::string_view(path_);
    if (options_.preserve_owner && fchown(fd, stat.uid(), stat.gid()) != 0)
        warn_("the owner of " + shown(path) +
              " could not be kept: " + Error::from_errno("", errno).message());
    if (options_.preserve_xattrs) restore_xattrs(fd, entry);
    if (fchmod(fd, stat.mode() & (privileged() ? 07777 : 01777)) != 0)
        fail("cannot set the mode of", path, errno);
    timespec times[] = {to_timespec(stat.atime_ns()), to_timespec(stat.mtime_ns())};
    if (futimens(fd, times) != 0) warn_("the times of " + shown(path) + " could not be kept");
}

void HostTreeWriter::restore_xattrs(int fd, const proto::TreeEntry& entry) {
    for (const proto::Xattr& xattr : entry.xattrs()) {
        if (!xattr.name().starts_with("user.") && !privileged()) continue;
        if (xattr.name().find('\0') != std::string::npos)
            throw ProtocolError("an attribute's name with a NUL");
        if (fsetxattr(fd, xattr.name().c_str(), xattr.value().data(), xattr.value().size(), 0) == 0) continue;
        if (std::exchange(warned_xattrs_, true)) continue;
        warn_("extended attributes, " + quoted(xattr.name()) + " of " + shown(entry.path()) +
              " the first, could not be kept here");
    }
}

}  // namespace inspect
