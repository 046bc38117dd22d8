// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/qemu_engine.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <optional>

#include <inspect/error.h>

#include "base/host_paths.h"
#include "base/log.h"
#include "base/subprocess.h"
#include "engine/agent_hello.h"
#include "engine/appliance_files.h"
#include "engine/cache.h"
#include "engine/guest_console.h"
#include "engine/kernel_command_line.h"
#include "engine/kernel_image.h"
#include "engine/kvm_engine.h"
#include "engine/qemu_arguments.h"
#include "engine/qmp.h"
#include "engine/socket_channel.h"
#include "engine/vmm_child.h"
#include "engine/warm_start.h"

namespace inspect {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// QEMU's isa-debug-exit makes this exit status of what the guest wrote to the port.
constexpr int exit_status_of(GuestEvent event) { return static_cast<int>(event) * 2 + 1; }

std::string qemu_name() {
    const std::string named = environment("INSP_QEMU");
    return named.empty() ? "qemu-system-x86_64" : named;
}

std::string requested_accelerator() {
    std::string name = environment("INSP_QEMU_ACCEL");
    if (name.empty()) name = "tcg";
    if (name != "tcg" && name != "kvm")
        throw Error(ErrorKind::kUsage, "INSP_QEMU_ACCEL is 'tcg' or 'kvm', not '" + name + "'");
    return name;
}

// How a machine begins.
enum class Start : uint8_t { kBoot, kBootForSnapshot, kRestore };

// Everything that is the same for each start under one set of options.
struct Setup {
    explicit Setup(const EngineOptions& engine_options)
        : options(engine_options),
          files(open_appliance(options.appliance_directory)),
          program(find_qemu()),
          accelerator(requested_accelerator()),
          memory_bytes(appliance_memory(options)) {
        if (program.empty()) {
            throw Error(ErrorKind::kNotFound, "the engine qemu needs the program '" + qemu_name() +
                                                  "', which is in Debian's package qemu-system-x86");
        }
    }
    // What a snapshot depends on. Not the host: the processor is emulated.
    std::string key() const {
        std::string text = "libinspect " INSP_VERSION "\nqemu " +
                           file_identity(open_file(program, O_RDONLY).get()) + "\n" + files.identity;
        for (const std::string& argument : qemu_arguments(machine())) text += argument + "\n";
        return text;
    }
    // Without descriptors.
    QemuMachineOptions machine() const {
        QemuMachineOptions machine;
        machine.program = program;
        machine.accelerator = accelerator;
        machine.memory_bytes = memory_bytes;
        machine.kernel_command_line = qemu_kernel_command_line(accelerator == "tcg");
        return machine;
    }
    // With KVM it would depend on the host, and a snapshot of our own VMM is the better way there.
    bool can_snapshot() const { return accelerator == "tcg"; }

    const EngineOptions& options;
    ApplianceFiles files;
    std::string program;
    std::string accelerator;
    uint64_t memory_bytes;
};

class QemuMachine : public Machine {
  public:
    // memory: a snapshot's file, to be made or to be restored; -1 for a plain boot.
    QemuMachine(const Setup& setup, Start start, int memory = -1)
        : verbose_(setup.options.verbose), warm_(start == Start::kRestore) {
        QemuMachineOptions machine = setup.machine();
        Fd kernel;
        if (start != Start::kRestore) {
            kernel = unpack_kernel(setup.files.kernel.get());
            machine.kernel = kernel.get();
            machine.initrd = setup.files.initrd.get();
        }
        machine.root = setup.files.root.get();
        machine.memory_file = memory;
        machine.makes_snapshot = start == Start::kBootForSnapshot;
        machine.restores_snapshot = start == Start::kRestore;
        auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
        socket_ = std::move(ours);
        machine.channel = theirs.get();
        Fd monitor;
        if (start != Start::kBoot) {
            auto [our_monitor, their_monitor] = make_socket_pair(SOCK_STREAM);
            monitor_.emplace(std::move(our_monitor), setup.options.interrupt_fd);
            monitor = std::move(their_monitor);
            machine.monitor = monitor.get();
        }
        std::vector<Fd> exports;
        if (start != Start::kBootForSnapshot) exports = start_disks(setup.options.disks, machine);
        // Both start at the same time: QEMU waits for its disks by itself.
        qemu_.emplace(SubprocessOptions{.arguments = qemu_arguments(machine),
                                        .inherited = qemu_descriptors(machine),
                                        .standard_output = console_.fd()});
        channel_.emplace(socket_.get(), setup.options.interrupt_fd,
                         [this](const std::string& what, bool gone) { return failure(what, gone); });
    }

