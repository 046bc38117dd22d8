// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The engine "kvm": appliances in our own VMM, restored from a warm snapshot wherever that is possible.
#include "engine/kvm_engine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include <inspect/error.h>

#include "base/log.h"
#include "engine/appliance_files.h"
#include "engine/cache.h"
#include "engine/engine.h"
#include "engine/host.h"
#include "engine/kernel_command_line.h"
#include "engine/vmm_child.h"
#include "protocol/frame.h"
#include "protocol/insp.pb.h"

namespace inspect {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kSetupTimeout = 20s;  // of the VMM's process: milliseconds, unless the machine is on its knees
constexpr auto kBootTimeout = 120s;  // ten times what the slowest host needs
constexpr auto kSnapshotTimeout = 60s;
constexpr auto kStopTimeout = 60s;  // flushing the disks

class KvmChannel : public Channel {
  public:
    KvmChannel(VmmChild& child, int interrupt_fd) : child_(child), interrupt_fd_(interrupt_fd) {}

    void write(std::span<const std::byte> in) override {
        while (!in.empty()) {
            ssize_t n = ::send(child_.channel_fd(), in.data(), in.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) {
                bytes_in_ += static_cast<uint64_t>(n);
                in = in.subspan(static_cast<size_t>(n));
            } else if (n < 0 && errno == EAGAIN) {
                wait(POLLOUT, -1ms);
            } else if (n < 0 && errno != EINTR) {
                throw child_.failure("the appliance is gone");
            }
        }
    }

    size_t read(std::span<std::byte> out, std::chrono::milliseconds timeout) override {
        for (;;) {
            if (!wait(POLLIN, timeout))
                throw child_.failure(
                    "the appliance does not answer for " +
                    std::to_string(std::chrono::duration_cast<std::chrono::seconds>(timeout).count()) + " s");
            ssize_t n = ::recv(child_.channel_fd(), out.data(), out.size(), MSG_DONTWAIT);
            if (n > 0) {
                bytes_out_ += static_cast<uint64_t>(n);
                return static_cast<size_t>(n);
            }
            if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
                child_.wait_exit(1s);  // so that its status page is final
                throw child_.failure("the appliance is gone");
            }
        }
    }

    bool readable() override {
        struct pollfd pfd = {child_.channel_fd(), POLLIN, 0};
        return ::poll(&pfd, 1, 0) > 0;
    }

    uint64_t bytes_in() const { return bytes_in_; }    // to the appliance
    uint64_t bytes_out() const { return bytes_out_; }  // from it

  private:
    // False when the time is over; a negative timeout waits for ever.
    bool wait(short events, std::chrono::milliseconds timeout) {
        auto deadline = Clock::now() + timeout;
        for (;;) {
            struct pollfd pfds[2] = {{child_.channel_fd(), events, 0}, {interrupt_fd_, POLLIN, 0}};
            int wait_ms = -1;
            if (timeout >= 0ms) {
                auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
                wait_ms = static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
            }
            int ready = ::poll(pfds, 2, wait_ms);
            if (ready == 0) return false;
            if (ready < 0 && errno != EINTR) throw Error::from_errno(ErrorKind::kEngine, "poll", errno);
            if (ready > 0 && pfds[1].revents) throw Error(ErrorKind::kCancelled, "interrupted");
            if (ready > 0) return true;
        }
    }

    VmmChild& child_;
    int interrupt_fd_;
    uint64_t bytes_in_ = 0;
    uint64_t bytes_out_ = 0;
};

class KvmMachine : public Machine {
  public:
    KvmMachine(const std::string& program, VmmChild::Arguments arguments, const EngineOptions& options)
        : child_(program, std::move(arguments)),
          channel_(child_, options.interrupt_fd),
          verbose_(options.verbose) {}

    ~KvmMachine() override {
        if (verbose_) log(LogLevel::kVerbose, "the appliance's kernel said:\n" + child_.console_tail(65536));
    }

    Channel& channel() override { return channel_; }
    std::string console_tail() const override { return child_.console_tail(); }

    void stop(bool wait) override {
        child_.request("stop", {}, kStopTimeout);
        peak_rss_bytes_ = child_.stats().peak_rss_bytes;
        if (wait && !child_.wait_exit(kStopTimeout))
            throw child_.failure("the virtual machine did not end cleanly");
    }

    SessionStats stats() const override {
        SessionStats stats = child_.stats();
        stats.peak_rss_bytes = std::max(stats.peak_rss_bytes, peak_rss_bytes_);
        stats.channel_bytes_in = channel_.bytes_in();
        stats.channel_bytes_out = channel_.bytes_out();
        stats.warm = warm_;
        stats.engine_ns = engine_ns_;
        return stats;
    }

