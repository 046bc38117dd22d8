// SPDX-License-Identifier: GPL-2.0-or-later
#include "guest_tree.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "base/uuid.h"
#include "failure.h"

namespace inspect::agent {

namespace {

constexpr int kMaxSymlinks = 40;  // as the kernel's own bound
constexpr int kMaxRetries = 100;

// `top` and `path` are normalised: "/a/b" is below "/a" and below "/".
bool is_at_or_below(std::string_view path, std::string_view top) {
    if (top == "/") return !path.empty();
    return !top.empty() && path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

std::string_view without_trailing_slashes(std::string_view path) {
    while (!path.empty() && path.back() == '/') path.remove_suffix(1);
    return path;
}

}  // namespace

const char* type_name(mode_t mode) {
    switch (mode & S_IFMT) {
        case S_IFREG:
            return "a regular file";
        case S_IFDIR:
            return "a directory";
        case S_IFLNK:
            return "a symbolic link";
        case S_IFIFO:
            return "a FIFO";
        case S_IFSOCK:
            return "a socket";
        case S_IFBLK:
            return "a block device";
        case S_IFCHR:
            return "a character device";
        default:
            return "of an unknown type";
    }
}

std::string shown(std::string_view path) { return path.empty() ? "/" : std::string(path); }

std::string_view last_component(std::string_view path) {
    path = without_trailing_slashes(path);
    size_t slash = path.rfind('/');
    return slash == path.npos ? path : path.substr(slash + 1);
}

std::string join(std::string_view directory, std::string_view name) {
    std::string path(directory);
    if (!path.empty() && path.back() != '/') path += '/';
    path += name;
    return path;
}

std::string temporary_name() {
    unsigned char random[16];
    draw_random(std::as_writable_bytes(std::span(random)));
    std::string name = ".insp-";
    for (unsigned char byte : random) name += "abcdefghijklmnopqrstuvwxyz012345"[byte & 31];
    return name;
}

int GuestTree::root() const {
    if (!root_) throw Failure(proto::USAGE, "nothing is mounted: mount a file system first");
    return root_.get();
}

Fd GuestTree::try_open(std::string_view path, int flags, mode_t mode) const {
    std::string text(path);
    if (text.empty()) text = "/";
    if (text.find('\0') != text.npos) {
        errno = EINVAL;
        return {};
    }
    unsigned long all_flags = static_cast<unsigned>(flags | O_CLOEXEC);
    if (!(flags & O_PATH)) all_flags |= O_NOCTTY | O_NONBLOCK;
    Fd fd = open_now(text, all_flags, mode);
    // What is opened may itself be covered by what is mounted then, and so on down: each round mounts at
    // least one.
    while (!deferred_.empty()) {
        size_t before = deferred_.size();
        int saved = errno;
        if (fd) {
            std::string where = path_of(fd.get());
            settle([&](const std::string& mountpoint) { return is_at_or_below(where, mountpoint); });
        } else if (saved == ENOENT || saved == ENOTDIR || saved == ELOOP) {
            settle_all();
        }
        if (deferred_.size() == before) {
            errno = saved;
            break;
        }
        fd = open_now(text, all_flags, mode);
    }
    return fd;
}

Fd GuestTree::open_now(const std::string& path, unsigned long flags, mode_t mode) const {
    open_how how{};
    how.flags = flags;
    how.mode = mode;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    int directory = root();
    for (int attempt = 0;; ++attempt) {
        long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
        if (fd >= 0) return Fd(static_cast<int>(fd));
        // EAGAIN: something was renamed or mounted while ".." was walked.
        if ((errno != EAGAIN && errno != EINTR) || attempt == kMaxRetries) return {};
    }
}

std::string GuestTree::path_of(int fd) const {
    char root[PATH_MAX];
    char path[PATH_MAX];
    ssize_t root_size = ::readlink(FdPath(root_.get()).c_str(), root, sizeof root);
    ssize_t size = ::readlink(FdPath(fd).c_str(), path, sizeof path);
    if (root_size < 0 || size < root_size) return {};
    std::string_view below(path, static_cast<size_t>(size));
    if (!below.starts_with(std::string_view(root, static_cast<size_t>(root_size)))) return {};
    below.remove_prefix(static_cast<size_t>(root_size));
    return below.empty() ? "/" : std::string(below);
}

void GuestTree::settle(const std::function<bool(const std::string& path)>& which) const {
    std::vector<Deferred> chosen;
    std::erase_if(deferred_, [&](Deferred& candidate) {
        if (!which(candidate.path)) return false;
        chosen.push_back(std::move(candidate));
        return true;
    });
    for (const Deferred& deferred : chosen) {
        try {
            deferred.mount();
        } catch (const Failure& failure) {
            warnings_.push_back(deferred.path + ": " + failure.message());
        }
    }
}

void GuestTree::settle_below(int fd) const {
    if (deferred_.empty()) return;
    std::string where = path_of(fd);
    settle([&](const std::string& mountpoint) { return is_at_or_below(mountpoint, where); });
}

void GuestTree::settle_all() const {
    settle([](const std::string&) { return true; });
}

Fd GuestTree::open(std::string_view path, int flags) const {
    Fd fd = try_open(path, flags);
    if (!fd) fail_errno("cannot open", shown(path));
    return fd;
}

Fd GuestTree::open_path(std::string_view path, bool follow) const {
    return open(path, O_PATH | (follow ? 0 : O_NOFOLLOW));
}

Fd GuestTree::open_regular(std::string_view path, struct stat& status, int flags) const {
    Fd handle = open_path(path, true);
    if (::fstat(handle.get(), &status) < 0) fail_errno("cannot stat", path);
    if (!S_ISREG(status.st_mode)) {
        int errnum = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
        throw Failure(proto::USAGE,
                      shown(path) + " is not a regular file: it is " + type_name(status.st_mode), errnum);
    }
    int fd = ::open(FdPath(handle.get()).c_str(), flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) fail_errno("cannot open", path);
    return Fd(fd);
}

GuestTree::Place GuestTree::place(std::string_view path, std::string_view verb) const {
    std::string_view trimmed = without_trailing_slashes(path);
    std::string_view name = last_component(trimmed);
    if (name.empty() || name == "." || name == "..") {
        throw Failure(proto::USAGE, std::string(verb) + " " + shown(path) + ": the path has no last name",
                      EINVAL);
    }
    if (name.find('\0') != name.npos) throw Failure(proto::USAGE, "a path has a zero byte in it", EINVAL);
    if (name.size() > NAME_MAX)
        throw Failure::from_errno(std::string(verb) + " " + std::string(path), ENAMETOOLONG);
    std::string_view parent = trimmed.substr(0, trimmed.size() - name.size());
    Fd directory = try_open(parent, O_PATH | O_DIRECTORY);
    if (!directory) fail_errno(verb, path);
    return {std::move(directory), std::string(name)};
}

GuestTree::Place GuestTree::followed_place(std::string& path, std::string_view verb) const {
    for (int links = 0;; ++links) {
        Place where = place(path, verb);
        char target[PATH_MAX];
        ssize_t size = ::readlinkat(where.directory.get(), where.name.c_str(), target, sizeof target);
        if (size < 0) {
            if (errno == EINVAL || errno == ENOENT) return where;  // not a symlink, or not there
            fail_errno(verb, path);
        }
        if (links == kMaxSymlinks) throw Failure::from_errno(std::string(verb) + " " + path, ELOOP);
        std::string_view next(target, static_cast<size_t>(size));
        if (!next.empty() && next.front() == '/') {
            path = next;
        } else {
            std::string_view trimmed = without_trailing_slashes(path);
            path = join(trimmed.substr(0, trimmed.size() - where.name.size()), next);
        }
    }
}

}  // namespace inspect::agent
