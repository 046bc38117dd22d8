// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/mount_loop.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace inspect::fuse {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// How long a request may go without a byte from the agent, before the appliance counts as dead. Nothing that
// a mount asks for takes longer, not even on software KVM.
constexpr auto kSilence = 120s;
// After an ordinary unmount of ours, how long the kernel may take to say that the tree is gone.
constexpr auto kUnmountGrace = 1s;
// Requests of the kernel that are taken before answers are looked at again.
constexpr int kMostAtOnce = 64;

// What the kernel holds of the tree's changes. Errors are told by the unmounting, or there are none to tell.
void write_back(const std::string& mount_point) {
    Fd tree(::open(mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    [[maybe_unused]] int ignored = tree ? ::syncfs(tree.get()) : 0;
}

}  // namespace

MountLoop::MountLoop(const Parts& parts)
    : parts_(parts), session_(parts.mounted.session()), unmounted_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!unmounted_) throw Error::from_errno("cannot make an eventfd", errno);
    int fd = fuse_session_fd(session_);
    if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        throw Error::from_errno("cannot set up the connection to FUSE", errno);
}

MountLoop::~MountLoop() {
    if (unmounting_.joinable()) unmounting_.join();
    std::free(buffer_.mem);
}

template <typename Work>
void MountLoop::with_appliance(Work work) {
    try {
        work();
    } catch (const Error& error) {
        if (!lost_) lost_ = error;
        parts_.pipeline.break_off();
    }
}

std::optional<Error> MountLoop::run() {
    while (!fuse_session_exited(session_) || !parts_.pipeline.idle()) {
        end_without_kernel();
        parts_.server.tidy_up();
        with_appliance([&] { parts_.pipeline.send(); });
        if (fuse_session_exited(session_) && parts_.pipeline.idle()) break;
        wait();
    }
    if (unmounting_.joinable()) unmounting_.join();
    return lost_;
}

int MountLoop::timeout_ms() const {
    if (lost_) return parts_.pipeline.idle() ? -1 : 0;
    if (parts_.pipeline.idle() && !unmounted_at_) return -1;
    return static_cast<int>(std::chrono::milliseconds(1s).count());
}

void MountLoop::wait() {
    bool exited = fuse_session_exited(session_);
    std::vector<pollfd> polled;
    auto poll_for = [&](int fd, short events) {
        polled.push_back({fd, events, 0});
        return polled.size() - 1;
    };
    size_t kernel = poll_for(exited ? -1 : fuse_session_fd(session_), POLLIN);
    short channel_events = POLLIN | (parts_.pipeline.wants_to_write() ? POLLOUT : 0);
    size_t appliance = poll_for(lost_ ? -1 : parts_.channel.descriptor(), channel_events);
    size_t stop = poll_for(stopping_ ? -1 : parts_.stop_fd, POLLIN);
    size_t unmounted = poll_for(unmounted_.get(), POLLIN);
    size_t clients = polled.size();
    for (int fd : parts_.record.descriptors()) poll_for(fd, POLLIN);
    int ready = ::poll(polled.data(), polled.size(), timeout_ms());
    if (ready < 0 && errno != EINTR) throw Error::from_errno("wait for requests", errno);
    if (ready <= 0) return check_silence();

    if (polled[appliance].revents & ~POLLOUT) with_appliance([&] { parts_.pipeline.receive(); });
    check_silence();
    if (polled[kernel].revents) serve_kernel();
    if (polled[unmounted].revents) end_unmount();
    bool asked = false;
    for (size_t i = clients; i < polled.size(); ++i) asked = asked || polled[i].revents != 0;
    if (asked) {
        MountRecord::Wish wish = parts_.record.serve();
        if (wish != MountRecord::Wish::kNone)
            start_unmount(wish == MountRecord::Wish::kLazy ? Unmount::kLazy : Unmount::kOrdinary);
    }
    if (polled[stop].revents) {
        stopping_ = true;
        start_unmount(Unmount::kOrdinary);
    }
}

void MountLoop::check_silence() {
    if (lost_ || parts_.pipeline.idle() || Clock::now() - parts_.pipeline.last_sign() < kSilence) return;
    with_appliance([] {
        throw Error(ErrorKind::kEngine,
                    "the appliance does not answer for " + std::to_string(kSilence.count()) + " s");
    });
}

void MountLoop::serve_kernel() {
    for (int i = 0; i < kMostAtOnce && !fuse_session_exited(session_); ++i) {
        int result = fuse_session_receive_buf(session_, &buffer_);
        if (result <= 0) {
            // ENODEV, which libfuse takes for the end, is one; what else it may be doesn't go away.
            if (result != 0 && result != -EAGAIN && result != -EINTR) fuse_session_exit(session_);
            return;
        }
        fuse_session_process_buf(session_, &buffer_);
    }
}

void MountLoop::start_unmount(Unmount how) {
    if (unmounting_.joinable() || detached_ || fuse_session_exited(session_)) return;
    how_ = how;
    unmounting_ = std::thread([this] {
        const Mounted& mounted = parts_.mounted;
        place_ = mounted.place();
        if (place_ == Mounted::Place::kHere) {
            write_back(mounted.mount_point());
            unmount_error_ = unmount_directory(mounted.mount_point(), how_ == Unmount::kLazy);
        } else {
            unmount_error_ = place_ == Mounted::Place::kGone ? "" : "something else is mounted over it";
        }
        uint64_t one = 1;
        [[maybe_unused]] ssize_t written = ::write(unmounted_.get(), &one, sizeof one);
    });
}

// A process that took a copy of the mounts while the tree was there (a container's, a sandbox's, a service's
// mount namespace) keeps it alive, and the kernel doesn't say that it is gone. It was written back, nobody
// here used it when it was unmounted, and who asked for that waits: it ends for that copy as well.
void MountLoop::end_without_kernel() {
    if (!unmounted_at_ || fuse_session_exited(session_) || !parts_.pipeline.idle()) return;
    if (Clock::now() - *unmounted_at_ >= kUnmountGrace) fuse_session_exit(session_);
}

void MountLoop::end_unmount() {
    uint64_t count;
    [[maybe_unused]] ssize_t size = ::read(unmounted_.get(), &count, sizeof count);
    unmounting_.join();
    if (unmount_error_.empty()) {
        // Whoever wants an end from now on waits for the last user.
        detached_ = true;
        if (how_ == Unmount::kOrdinary && place_ == Mounted::Place::kHere) unmounted_at_ = Clock::now();
        return;
    }
    const bool lazily = how_ == Unmount::kOrdinary && (stopping_ || parts_.record.wants_lazy());
    // Who stops us wants an end, where the kernel gives none. What that had has been written back.
    if (stopping_ && !lazily && place_ == Mounted::Place::kHere) fuse_session_exit(session_);
    if (!stopping_ || !lazily)
        parts_.record.refuse(unmount_refusal(parts_.mounted.mount_point(), unmount_error_),
                             how_ == Unmount::kLazy);
    if (lazily) start_unmount(Unmount::kLazy);
}

}  // namespace inspect::fuse