    ~QemuMachine() override {
        if (verbose_) log(LogLevel::kVerbose, "the appliance's kernel said:\n" + console_.tail(65536));
    }

    void await_disks() {
        if (disks_) disks_->wait_ready(kSetupTimeout);
    }
    void await_agent() { await_hello(*channel_, kBootTimeout); }

    // After await_agent(): the machine's state goes into this file; the memory is in its own already. The
    // machine then stands still.
    void save(int state) {
        prepare_migration(state);
        monitor_->execute("migrate", R"({"uri":"fd:state"})");
        monitor_->await_event("MIGRATION", "completed");
    }

    // Throws SnapshotRejected.
    void restore(int state) {
        try {
            prepare_migration(state);
            monitor_->execute("migrate-incoming", R"({"uri":"fd:state"})");
            monitor_->await_event("RESUME");
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kEngine) throw;
            throw SnapshotRejected(failure(error.message(), true).message());
        }
    }

    Channel& channel() override { return *channel_; }
    std::string console_tail() const override { return console_.tail(8192); }

    void stop(bool wait) override {
        peak_rss_bytes_ = stats().peak_rss_bytes;
        qemu_->end(0ms);
        if (!disks_) return;
        disks_->request("stop", {}, kStopTimeout);
        if (wait && !disks_->wait_exit(kStopTimeout))
            throw disks_->failure("the disks' process did not end cleanly");
    }

    SessionStats stats() const override {
        SessionStats stats;
        if (disks_) stats = disks_->stats();
        stats.exits.clear();
        stats.engine = "qemu";
        stats.warm = warm_;
        stats.engine_ns = engine_ns_;
        // Once it has ended, its number may be another process's.
        stats.peak_rss_bytes = peak_rss_bytes_ ? peak_rss_bytes_ : peak_rss_bytes(qemu_->pid());
        stats.channel_bytes_in = channel_->bytes_in();
        stats.channel_bytes_out = channel_->bytes_out();
        return stats;
    }

    void set_engine_ns(uint64_t ns) { engine_ns_ = ns; }

  private:
    // To or from this file. Memory that is in a file is no part of the state.
    void prepare_migration(int state) {
        monitor_->execute("qmp_capabilities");
        monitor_->execute("migrate-set-capabilities",
                          R"({"capabilities":[{"capability":"x-ignore-shared","state":true},)"
                          R"({"capability":"events","state":true}]})");
        monitor_->give_fd("state", state);
    }

    // Starts the process that has the disks, where there are any. Gives QEMU's ends of its sockets.
    std::vector<Fd> start_disks(const std::vector<EngineDisk>& disks, QemuMachineOptions& machine) {
        if (disks.size() > kMaxQemuDisks) {
            throw Error(ErrorKind::kUsage, std::to_string(disks.size()) + " disks at once; at most " +
                                               std::to_string(kMaxQemuDisks) +
                                               " are possible with the engine qemu");
        }
        std::vector<Fd> servers, clients;
        VmmChild::Arguments arguments;
        for (const EngineDisk& disk : disks) {
            auto [server, client] = make_socket_pair(SOCK_STREAM);
            arguments.add_disk(disk, server.get());
            machine.disks.push_back({client.get(), disk.sector_size, disk.read_only});
            servers.push_back(std::move(server));
            clients.push_back(std::move(client));
        }
        if (!disks.empty()) disks_.emplace(find_vmm_program(), std::move(arguments), VmmChild::Holds::kDisks);
        return clients;
    }

