// SPDX-License-Identifier: GPL-2.0-or-later
#include "open_tree.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <fstream>

#include "failure.h"
#include "file_stat.h"
#include "protocol/frame.h"

namespace inspect::agent {

namespace {

constexpr int kMaxRetries = 100;
// Of reads that were seen ahead: their files are open, and the data wait in the appliance's memory, which is
// small.
constexpr size_t kMostAhead = 64;
constexpr uint64_t kMostBytesAhead = 8 << 20;

Fd openat_beneath(int directory, const std::string& path, int flags) {
    open_how how{};
    how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    for (int attempt = 0;; ++attempt) {
        long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
        if (fd >= 0) return Fd(static_cast<int>(fd));
        if ((errno != EAGAIN && errno != EINTR) || attempt == kMaxRetries) return {};
    }
}

// Of mounted file systems that don't tell upper case from lower. They have no inode numbers on the disk, or
// needn't have: a file gets one when it is looked at, and another when it was forgotten in between.
std::vector<uint64_t> caseless_devices() {
    constexpr std::array<std::string_view, 5> kTypes = {"vfat", "msdos", "exfat", "hfs", "hfsplus"};
    std::vector<uint64_t> result;
    std::ifstream mounts("/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
        // 36 35 98:0 /root /mount/point options - type source options
        unsigned major_number = 0;
        unsigned minor_number = 0;
        const size_t dash = line.find(" - ");
        if (dash == line.npos ||
            std::sscanf(line.c_str(), "%*u %*u %u:%u", &major_number, &minor_number) != 2)
            continue;
        const size_t type = dash + 3;
        if (std::ranges::count(kTypes, std::string_view(line).substr(type, line.find(' ', type) - type)) > 0)
            result.push_back(makedev(major_number, minor_number));
    }
    return result;
}

}  // namespace

std::string OpenTree::Object::proc_path() const {
    std::string path = FdPath(directory.get()).c_str();
    if (!name.empty()) path += "/" + name;
    return path;
}

int OpenTree::Object::at_flags() const { return AT_SYMLINK_NOFOLLOW | (name.empty() ? AT_EMPTY_PATH : 0); }

void OpenTree::open(const GuestTree& tree, const std::string& directory, bool writable) {
    close();
    Fd root = tree.open(directory, O_RDONLY | O_DIRECTORY);
    tree.settle_below(root.get());
    // What was deferred may cover the directory itself.
    root = tree.open(directory, O_RDONLY | O_DIRECTORY);
    slots_.resize(1);
    slots_[0] = std::move(root);
    writable_ = writable;
}

void OpenTree::close() {
    forget_ahead();
    slots_.clear();
}

void OpenTree::close_slot(uint32_t slot) {
    if (slot != 0 && slot < slots_.size()) slots_[slot].reset();
}

std::string OpenTree::checked_name(const std::string& name) {
    if (name.empty() || name == "." || name == ".." || name.find('/') != name.npos ||
        name.find('\0') != name.npos)
        throw Failure(proto::USAGE, "a name that can't be one", EINVAL);
    return name;
}

int OpenTree::slot_fd(uint32_t slot) const {
    if (slots_.empty()) throw Failure(proto::USAGE, "no tree is open", EBADF);
    if (slot >= slots_.size() || !slots_[slot])
        throw Failure(proto::USAGE, "nothing is open in slot " + std::to_string(slot), EBADF);
    return slots_[slot].get();
}

// In pieces, because the kernel takes no path of more than PATH_MAX bytes.
Fd OpenTree::open_beneath(uint32_t slot, std::string_view path, int flags) const {
    int from = slot_fd(slot);
    Fd on_the_way;
    while (path.size() >= PATH_MAX) {
        size_t cut = path.rfind('/', PATH_MAX - 1);
        if (cut == path.npos) throw Failure::from_errno("open in the tree", ENAMETOOLONG);
        Fd next = openat_beneath(from, std::string(path.substr(0, cut)), O_PATH | O_DIRECTORY);
        if (!next) throw Failure::from_errno("open in the tree", errno);
        on_the_way = std::move(next);
        from = on_the_way.get();
        path.remove_prefix(cut + 1);
    }
    Fd fd = openat_beneath(from, std::string(path), flags);
    if (!fd) throw Failure::from_errno("open in the tree", errno);
    return fd;
}

OpenTree::Object OpenTree::object(const proto::Place& place) const {
    const std::string& path = place.path();
    if (path.empty()) return {Handle(slot_fd(place.slot())), {}};
    size_t slash = path.rfind('/');
    if (slash == path.npos) return {Handle(slot_fd(place.slot())), checked_name(path)};
    std::string_view parent(path.data(), slash);
    return {Handle(open_beneath(place.slot(), parent, O_PATH | O_DIRECTORY)),
            checked_name(path.substr(slash + 1))};
}

void OpenTree::keep(uint32_t slot, Fd fd) {
    if (slot == 0 || slot >= protocol::kMaxTreeSlots)
        throw Failure(proto::USAGE, "there is no slot " + std::to_string(slot), EBADF);
    if (slot >= slots_.size()) slots_.resize(slot + 1);
    slots_[slot] = std::move(fd);
}

OpenTree::Handle OpenTree::keep_or_hand_out(uint32_t slot, Fd fd) {
    if (slot == 0) return Handle(std::move(fd));
    int number = fd.get();
    keep(slot, std::move(fd));
    return Handle(number);
}

OpenTree::Handle OpenTree::directory(const proto::Place& place) {
    if (place.path().empty()) return Handle(slot_fd(place.slot()));
    close_slot(place.keep());
    return keep_or_hand_out(place.keep(), open_beneath(place.slot(), place.path(), O_RDONLY | O_DIRECTORY));
}

Fd OpenTree::open_file_beneath(const proto::Place& place) const {
    constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    if (writable_) {
        try {
            return open_beneath(place.slot(), place.path(), O_RDWR | kFlags);
        } catch (const Failure& failure) {
            // An immutable file, or a read-only file system among writable ones: it can still be read.
            if (failure.errnum() != EPERM && failure.errnum() != EROFS && failure.errnum() != EACCES) throw;
        }
    }
    return open_beneath(place.slot(), place.path(), O_RDONLY | kFlags);
}

OpenTree::Handle OpenTree::file(const proto::Place& place) {
    Fd ahead = take_ahead(place);
    if (place.path().empty()) return Handle(slot_fd(place.slot()));
    close_slot(place.keep());
    return keep_or_hand_out(place.keep(), ahead ? std::move(ahead) : open_file_beneath(place));
}

bool OpenTree::read_ahead(const proto::TreeRead& request) {
    if (ahead_.size() == kMostAhead || ahead_bytes_ >= kMostBytesAhead) return false;
    const proto::Place& place = request.place();
    Ahead ahead{place.slot(), place.keep(), place.path(), {}};
    int fd = -1;
    if (!place.path().empty()) {
        try {
            ahead.file = open_file_beneath(place);
            fd = ahead.file.get();
        } catch (const Failure&) {  // it is told when its turn comes
        }
    } else if (place.slot() < slots_.size() &&
               std::ranges::find(ahead_, place.slot(), &Ahead::keep) == ahead_.end()) {
        fd = slots_[place.slot()].get();  // unless a read before this one puts another file there
    }
    if (fd >= 0)
        ::posix_fadvise(fd, static_cast<off_t>(request.offset()), static_cast<off_t>(request.length()),
                        POSIX_FADV_WILLNEED);
    ahead_bytes_ += request.length();
    ahead_.push_back(std::move(ahead));
    return true;
}

void OpenTree::forget_ahead() {
    ahead_.clear();
    ahead_bytes_ = 0;
}

// The file of a read that was seen ahead, if this is it.
Fd OpenTree::take_ahead(const proto::Place& place) {
    if (ahead_.empty()) return {};
    Ahead first = std::move(ahead_.front());
    ahead_.pop_front();
    bool same = first.slot == place.slot() && first.keep == place.keep() && first.path == place.path();
    if (ahead_.empty() || !same) forget_ahead();
    return same ? std::move(first.file) : Fd();
}

void OpenTree::pin(uint32_t slot, int directory, const std::string& name) {
    close_slot(slot);
    struct stat status;
    if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0)
        throw Failure::from_errno("look at " + name, errno);
    int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    Fd fd;
    if (S_ISREG(status.st_mode)) {
        fd = Fd(::openat(directory, name.c_str(), flags | O_RDWR));
        if (!fd) fd = Fd(::openat(directory, name.c_str(), flags | O_RDONLY));
    }
    if (!fd) fd = Fd(::openat(directory, name.c_str(), O_PATH | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) throw Failure::from_errno("open " + name, errno);
    keep(slot, std::move(fd));
}

proto::FileStat tree_stat_of(int directory, const std::string& name) {
    struct stat status;
    const int flags = AT_SYMLINK_NOFOLLOW | (name.empty() ? AT_EMPTY_PATH : 0);
    if (::fstatat(directory, name.c_str(), &status, flags) < 0) throw Failure::from_errno("look", errno);
    proto::FileStat out;
    to_proto(status, out);
    if (S_ISLNK(status.st_mode)) out.set_link_target(readable_link_target(directory, name.c_str()));
    return out;
}

bool tree_operation(const Context& context, OpenTree& tree, const proto::Request& request) {
    switch (request.op_case()) {
        case proto::Request::kTreeOpen: {
            const proto::TreeOpen& open = request.tree_open();
            context.connection.watch();
            tree.open(context.tree, open.directory(), open.writable());
            *context.response.mutable_stat() = tree_stat_of(tree.object(proto::Place()).directory.get(), "");
            for (uint64_t device : caseless_devices()) context.response.add_caseless_devices(device);
            return true;
        }
        case proto::Request::kTreeLookup:
            tree_lookup(context, tree, request.tree_lookup());
            return true;
        case proto::Request::kTreeStat:
            tree_stat(context, tree, request.tree_stat());
            return true;
        case proto::Request::kTreeChange:
            tree_change(context, tree, request.tree_change());
            return true;
        case proto::Request::kTreeMake:
            tree_make(context, tree, request.tree_make());
            return true;
        case proto::Request::kTreeRemove:
            tree_remove(context, tree, request.tree_remove());
            return true;
        case proto::Request::kTreeRename:
            tree_rename(context, tree, request.tree_rename());
            return true;
        case proto::Request::kTreeLink:
            tree_link(context, tree, request.tree_link());
            return true;
        case proto::Request::kTreeRead:
            tree_read(context, tree, request.tree_read());
            return true;
        case proto::Request::kTreeWrite:
            tree_write(context, tree, request.tree_write());
            return true;
        case proto::Request::kTreeList:
            tree_list(context, tree, request.tree_list());
            return true;
        case proto::Request::kTreeGetXattr:
            tree_get_xattr(context, tree, request.tree_get_xattr());
            return true;
        case proto::Request::kTreeSetXattr:
            tree_set_xattr(context, tree, request.tree_set_xattr());
            return true;
        case proto::Request::kTreeStatfs:
            tree_statfs(context, tree, request.tree_statfs());
            return true;
        case proto::Request::kTreeAllocate:
            tree_allocate(context, tree, request.tree_allocate());
            return true;
        case proto::Request::kTreeSeek:
            tree_seek(context, tree, request.tree_seek());
            return true;
        case proto::Request::kTreeCopy:
            tree_copy(context, tree, request.tree_copy());
            return true;
        case proto::Request::kTreeSync:
            tree_sync(context, tree, request.tree_sync());
            return true;
        case proto::Request::kTreeClose:
            for (uint32_t slot : request.tree_close().slots()) tree.close_slot(slot);
            return true;
        case proto::Request::kTreeReadLink:
            tree_read_link(context, tree, request.tree_read_link());
            return true;
        default:
            return false;
    }
}

}  // namespace inspect::agent
