// SPDX-License-Identifier: GPL-2.0-or-later
#include "machine.h"

#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "failure.h"
#include "log.h"
#include "sysfs.h"

namespace inspect::agent {

namespace {

constexpr char kPortName[] = "insp";
constexpr int kPortWaitMs = 30'000;
constexpr int kRootWaitMs = 30'000;

void must_mount(const char* source, const char* target, const char* type, unsigned long flags,
                const char* data) {
    if (::mount(source, target, type, flags, data) < 0)
        throw Failure::from_errno(std::string("mount ") + source + " on " + target, errno);
}

// 127.0.0.1 comes with it. There is no other network.
void start_loopback() {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    must(socket.get(), "make a socket");
    must(::ioctl(socket.get(), SIOCSIFFLAGS, &request), "start the loopback device");
}

// What a user's programs expect: terminals, /dev/fd, /dev/shm.
void prepare_for_programs() {
    for (const char* directory : {"/dev/pts", "/dev/shm"}) {
        if (::mkdir(directory, 0755) < 0 && errno != EEXIST) fail_errno("cannot make", directory);
    }
    must_mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666");
    must_mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=50%");
    constexpr const char* kLinks[][2] = {{"/proc/self/fd", "/dev/fd"},
                                         {"/proc/self/fd/0", "/dev/stdin"},
                                         {"/proc/self/fd/1", "/dev/stdout"},
                                         {"/proc/self/fd/2", "/dev/stderr"}};
    for (const auto& [target, link] : kLinks) {
        if (::symlink(target, link) < 0 && errno != EEXIST) fail_errno("cannot make", link);
    }
    start_loopback();
}

bool has_word(const std::string& text, std::string_view word) {
    std::string spaced = " " + text + " ";
    return spaced.find(" " + std::string(word) + " ") != std::string::npos;
}

}  // namespace

Machine::Machine() {
    must_mount("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    // There is no console: the first three descriptors must not become something that a program would write
    // its words to.
    for (int fd = -1; fd <= STDERR_FILENO;) {
        fd = ::open("/dev/null", O_RDWR);
        must(fd, "open /dev/null");
        if (fd > STDERR_FILENO) ::close(fd);
    }
    set_log(Fd(::open("/dev/kmsg", O_WRONLY | O_CLOEXEC)));
    must_mount("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    mount_root_image();
    must_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    std::string command_line = read_small_file("/proc/cmdline");
    software_kvm_ = has_word(command_line, "insp_software_kvm");
    must_mount("tmp", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=50%");
    must_mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=10%");
    random_ = Fd(::open("/dev/urandom", O_RDWR | O_CLOEXEC));
    must(random_.get(), "open /dev/urandom");
    // A walk down a tree holds a descriptor a level.
    rlimit files{4096, 4096};
    ::setrlimit(RLIMIT_NOFILE, &files);
    ::umask(0);
    // What the programs that are run here find. The C library's tunables are the agent's own: the kernel's
    // command line sets them.
    ::setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    ::setenv("LC_ALL", "C", 1);
    ::setenv("HOME", "/tmp", 1);
    prepare_for_programs();
}

// On persistent memory, or (engines without such) on a disk of this serial number.
bool Machine::try_mount_root_image() {
    if (::mount("/dev/pmem0", "/tools", "erofs", MS_RDONLY, "dax=always") == 0) return true;
    for (const std::string& name : names_in("/sys/block")) {
        if (read_small_file("/sys/block/" + name + "/serial") != "insp-root") continue;
        must_mount(("/dev/" + name).c_str(), "/tools", "erofs", MS_RDONLY, nullptr);
        return true;
    }
    return false;
}

// The root image becomes "/", so that programs find their libraries where they expect them.
void Machine::mount_root_image() {
    // Its driver may still be at work: the kernel doesn't wait for it before it starts us.
    for (int waited = 0; !try_mount_root_image(); waited += 10) {
        if (waited >= kRootWaitMs) throw Failure(proto::ENGINE, "the appliance's root image is not there");
        ::usleep(10'000);
    }
    must_mount("/dev", "/tools/dev", nullptr, MS_MOVE, nullptr);
    must_mount("/sys", "/tools/sys", nullptr, MS_MOVE, nullptr);
    must(::chdir("/tools"), "chdir /tools");
    must_mount("/tools", "/", nullptr, MS_MOVE, nullptr);
    must(::chroot("."), "chroot /tools");
    must(::chdir("/"), "chdir /");
}

Fd Machine::open_port() {
    for (int waited = 0; waited < kPortWaitMs; waited += 10) {
        for (const std::string& name : names_in("/sys/class/virtio-ports")) {
            if (read_small_file("/sys/class/virtio-ports/" + name + "/name") != kPortName) continue;
            Fd port(::open(("/dev/" + name).c_str(), O_RDWR | O_CLOEXEC));
            if (!port) throw Failure::from_errno("open /dev/" + name, errno);
            // Not connected yet, the port reads as its end.
            for (; waited < kPortWaitMs; waited += 10) {
                pollfd state{port.get(), POLLOUT, 0};
                if (::poll(&state, 1, 0) >= 0 && !(state.revents & POLLHUP)) return port;
                ::usleep(10'000);
            }
        }
        ::usleep(10'000);
    }
    throw Failure(proto::ENGINE, "the port \"insp\" did not appear or was not connected");
}

void Machine::wake(const proto::Wake& request) {
    if (request.realtime_ns() != 0) {
        timespec now{};
        now.tv_sec = static_cast<time_t>(request.realtime_ns() / 1'000'000'000);
        now.tv_nsec = static_cast<long>(request.realtime_ns() % 1'000'000'000);
        if (::clock_settime(CLOCK_REALTIME, &now) < 0)
            throw Failure(proto::ENGINE, "cannot set the clock", errno);
    }
    const std::string& entropy = request.entropy();
    constexpr size_t kLeast = 32;
    constexpr size_t kMost = 256;
    if (entropy.size() < kLeast || entropy.size() > kMost)
        throw Failure(proto::USAGE, "a wake needs 32 to 256 random bytes", EINVAL);
    alignas(rand_pool_info) char buffer[sizeof(rand_pool_info) + kMost];
    auto* pool = reinterpret_cast<rand_pool_info*>(buffer);
    pool->entropy_count = static_cast<int>(entropy.size() * 8);
    pool->buf_size = static_cast<int>(entropy.size());
    std::memcpy(buffer + sizeof(rand_pool_info), entropy.data(), entropy.size());
    if (::ioctl(random_.get(), RNDADDENTROPY, pool) < 0 || ::ioctl(random_.get(), RNDRESEEDCRNG) < 0)
        throw Failure(proto::ENGINE, "cannot reseed the random pool: " + errno_text(errno), errno);
}

void stop_machine() {
    ::reboot(RB_AUTOBOOT);
    ::_exit(1);
}

}  // namespace inspect::agent
