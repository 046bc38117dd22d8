// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/vmm_child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <tuple>

namespace inspect {

namespace {

constexpr size_t kMaxAnswer = 4096;
// Children that were killed and not waited for: the host takes some tens of milliseconds to take a VM apart,
// which no caller should spend. They are reaped when the next child is started; at the process's end they are
// init's.
class Unreaped {
  public:
    void add(pid_t pid) {
        std::lock_guard lock(mutex_);
        pids_.push_back(pid);
        reap_locked();
    }
    void reap() {
        std::lock_guard lock(mutex_);
        reap_locked();
    }

  private:
    void reap_locked() {
        std::erase_if(pids_, [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; });
    }
    std::mutex mutex_;
    std::vector<pid_t> pids_;
};

Unreaped& unreaped() {
    static Unreaped instance;
    return instance;
}

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;  // its reports
#else
constexpr bool kSanitized = false;
#endif

// posix_spawn's objects, freed whatever happens.
struct SpawnSetup {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    SpawnSetup() {
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawnattr_init(&attributes);
    }
    ~SpawnSetup() {
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
    }
};

}  // namespace

std::string printable_console(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (unsigned char c : text) out += c == '\n' || (c >= 0x20 && c < 0x7f) ? static_cast<char>(c) : '?';
    return out;
}

uint64_t peak_rss_bytes(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    std::string word;
    while (status >> word) {
        if (word != "VmHWM:") continue;
        uint64_t kib = 0;
        status >> kib;
        return kib * 1024;
    }
    return 0;
}

void VmmChild::Arguments::add_disk(const EngineDisk& disk, int nbd_fd) {
    std::string text = "--disk=block-size=" + std::to_string(disk.sector_size) + ",serial=" + disk.serial;
    for (int fd : disk.node_fds) inherit(fd);
    if (disk.overlay_memory_fd >= 0) {
        text += ",overlay=" + std::to_string(disk.overlay_memory_fd) + ":" +
                std::to_string(disk.overlay_spill_fd);
        inherit(disk.overlay_memory_fd);
        inherit(disk.overlay_spill_fd);
    }
    if (disk.size != 0) text += ",size=" + std::to_string(disk.size);
    if (nbd_fd >= 0) {
        text += ",nbd=" + std::to_string(nbd_fd);
        inherit(nbd_fd);
    }
    if (disk.read_only) text += ",read-only";
    add(text + ",node=" + disk.node);
}

VmmChild::VmmChild(const std::string& program, Arguments arguments, Holds holds) {
    unreaped().reap();

    Fd channel_theirs;
    if (holds == Holds::kMachine) {
        std::tie(channel_, channel_theirs) = make_socket_pair(SOCK_STREAM);
        arguments.add_fd("channel", channel_theirs.get());
    }
    auto [control_ours, control_theirs] = make_socket_pair(SOCK_SEQPACKET);
    control_ = std::move(control_ours);
    status_fd_.reset(::memfd_create("insp-status", MFD_CLOEXEC));
    if (!status_fd_ || ::ftruncate(status_fd_.get(), sizeof(VmmStatus)) != 0)
        throw Error::from_errno(ErrorKind::kEngine, "cannot make the VMM's status page", errno);
    void* page = ::mmap(nullptr, sizeof(VmmStatus), PROT_READ, MAP_SHARED, status_fd_.get(), 0);
    if (page == MAP_FAILED)
        throw Error::from_errno(ErrorKind::kEngine, "cannot map the VMM's status page", errno);
    status_ = static_cast<const VmmStatus*>(page);

    arguments.add_fd("control", control_theirs.get());
    arguments.add_fd("status", status_fd_.get());

    SpawnSetup setup;
    // It has nothing to say there. And who reads what we say reads until the last writer has gone, which of a
    // mount's VMM is when it is unmounted.
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        bool is_argument = std::ranges::count(arguments.fds_, fd) > 0;  // we were started without them
        bool for_sanitizers = kSanitized && fd == STDERR_FILENO;
        if (!is_argument && !for_sanitizers)
            ::posix_spawn_file_actions_addopen(&setup.actions, fd, "/dev/null", O_RDWR, 0);
    }
    for (int fd : arguments.fds_)  // the same number twice: inherited in spite of close-on-exec
        ::posix_spawn_file_actions_adddup2(&setup.actions, fd, fd);
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&setup.attributes, &none);
    ::posix_spawnattr_setsigdefault(&setup.attributes, &all);
    // A group of its own: Ctrl-C in the terminal is ours to handle.
    ::posix_spawnattr_setpgroup(&setup.attributes, 0);
    ::posix_spawnattr_setflags(&setup.attributes,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

    std::string name = "insp-vmm";
    std::vector<char*> argv{name.data()};
    for (std::string& argument : arguments.text_) argv.push_back(argument.data());
    argv.push_back(nullptr);
    char* envp[] = {nullptr};
    int error = ::posix_spawn(&pid_, program.c_str(), &setup.actions, &setup.attributes, argv.data(), envp);
    if (error != 0) {
        pid_ = -1;
        throw Error::from_errno(ErrorKind::kEngine, "cannot start '" + program + "'", error);
    }
    pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
}