    VmmChild& child() { return child_; }
    void set_warm(bool warm) { warm_ = warm; }
    void set_engine_ns(uint64_t ns) { engine_ns_ = ns; }

    // Waits for the agent's first words after a boot.
    void await_hello() {
        protocol::FrameParser parser;
        auto deadline = Clock::now() + kBootTimeout;
        for (;;) {
            if (auto frame = parser.next()) {
                proto::Hello hello;
                if (frame->type != protocol::FrameType::kHello ||
                    !hello.ParseFromArray(frame->payload.data(), static_cast<int>(frame->payload.size())))
                    throw Error(ErrorKind::kEngine, "the appliance's agent did not greet as it should");
                if (hello.version() != protocol::kProtocolVersion) {
                    throw Error(ErrorKind::kEngine, "the appliance speaks version " +
                                                        std::to_string(hello.version()) +
                                                        " of the protocol and this program version " +
                                                        std::to_string(protocol::kProtocolVersion) +
                                                        "; install both from one release");
                }
                return;
            }
            auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
            parser.filled(channel_.read(parser.room(4096), std::max(left, 0ms)));
        }
    }

  private:
    VmmChild child_;
    KvmChannel channel_;
    bool verbose_;
    bool warm_ = false;
    uint64_t engine_ns_ = 0;
    uint64_t peak_rss_bytes_ = 0;
};

// Everything that is the same for each start under one set of options.
class Starter {
  public:
    explicit Starter(const EngineOptions& options)
        : options_(options),
          files_(open_appliance(options.appliance_directory)),
          vmm_program_(find_vmm_program()),
          kvm_(open_kvm()),
          memory_(options.memory_bytes ? options.memory_bytes : kDefaultMemory),
          slots_(slots_for(options.disks.size())),
          host_(host_identity()) {
        if (memory_ < kMinMemory || memory_ > kMaxMemory) {
            throw Error(ErrorKind::kUsage, "the appliance cannot have " + std::to_string(memory_ >> 20) +
                                               " MiB of memory; from " + std::to_string(kMinMemory >> 20) +
                                               " to " + std::to_string(kMaxMemory >> 20) + " are possible");
        }
        memory_ = (memory_ + kMemoryStep - 1) / kMemoryStep * kMemoryStep;
        try {
            cache_.emplace(Cache::directory(options.cache_directory));
        } catch (const Error& error) {
            log(LogLevel::kVerbose, std::string("no cache, so no warm start: ") + error.what());
        }
        software_ = software_kvm();
    }

