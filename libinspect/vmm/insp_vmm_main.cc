// SPDX-License-Identifier: LGPL-2.1-or-later
//
// insp-vmm: the process that holds one virtual machine, or only the disks of one. Started by an engine, with
// descriptors, never by hand; its contract is engine/vmm_process.h. The order of things here is that of its
// time, which a warm start spends many times more often than a boot: descriptors and namespaces first, while
// there is one thread, then the VM, then the second thread, then the system call filter, then the guest.
#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <thread>

#include "vmm/disk_server.h"
#include "vmm/gate.h"
#include "vmm/io_thread.h"
#include "vmm/sandbox.h"
#include "vmm/vm.h"
#include "vmm/vmm_arguments.h"

namespace inspect {

namespace {

enum ExitStatus { kExitOk = 0, kExitError = 1, kExitUsage = 2 };

// More than the descriptors that arrive with a request and those of the VM itself.
constexpr unsigned kDescriptorRoom = 16;

Vm::Options vm_options(const VmmArguments& arguments) {
    Vm::Options options;
    options.kvm = arguments.kvm;
    options.channel = arguments.channel;
    options.memory_bytes = arguments.memory_bytes;
    options.slots = arguments.slots;
    options.root = arguments.root;
    options.software_kvm = arguments.software_kvm;
    options.kernel = arguments.kernel;
    options.initrd = arguments.initrd;
    options.command_line = arguments.command_line;
    options.restore_state = arguments.restore_state;
    options.restore_memory = arguments.restore_memory;
    for (const VmmArguments::Disk& disk : arguments.disks) {
        options.disks.push_back({open_disk(disk), {disk.block_size, disk.read_only, disk.serial}});
    }
    return options;
}

Mapping map_status(int fd) {
    struct stat st;
    if (::fstat(fd, &st) != 0 || static_cast<uint64_t>(st.st_size) < sizeof(VmmStatus))
        throw Error(ErrorKind::kUsage, "the status page is too small");
    return Mapping::shared(fd, sizeof(VmmStatus), "the status page");
}

void enter_sandbox(const VmmArguments& arguments) {
    const auto keep = arguments.descriptors();
    close_all_but(keep);
    // Disks duplicate theirs.
    const auto highest = static_cast<size_t>(std::max(2, *std::ranges::max_element(keep)));
    leave_namespaces(static_cast<unsigned>(highest + keep.size()) + kDescriptorRoom);
}

// How a failure before the guest runs is told: as a packet, in the status page and by the exit status.
int fail(const VmmArguments& arguments, VmmStatus& status, const std::string& packet, const char* what) {
    std::strncpy(status.message, what, sizeof status.message - 1);
    status.end.store(VmmEnd::kHostError, std::memory_order_release);
    send_packet(arguments.control, packet + what);
    return kExitError;
}

int run(const VmmArguments& arguments, VmmStatus& status, std::chrono::steady_clock::time_point start) {
    if (arguments.sandbox) enter_sandbox(arguments);
    Vm vm(vm_options(arguments), status);

    IoOutcome outcome;
    // The thread must be under way before the filter is set, which has no room for how a thread begins.
    Gate begun, go;
    std::thread io([&] {
        begun.open();
        go.wait();
        outcome = run_io(vm, arguments.channel, arguments.control);
    });
    begun.wait();
    try {
        if (arguments.sandbox) lock_down();
    } catch (const Error&) {
        vm.stop();
        go.open();
        io.join();
        throw;
    }
    send_packet(arguments.control, "ready");
    go.open();

    vm.run(start);
    vm.stop();
    io.join();
    std::string answer = "ok";
    try {
        vm.close_disks();
    } catch (const std::exception& error) {
        answer = std::string("error ") + error.what();
    }
    if (outcome.stop_requested) send_packet(arguments.control, answer);
    const bool good = status.end.load() == VmmEnd::kStopped && answer == "ok";
    // The kernel frees all faster than destructors would, and the engine need not wait for it.
    std::_Exit(good ? kExitOk : kExitError);
}

// The engine's next request; nullopt when it is gone.
std::optional<std::string> receive_request(int control) {
    char text[256];
    ssize_t n;
    do {
        n = ::recv(control, text, sizeof text, 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) return std::nullopt;
    return std::string(text, static_cast<size_t>(n));
}

// Without a virtual machine: until the engine says "stop", or is gone.
int run_disks(const VmmArguments& arguments, VmmStatus& status) {
    if (arguments.sandbox) enter_sandbox(arguments);
    DiskServer disks(arguments.disks, status);
    if (arguments.sandbox) lock_down();
    send_packet(arguments.control, "ready");
    disks.serve();

    while (auto request = receive_request(arguments.control)) {
        if (*request == "stop") break;
        send_packet(arguments.control, "error unknown request");
    }
    std::string answer = "ok";
    try {
        disks.stop();
    } catch (const std::exception& error) {
        answer = std::string("error ") + error.what();
    }
    status.end.store(VmmEnd::kStopped, std::memory_order_release);
    send_packet(arguments.control, answer);
    std::_Exit(answer == "ok" ? kExitOk : kExitError);
}

int main_checked(int argc, char** argv) {
    const auto start = std::chrono::steady_clock::now();
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);  // an overlay that may not grow is an I/O error to the guest
    ::mallopt(M_ARENA_MAX, 1);   // a second thread that allocates next to nothing needs no arena of its own
    const VmmArguments arguments = parse_vmm_arguments(argc, argv);
    Mapping page = map_status(arguments.status);
    auto& status = *reinterpret_cast<VmmStatus*>(page.data());
    status.version.store(VmmStatus::kVersion);
    try {
        return arguments.serves_disks() ? run_disks(arguments, status) : run(arguments, status, start);
    } catch (const BadSnapshot& error) {
        return fail(arguments, status, "error snapshot: ", error.what());
    } catch (const std::exception& error) {
        return fail(arguments, status, "error ", error.what());
    }
}

}  // namespace

}  // namespace inspect

int main(int argc, char** argv) {
    try {
        return inspect::main_checked(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "insp-vmm: %s\n", error.what());
        return inspect::kExitUsage;
    }
}
