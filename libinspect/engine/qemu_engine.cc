// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/qemu_engine.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>

#include <inspect/error.h>

#include "base/log.h"
#include "base/subprocess.h"
#include "engine/agent_hello.h"
#include "engine/appliance_files.h"
#include "engine/guest_console.h"
#include "engine/kernel_command_line.h"
#include "engine/kvm_engine.h"
#include "engine/qemu_arguments.h"
#include "engine/socket_channel.h"
#include "engine/vmm_child.h"

namespace inspect {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kSetupTimeout =
    20s;  // of the disks' process: milliseconds, unless the machine is on its knees
constexpr auto kBootTimeout = 120s;     // a hundred times what it takes on an idle machine
constexpr auto kStopTimeout = 60s;      // flushing the disks
constexpr size_t kConsoleShown = 4096;  // bytes of the kernel's log in an error: a panic with its call trace

// QEMU's isa-debug-exit makes this exit status of what the guest wrote to the port.
constexpr int exit_status_of(GuestEvent event) { return static_cast<int>(event) * 2 + 1; }

const char* environment(const char* name) {
    const char* value = ::secure_getenv(name);
    return value && *value ? value : nullptr;
}

std::string qemu_name() {
    const char* named = environment("INSP_QEMU");
    return named ? named : "qemu-system-x86_64";
}

std::string accelerator() {
    const char* named = environment("INSP_QEMU_ACCEL");
    const std::string name = named ? named : "tcg";
    if (name != "tcg" && name != "kvm")
        throw Error(ErrorKind::kUsage, "INSP_QEMU_ACCEL is 'tcg' or 'kvm', not '" + name + "'");
    return name;
}

class QemuMachine : public Machine {
  public:
    explicit QemuMachine(const EngineOptions& options) : verbose_(options.verbose) {
        const ApplianceFiles files = open_appliance(options.appliance_directory);
        QemuMachineOptions machine;
        machine.program = find_qemu();
        if (machine.program.empty()) {
            throw Error(ErrorKind::kNotFound, "the engine qemu needs the program '" + qemu_name() +
                                                  "', which is in Debian's package qemu-system-x86");
        }
        machine.accelerator = accelerator();
        machine.memory_bytes = appliance_memory(options);
        machine.kernel = files.kernel.get();
        machine.initrd = files.initrd.get();
        machine.root = files.root.get();
        machine.kernel_command_line = qemu_kernel_command_line(machine.accelerator == "tcg");
        auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
        socket_ = std::move(ours);
        machine.channel = theirs.get();
        const std::vector<Fd> exports = start_disks(options.disks, machine);
        // Both start at the same time: QEMU waits for its disks by itself.
        qemu_.emplace(SubprocessOptions{.arguments = qemu_arguments(machine),
                                        .inherited = qemu_descriptors(machine),
                                        .standard_output = console_.fd()});
        channel_.emplace(socket_.get(), options.interrupt_fd,
                         [this](const std::string& what, bool gone) { return failure(what, gone); });
    }

    ~QemuMachine() override {
        if (verbose_) log(LogLevel::kVerbose, "the appliance's kernel said:\n" + console_.tail(65536));
    }

    void await_agent() {
        if (disks_) disks_->wait_ready(kSetupTimeout);
        await_hello(*channel_, kBootTimeout);
    }

    Channel& channel() override { return *channel_; }
    std::string console_tail() const override { return console_.tail(8192); }

    void stop(bool wait) override {
        final_ = stats();
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
        stats.engine_ns = engine_ns_;
        stats.peak_rss_bytes = std::max(peak_rss_bytes(qemu_->pid()), final_.peak_rss_bytes);
        stats.channel_bytes_in = channel_->bytes_in();
        stats.channel_bytes_out = channel_->bytes_out();
        return stats;
    }

    void set_engine_ns(uint64_t ns) { engine_ns_ = ns; }

  private:
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
    std::optional<SocketChannel> channel_;
    SessionStats final_;
    uint64_t engine_ns_ = 0;
    bool verbose_;
};

}  // namespace

std::string find_qemu() { return find_program(qemu_name()); }

std::unique_ptr<Machine> start_qemu_machine(const EngineOptions& options) {
    const auto begin = Clock::now();
    auto machine = std::make_unique<QemuMachine>(options);
    machine->await_agent();
    machine->set_engine_ns(static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count()));
    return machine;
}

}  // namespace inspect