    std::unique_ptr<KvmMachine> start() {
        if (options_.use_snapshot && cache_) {
            try {
                if (auto machine = start_warm()) return machine;
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::kCancelled) throw;
                log(LogLevel::kVerbose, std::string("no warm start: ") + error.what());
            }
        }
        return start_cold();
    }

    // True when a snapshot was made now. The caller checks that there is a cache.
    bool make_snapshot_if_missing() {
        if (cache_->find_snapshot(key())) return false;
        Fd held = lock();
        if (cache_->find_snapshot(key())) return false;  // made by the one we waited for
        log(LogLevel::kVerbose, "making the appliance's snapshot (once for this host and version)");
        auto machine = boot(false);
        Cache::Draft draft(*cache_, key());
        int fds[] = {draft.state_fd(), draft.memory_fd()};
        machine->child().request("snapshot", fds, kSnapshotTimeout);
        draft.publish();
        return true;
    }

    bool has_cache() const { return cache_.has_value(); }
    std::string key() const {
        return std::string("libinspect " INSP_VERSION "\n") + "vmm " + file_identity(open_vmm().get()) +
               "\n" + files_.identity + "memory " + std::to_string(memory_) + "\nslots " +
               std::to_string(slots_) + "\nkvm " + (software_ ? "software" : "hardware") + "\n" + host_;
    }

    std::unique_ptr<KvmMachine> start_cold() {
        auto machine = boot(true);
        machine->child().request("attach", {}, kSetupTimeout);
        return machine;
    }

  private:
    // Snapshots are taken with one of few numbers of slots, so that few are made.
    static unsigned slots_for(size_t disks) {
        for (unsigned slots : {4u, 16u, kMaxDiskSlots})
            if (disks <= slots) return slots;
        throw Error(ErrorKind::kUsage, std::to_string(disks) + " disks at once; at most " +
                                           std::to_string(kMaxDiskSlots) + " are possible");
    }

    Fd lock() const { return cache_->lock_snapshot(key(), options_.interrupt_fd); }

    Fd open_vmm() const { return open_file(vmm_program_, O_RDONLY); }

    bool software_kvm() {
        std::string fact = "kvm-" + key_hash(host_);
        if (cache_) {
            if (auto known = cache_->read_fact(fact); known == "software" || known == "hardware")
                return known == "software";
        }
        bool software = probe_software_kvm(kvm_.get());
        if (cache_) {
            try {
                cache_->write_fact(fact, software ? "software" : "hardware");
            } catch (const Error& error) {
                log(LogLevel::kVerbose, error.what());
            }
        }
        return software;
    }

    VmmChild::Arguments common_arguments(bool with_disks) const {
        VmmChild::Arguments arguments;
        arguments.add_fd("kvm", kvm_.get());
        arguments.add_fd("root", files_.root.get());
        arguments.add("--memory=" + std::to_string(memory_));
        arguments.add("--slots=" + std::to_string(slots_));
        if (software_) arguments.add("--software-kvm");
        if (!with_disks) return arguments;
        for (const EngineDisk& disk : options_.disks) {
            std::string text =
                "--disk=block-size=" + std::to_string(disk.sector_size) + ",serial=" + disk.serial;
            for (int fd : disk.node_fds) arguments.inherit(fd);
            if (disk.overlay_memory_fd >= 0) {
                text += ",overlay=" + std::to_string(disk.overlay_memory_fd) + ":" +
                        std::to_string(disk.overlay_spill_fd);
                arguments.inherit(disk.overlay_memory_fd);
                arguments.inherit(disk.overlay_spill_fd);
            }
            if (disk.read_only) text += ",read-only";
            arguments.add(text + ",node=" + disk.node);
        }
        return arguments;
    }

    std::unique_ptr<KvmMachine> boot(bool with_disks) {
        VmmChild::Arguments arguments = common_arguments(with_disks);
        arguments.add_fd("kernel", files_.kernel.get());
        arguments.add_fd("initrd", files_.initrd.get());
        arguments.add("--cmdline=" + kernel_command_line(software_));
        auto machine = std::make_unique<KvmMachine>(vmm_program_, std::move(arguments), options_);
        machine->child().wait_ready(kSetupTimeout);
        machine->await_hello();
        return machine;
    }

    std::unique_ptr<KvmMachine> restore(const SnapshotFiles& snapshot) {
        VmmChild::Arguments arguments = common_arguments(true);
        arguments.add_fd("restore-state", snapshot.state.get());
        arguments.add_fd("restore-memory", snapshot.memory.get());
        auto machine = std::make_unique<KvmMachine>(vmm_program_, std::move(arguments), options_);
        machine->child().wait_ready(kSetupTimeout);
        machine->set_warm(true);
        return machine;
    }

    // nullptr when snapshots don't work here.
    std::unique_ptr<KvmMachine> start_warm() {
        for (int attempt = 0; attempt < 2; ++attempt) {
            std::string snapshot_key = key();
            auto snapshot = cache_->find_snapshot(snapshot_key);
            if (!snapshot) {
                make_snapshot_if_missing();
                snapshot = cache_->find_snapshot(snapshot_key);
            }
            if (!snapshot) return nullptr;
            try {
                return restore(*snapshot);
            } catch (const SnapshotRejected& error) {
                log(LogLevel::kVerbose,
                    "the snapshot '" + snapshot->path + "' is of no use and is made again: " + error.what());
                Fd held = lock();
                cache_->remove_snapshot(snapshot_key);
            }
        }
        return nullptr;
    }

    const EngineOptions& options_;
    ApplianceFiles files_;
    std::string vmm_program_;
    Fd kvm_;
    uint64_t memory_;
    unsigned slots_;
    std::string host_;
    std::optional<Cache> cache_;
    bool software_ = false;
};

}  // namespace

std::unique_ptr<Machine> start_machine(const EngineOptions& options) {
    auto begin = Clock::now();
    auto machine = Starter(options).start();
    machine->set_engine_ns(static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count()));
    return machine;
}

bool make_snapshot(const EngineOptions& options) {
    Starter starter(options);
    if (!starter.has_cache()) Cache cache(Cache::directory(options.cache_directory));  // throws the reason
    return starter.make_snapshot_if_missing();
}

std::string snapshot_key(const EngineOptions& options) { return Starter(options).key(); }

}  // namespace inspect