    // What became of the appliance, as an error.
    Error failure(const std::string& what, bool gone) {
        std::string text = what;
        const std::optional<int> status = qemu_->wait(gone ? 2000ms : 0ms);
        if (status && WIFEXITED(*status) && WEXITSTATUS(*status) == exit_status_of(GuestEvent::kPanic)) {
            text = "the appliance's kernel panicked";
        } else if (status && WIFEXITED(*status) &&
                   (WEXITSTATUS(*status) == 0 ||
                    WEXITSTATUS(*status) == exit_status_of(GuestEvent::kRestart) ||
                    WEXITSTATUS(*status) == exit_status_of(GuestEvent::kHalt))) {
            text = "the appliance shut down unexpectedly";
        } else if (status) {
            text = "QEMU " + Subprocess::describe(*status);
        }
        if (const std::string errors = qemu_->errors(); !errors.empty()) text += ": " + errors;
        if (const std::string tail = console_.tail(kConsoleShown); !tail.empty())
            text += "; its kernel's last lines:\n" + tail;
        return Error(ErrorKind::kEngine, text);
    }

    // In this order: QEMU ends before the disks that it uses.
    GuestConsole console_;
    std::optional<VmmChild> disks_;
    Fd socket_;
    std::optional<Subprocess> qemu_;
    std::optional<Qmp> monitor_;
    std::optional<SocketChannel> channel_;
    uint64_t peak_rss_bytes_ = 0;  // kept when it is stopped
    uint64_t engine_ns_ = 0;
    bool verbose_;
    bool warm_;
};

std::unique_ptr<QemuMachine> boot(const Setup& setup) {
    auto machine = std::make_unique<QemuMachine>(setup, Start::kBoot);
    machine->await_disks();
    machine->await_agent();
    return machine;
}

void make_snapshot(const Setup& setup, Cache::Draft& draft) {
    if (::ftruncate(draft.memory_fd(), static_cast<off_t>(setup.memory_bytes)) != 0)
        throw Error::from_errno(ErrorKind::kEngine, "cannot make the file of a snapshot", errno);
    QemuMachine machine(setup, Start::kBootForSnapshot, draft.memory_fd());
    machine.await_agent();
    machine.save(draft.state_fd());
}

std::unique_ptr<QemuMachine> restore(const Setup& setup, const SnapshotFiles& snapshot) {
    struct stat memory;
    if (::fstat(snapshot.memory.get(), &memory) != 0 ||
        static_cast<uint64_t>(memory.st_size) != setup.memory_bytes)
        throw SnapshotRejected("the memory file has a wrong size");
    auto machine = std::make_unique<QemuMachine>(setup, Start::kRestore, snapshot.memory.get());
    machine->await_disks();
    machine->restore(snapshot.state.get());
    return machine;
}

std::unique_ptr<QemuMachine> start(const Setup& setup) {
    const EngineOptions& options = setup.options;
    if (!options.use_snapshot || !setup.can_snapshot()) return boot(setup);
    const auto cache = open_cache(options.cache_directory);
    if (!cache) return boot(setup);
    try {
        auto machine = start_from_snapshot<QemuMachine>(
            {*cache, setup.key(), options.interrupt_fd},
            [&](Cache::Draft& draft) { make_snapshot(setup, draft); },
            [&](const SnapshotFiles& snapshot) { return restore(setup, snapshot); });
        if (machine) return machine;
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::kCancelled || error.kind() == ErrorKind::kUsage) throw;
        log(LogLevel::kVerbose, std::string("no warm start: ") + error.what());
    }
    return boot(setup);
}

}  // namespace

std::string find_qemu() { return find_program(qemu_name()); }

std::unique_ptr<Machine> start_qemu_machine(const EngineOptions& options) {
    const auto begin = Clock::now();
    auto machine = start(Setup(options));
    machine->set_engine_ns(static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count()));
    return machine;
}

bool make_qemu_snapshot(const EngineOptions& options) {
    const Setup setup(options);
    if (!setup.can_snapshot())
        throw Error(ErrorKind::kUnsupported, "the engine qemu makes no snapshots with INSP_QEMU_ACCEL=kvm");
    const Cache cache(Cache::directory(options.cache_directory));
    return make_snapshot_if_missing({cache, setup.key(), options.interrupt_fd},
                                    [&](Cache::Draft& draft) { make_snapshot(setup, draft); });
}

std::string qemu_snapshot_key(const EngineOptions& options) { return Setup(options).key(); }

}  // namespace inspect