VmmChild::~VmmChild() {
    kill();
    if (pid_ > 0 && !reaped_) unreaped().add(pid_);
    if (status_) ::munmap(const_cast<VmmStatus*>(status_), sizeof(VmmStatus));
}

void VmmChild::kill() noexcept {
    if (pid_ > 0 && !reaped_) ::kill(pid_, SIGKILL);
}

std::string VmmChild::receive(std::chrono::milliseconds timeout) {
    struct pollfd pfd = {control_.get(), POLLIN, 0};
    int ready;
    do {
        ready = ::poll(&pfd, 1, static_cast<int>(timeout.count()));
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) throw failure("the virtual machine's process does not answer");
    char answer[kMaxAnswer];
    ssize_t n = ::recv(control_.get(), answer, sizeof answer, MSG_CMSG_CLOEXEC);
    if (n <= 0) throw failure("the virtual machine's process ended");
    return std::string(answer, static_cast<size_t>(n));
}

void VmmChild::wait_ready(std::chrono::milliseconds timeout) {
    static constexpr std::string_view kError = "error ", kSnapshot = "error snapshot: ";
    std::string answer = receive(timeout);
    if (answer == "ready") return;
    if (answer.starts_with(kSnapshot))
        throw SnapshotRejected(printable_console(answer.substr(kSnapshot.size())));
    if (answer.starts_with(kError)) answer.erase(0, kError.size());
    throw Error(ErrorKind::kEngine, "the virtual machine could not be set up: " + printable_console(answer));
}

void VmmChild::request(const std::string& text, std::span<const int> fds, std::chrono::milliseconds timeout) {
    struct iovec iov = {const_cast<char*>(text.data()), text.size()};
    struct msghdr message = {};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
    if (!fds.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        struct cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    }
    ssize_t n;
    do {
        n = ::sendmsg(control_.get(), &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) throw failure("the virtual machine's process ended");
    std::string answer = receive(timeout);
    if (answer != "ok")
        throw Error(ErrorKind::kEngine,
                    "the virtual machine's process refused to " + text + ": " + printable_console(answer));
}

bool VmmChild::wait_exit(std::chrono::milliseconds timeout) {
    if (reaped_ || pid_ <= 0) return exit_status_ == 0;
    if (pidfd_) {
        struct pollfd pfd = {pidfd_.get(), POLLIN, 0};
        int ready;
        do {
            ready = ::poll(&pfd, 1, static_cast<int>(timeout.count()));
        } while (ready < 0 && errno == EINTR);
        if (ready == 0) kill();
    }
    pid_t result;
    do {
        result = ::waitpid(pid_, &exit_status_, 0);
    } while (result < 0 && errno == EINTR);
    reaped_ = true;
    return result == pid_ && exit_status_ == 0;
}

VmmEnd VmmChild::end() const { return status_->end.load(std::memory_order_acquire); }

SessionStats VmmChild::stats() const {
    static constexpr const char* kNames[] = {"io", "mmio", "hlt", "intr", "emulation", "shutdown", "other"};
    static_assert(std::size(kNames) == static_cast<size_t>(VmmExit::kCount));
    SessionStats stats;
    stats.setup_ns = status_->setup_ns;
    stats.run_ns = status_->run_ns;
    stats.exit_ns = status_->exit_ns;
    for (size_t i = 0; i < std::size(kNames); ++i) stats.exits[kNames[i]] = status_->exits[i];
    stats.block_requests = status_->block_requests;
    stats.block_bytes_read = status_->block_bytes_read;
    stats.block_bytes_written = status_->block_bytes_written;
    stats.pages_touched = status_->pages_touched;
    stats.emulated_instructions = status_->emulated_instructions;
    if (!reaped_) stats.peak_rss_bytes = peak_rss_bytes(pid_);
    return stats;
}

std::string VmmChild::console_tail(size_t limit) const {
    uint64_t written = status_->ring_written.load(std::memory_order_acquire);
    size_t length = static_cast<size_t>(std::min<uint64_t>({written, limit, VmmStatus::kRingSize}));
    std::string text(length, '\0');
    for (size_t i = 0; i < length; ++i)
        text[i] = status_->ring[(written - length + i) % VmmStatus::kRingSize];
    return printable_console(text);
}

Error VmmChild::failure(const std::string& what) const {
    char message[sizeof status_->message + 1] = {};
    std::memcpy(message, status_->message, sizeof status_->message);
    std::string text = what;
    std::string detail = printable_console(message);
    bool show_console = true;
    switch (end()) {
        case VmmEnd::kGuestPanic:
            text = "the appliance's kernel panicked";
            break;
        case VmmEnd::kGuestShutdown:
            text = "the appliance shut down unexpectedly";
            break;
        case VmmEnd::kGuestError:
            text = "the appliance's virtual CPU stopped";
            break;
        case VmmEnd::kHostError:
            text = "the virtual machine failed";
            show_console = false;
            break;
        case VmmEnd::kRunning:
        case VmmEnd::kStopped:
            break;
    }
    if (!detail.empty()) text += ": " + detail;
    if (show_console) {
        std::string tail = console_tail(kConsoleShown);
        if (!tail.empty()) text += "; its kernel's last lines:\n" + tail;
    }
    return Error(ErrorKind::kEngine, text);
}

}  // namespace inspect
