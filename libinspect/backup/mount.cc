// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/backup.h: the repository as a directory of the host, by FUSE. Several threads answer, so that a
// chunk that is fetched or decompressed keeps nobody from listing a directory; one more watches for the end.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <new>
#include <thread>

#include <inspect/host_mount.h>

#include "backup/repository_impl.h"
#include "backup/snapshot_tree.h"
#include "backup/workers.h"
#include "base/log.h"
#include "fuse/mount_record.h"
#include "fuse/mounted.h"

namespace inspect {

namespace {

using fuse::MountRecord;

// Nothing in the tree changes while it is mounted.
constexpr double kForever = 86400;
constexpr uint64_t kSeekStep = 1ULL << 30;  // of a file's extents at once
constexpr size_t kMostRead = 1 << 20;

SnapshotTree& tree_of(fuse_req_t req) { return *static_cast<SnapshotTree*>(fuse_req_userdata(req)); }
BlockDevice& device_of(const fuse_file_info* info) { return *reinterpret_cast<BlockDevice*>(info->fh); }

// Nothing may be thrown through libfuse.
template <typename Work>
void guarded(fuse_req_t req, Work work) {
    try {
        work(tree_of(req));
    } catch (const std::bad_alloc&) {
        fuse_reply_err(req, ENOMEM);
    } catch (const std::exception& error) {
        log(LogLevel::kVerbose, error.what());
        fuse_reply_err(req, EIO);
    }
}

struct stat owned(struct stat status) {
    status.st_uid = ::geteuid();
    status.st_gid = ::getegid();
    return status;
}

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
    guarded(req, [&](SnapshotTree& tree) {
        const auto found = tree.find(parent, name);
        fuse_entry_param entry = {};
        entry.entry_timeout = entry.attr_timeout = kForever;
        if (found) {
            entry.ino = *found;
            entry.attr = owned(tree.attributes(*found));
        }
        fuse_reply_entry(req, &entry);  // without a number it says that there is none
    });
}

void get_attributes(fuse_req_t req, fuse_ino_t number, fuse_file_info*) {
    guarded(req, [&](SnapshotTree& tree) {
        const struct stat status = owned(tree.attributes(number));
        fuse_reply_attr(req, &status, kForever);
    });
}

void read_directory(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, fuse_file_info*) {
    guarded(req, [&](SnapshotTree& tree) {
        std::vector<SnapshotTree::Child> entries = tree.children(number);
        entries.insert(entries.begin(), {{number, "."}, {tree.parent(number), ".."}});
        std::vector<char> buffer(std::min(size, kMostRead));
        size_t used = 0;
        for (size_t i = static_cast<size_t>(offset); i < entries.size(); ++i) {
            struct stat status = {};
            status.st_ino = entries[i].number;
            const size_t needed =
                fuse_add_direntry(req, buffer.data() + used, buffer.size() - used, entries[i].name.c_str(),
                                  &status, static_cast<off_t>(i + 1));
            if (needed > buffer.size() - used) break;
            used += needed;
        }
        fuse_reply_buf(req, buffer.data(), used);
    });
}

void open_file(fuse_req_t req, fuse_ino_t number, fuse_file_info* info) {
    guarded(req, [&](SnapshotTree& tree) {
        auto device = tree.open(number);
        info->fh = reinterpret_cast<uint64_t>(device.get());
        info->keep_cache = 1;
        if (fuse_reply_open(req, info) == 0) device.release();  // until close_file()
    });
}

void close_file(fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
    delete &device_of(info);
    fuse_reply_err(req, 0);
}

void read_file(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
    guarded(req, [&](SnapshotTree&) {
        BlockDevice& device = device_of(info);
        const uint64_t at = std::min(static_cast<uint64_t>(offset), device.size());
        std::vector<std::byte> buffer(std::min<uint64_t>({size, kMostRead, device.size() - at}));
        device.read(at, buffer);
        fuse_reply_buf(req, reinterpret_cast<const char*>(buffer.data()), buffer.size());
    });
}

void seek(fuse_req_t req, fuse_ino_t, off_t offset, int whence, fuse_file_info* info) {
    guarded(req, [&](SnapshotTree&) {
        BlockDevice& device = device_of(info);
        const ExtentKind wanted = whence == SEEK_DATA ? ExtentKind::kData : ExtentKind::kHole;
        if (whence != SEEK_DATA && whence != SEEK_HOLE) return void(fuse_reply_err(req, EINVAL));
        uint64_t at = static_cast<uint64_t>(offset);
        if (at >= device.size()) return void(fuse_reply_err(req, ENXIO));
        while (at < device.size()) {
            const uint64_t step = std::min(kSeekStep, device.size() - at);
            for (const Extent& extent : device.extents(at, step))
                if (extent.kind == wanted)
                    return void(fuse_reply_lseek(req, static_cast<off_t>(extent.offset)));
            at += step;
        }
        if (wanted == ExtentKind::kData) return void(fuse_reply_err(req, ENXIO));
        fuse_reply_lseek(req, static_cast<off_t>(device.size()));
    });
}

const fuse_lowlevel_ops& operations() {
    static const fuse_lowlevel_ops all = [] {
        fuse_lowlevel_ops ops{};
        ops.lookup = lookup;
        ops.getattr = get_attributes;
        ops.readlink = [](fuse_req_t req, fuse_ino_t number) {
            guarded(req,
                    [&](SnapshotTree& tree) { fuse_reply_readlink(req, tree.link_target(number).c_str()); });
        };
        ops.readdir = read_directory;
        ops.open = open_file;
        ops.release = close_file;
        ops.read = read_file;
        ops.lseek = seek;
        return ops;
    }();
    return all;
}

// The threads that answer, until it is unmounted.
class Answering {
  public:
    explicit Answering(fuse_session* session) : session_(session), ended_(::eventfd(0, EFD_CLOEXEC)) {
        const int fd = fuse_session_fd(session);
        if (!ended_ || ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
            throw Error::from_errno("cannot set up the connection to FUSE", errno);
        for (unsigned i = 0; i < useful_threads(); ++i) threads_.emplace_back([this] { answer(); });
    }
    ~Answering() {
        end();
        for (std::thread& thread : threads_) thread.join();
    }
    Answering(const Answering&) = delete;
    Answering& operator=(const Answering&) = delete;

    // Readable once it is unmounted.
    int ended_fd() const { return ended_.get(); }

  private:
    void answer() {
        fuse_buf request{};
        while (!fuse_session_exited(session_)) {
            pollfd polled[] = {{fuse_session_fd(session_), POLLIN, 0}, {ended_.get(), POLLIN, 0}};
            ::poll(polled, std::size(polled), -1);
            const int result = fuse_session_receive_buf(session_, &request);
            if (result == -EAGAIN || result == -EINTR) continue;
            if (result <= 0) break;
            fuse_session_process_buf(session_, &request);
        }
        std::free(request.mem);
        end();
    }

    // For all threads.
    void end() {
        fuse_session_exit(session_);
        const uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = ::write(ended_.get(), &one, sizeof one);
    }

    fuse_session* session_;
    Fd ended_;
    std::vector<std::thread> threads_;
};

// Returns when the tree was unmounted, by whomever.
void wait_for_end(const fuse::Mounted& mounted, int stop_fd, int ended_fd, MountRecord& record) {
    const std::string& mount_point = mounted.mount_point();
    while (true) {
        std::vector<pollfd> polled{{ended_fd, POLLIN, 0}, {stop_fd, POLLIN, 0}};
        for (const int fd : record.descriptors()) polled.push_back({fd, POLLIN, 0});
        if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR)
            throw Error::from_errno("wait for the end of a mount", errno);
        if (polled[0].revents != 0) return;
        if (polled[1].revents != 0) {
            // Who stops us wants an end: when the last user has gone, if it is in use.
            stop_fd = -1;
            if (!fuse::unmount_directory(mount_point, false).empty())
                fuse::unmount_directory(mount_point, true);
        }
        const MountRecord::Wish wish = record.serve();
        // Unmounted already, it ends with its last user.
        if (wish == MountRecord::Wish::kNone || mounted.place() == fuse::Mounted::Place::kGone) continue;
        const std::string why = fuse::unmount_directory(mount_point, wish == MountRecord::Wish::kLazy);
        if (!why.empty())
            record.refuse(fuse::unmount_refusal(mount_point, why), wish == MountRecord::Wish::kLazy);
    }
}

}  // namespace

void BackupRepository::mount_on_host(const HostMountOptions& options) {
    const std::string mount_point = fuse::canonical_mount_point(options.directory);
    MountRecord record(mount_point);
    fuse::require_mountable(mount_point, options.fuse_options);
    fuse::MountResult result;
    try {
        impl_->lock_shared();
        SnapshotTree tree(impl_->repository(), impl_->snapshots());
        std::vector<std::string> fuse_options = options.fuse_options;
        fuse_options.push_back("default_permissions");
        const fuse::Mounted mounted(
            {.source = location(), .writable = false, .fuse_options = std::move(fuse_options)}, mount_point,
            operations(), &tree);
        const Answering answering(mounted.session());
        if (options.on_mounted) options.on_mounted();
        wait_for_end(mounted, options.stop_fd, answering.ended_fd(), record);
    } catch (const Error& error) {
        result.error = error;
    }
    impl_->lock.reset();  // who waits for the end may want to remove snapshots
    record.finish(result);
    if (result.error) throw *result.error;
}

}  // namespace inspect
