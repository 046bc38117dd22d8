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
#include "engine/kernel_image.h"
#include "engine/socket_channel.h"
#include "engine/vmm_child.h"

namespace inspect {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kSnapshotTimeout = 60s;

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
        cache_ = open_cache(options.cache_directory);
        software_ = is_software_kvm(kvm_.get(), cache_ ? &*cache_ : nullptr);
    }

    std::unique_ptr<KvmMachine> start() {
        if (options_.use_snapshot && cache_) {
            try {
                auto machine = start_from_snapshot<KvmMachine>(
                    place(), [this](Cache::Draft& draft) { make_snapshot(draft); },
                    [this](const SnapshotFiles& snapshot) { return restore(snapshot); });
                if (machine) return machine;
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::kCancelled) throw;
                log(LogLevel::kVerbose, std::string("no warm start: ") + error.what());
            }
        }
        return start_cold();
    }

    // True when a snapshot was made now. The caller checks that there is a cache.
    bool make_snapshot_if_missing() {
        return inspect::make_snapshot_if_missing(place(),
                                                 [this](Cache::Draft& draft) { make_snapshot(draft); });
    }

    bool has_cache() const { return cache_.has_value(); }
    std::string key() const {
        return std::string("libinspect " INSP_VERSION "\nvmm ") + file_identity(open_vmm().get()) + "\n" +
               files_.identity + "memory " + std::to_string(memory_) + "\nslots " + std::to_string(slots_) +
               "\nkvm " + (software_ ? "software" : "hardware") + "\n" + host_;
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

    SnapshotPlace place() const { return {*cache_, key(), options_.interrupt_fd}; }

    void make_snapshot(Cache::Draft& draft) {
        auto machine = boot(false);
        int fds[] = {draft.state_fd(), draft.memory_fd()};
        machine->child().request("snapshot", fds, kSnapshotTimeout);
    }

    Fd open_vmm() const { return open_file(vmm_program_, O_RDONLY); }

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
        const Fd kernel = unpack_kernel(files_.kernel.get());
        arguments.add_fd("kernel", kernel.get());
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

bool make_kvm_snapshot(const EngineOptions& options) {
    Starter starter(options);
    if (!starter.has_cache()) Cache cache(Cache::directory(options.cache_directory));  // throws the reason
    return starter.make_snapshot_if_missing();
}

std::string kvm_snapshot_key(const EngineOptions& options) { return Starter(options).key(); }

}  // namespace inspect
