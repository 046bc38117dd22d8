// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The engine "kvm": appliances in our own VMM, restored from a warm snapshot wherever that is possible.
#include "engine/kvm_engine.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include <inspect/error.h>

#include "base/log.h"
#include "engine/agent_hello.h"
#include "engine/appliance_files.h"
#include "engine/cache.h"
#include "engine/engine.h"
#include "engine/host.h"
#include "engine/kernel_command_line.h"
#include "engine/socket_channel.h"
#include "engine/vmm_child.h"

namespace inspect {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kSetupTimeout = 20s;  // of the VMM's process: milliseconds, unless the machine is on its knees
constexpr auto kBootTimeout = 120s;  // ten times what the slowest host needs
constexpr auto kSnapshotTimeout = 60s;
constexpr auto kStopTimeout = 60s;  // flushing the disks

class KvmMachine : public Machine {
  public:
    KvmMachine(const std::string& program, VmmChild::Arguments arguments, const EngineOptions& options)
        : child_(program, std::move(arguments)),
          channel_(child_.channel_fd(), options.interrupt_fd,
                   [this](const std::string& what, bool gone) {
                       if (gone) child_.wait_exit(1s);  // so that its status page is final
                       return child_.failure(what);
                   }),
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
        stats.engine = "kvm";
        stats.warm = warm_;
        stats.engine_ns = engine_ns_;
        return stats;
    }

    VmmChild& child() { return child_; }
    void set_warm(bool warm) { warm_ = warm; }
    void set_engine_ns(uint64_t ns) { engine_ns_ = ns; }

  private:
    VmmChild child_;
    SocketChannel channel_;
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
          memory_(appliance_memory(options)),
          slots_(slots_for(options.disks.size())),
          host_(host_identity()) {
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
        for (const EngineDisk& disk : options_.disks) arguments.add_disk(disk);
        return arguments;
    }

    std::unique_ptr<KvmMachine> boot(bool with_disks) {
        VmmChild::Arguments arguments = common_arguments(with_disks);
        arguments.add_fd("kernel", files_.kernel.get());
        arguments.add_fd("initrd", files_.initrd.get());
        arguments.add("--cmdline=" + kernel_command_line(software_));
        auto machine = std::make_unique<KvmMachine>(vmm_program_, std::move(arguments), options_);
        machine->child().wait_ready(kSetupTimeout);
        await_hello(machine->channel(), kBootTimeout);
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

uint64_t appliance_memory(const EngineOptions& options) {
    const uint64_t memory = options.memory_bytes ? options.memory_bytes : kDefaultMemory;
    if (memory < kMinMemory || memory > kMaxMemory) {
        throw Error(ErrorKind::kUsage, "the appliance cannot have " + std::to_string(memory >> 20) +
                                           " MiB of memory; from " + std::to_string(kMinMemory >> 20) +
                                           " to " + std::to_string(kMaxMemory >> 20) + " are possible");
    }
    return (memory + kMemoryStep - 1) / kMemoryStep * kMemoryStep;
}

std::unique_ptr<Machine> start_kvm_machine(const EngineOptions& options) {
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
