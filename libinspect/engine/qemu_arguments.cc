// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/qemu_arguments.h"

#include "engine/vmm_process.h"

namespace inspect {

namespace {

// A file that QEMU has open by inheritance. (It has an option for such, but not for all of these.)
std::string inherited(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

// microvm's virtio-mmio devices, as they are without ACPI: eight.
constexpr unsigned kFirstDisk = 2;
constexpr unsigned kTransports = kFirstDisk + kMaxQemuDisks;
constexpr uint64_t kTransportBase = 0xfeb00000, kTransportSize = 0x200;
constexpr unsigned kFirstInterrupt = 5;

std::string bus(size_t transport) { return "bus=virtio-mmio-bus." + std::to_string(transport); }

// All of them, whether there is something behind them or not: after a restore there may be.
std::string transports_for_kernel() {
    std::string text;
    for (unsigned i = 0; i < kTransports; ++i) {
        text += " virtio_mmio.device=" + std::to_string(kTransportSize) + "@" +
                std::to_string(kTransportBase + i * kTransportSize) + ":" +
                std::to_string(kFirstInterrupt + i);
    }
    return text;
}

}  // namespace

std::vector<int> qemu_descriptors(const QemuMachineOptions& options) {
    std::vector<int> all = {options.kernel,  options.initrd,  options.root,
                            options.channel, options.monitor, options.memory_file};
    for (const QemuDisk& disk : options.disks) all.push_back(disk.nbd);
    std::erase_if(all, [](int fd) { return fd < 0; });
    return all;
}

std::vector<std::string> qemu_arguments(const QemuMachineOptions& options) {
    std::vector<std::string> arguments = {options.program, "-nodefaults", "-no-user-config", "-no-reboot"};
    auto add = [&](const char* option, std::string value) {
        arguments.emplace_back(option);
        arguments.push_back(std::move(value));
    };
    add("-display", "none");
    // A guest that took over QEMU could not start programs or raise its rights.
    add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    // The interrupt controller and the timer that a kernel without ACPI knows, and the clock: without it the
    // kernel waits for one, for a second.
    std::string machine = "microvm,acpi=off,pic=on,pit=on,rtc=on,isa-serial=off,auto-kernel-cmdline=off";
    const std::string memory = std::to_string(options.memory_bytes >> 20) + "M";
    if (options.memory_file >= 0) {
        machine += ",memory-backend=memory";
        add("-object", "memory-backend-file,id=memory,size=" + memory +
                           ",share=" + (options.makes_snapshot ? "on" : "off") +
                           ",mem-path=" + inherited(options.memory_file));
    }
    add("-machine", machine);
    add("-accel", options.accelerator);
    // Without "fast string operations": the kernel and the C library would copy byte by byte, and the
    // translator does a byte in about the time of a word. Nor does it have vectors of the host's: a SHA-256
    // for AVX2, as OpenSSL picks it where it can, takes three times as long as one of plain instructions.
    const bool emulated = options.accelerator == "tcg";
    add("-cpu", emulated ? "max,-erms,-fsrm,-avx,-avx2,-bmi1,-bmi2" : "max,-erms,-fsrm");
    add("-m", memory);
    if (!options.restores_snapshot) {  // else it runs already
        add("-kernel", inherited(options.kernel));
        add("-initrd", inherited(options.initrd));
        add("-append", options.kernel_command_line + transports_for_kernel());
    }
    // Virtio 1.0, as our own VMM has it.
    add("-global", "virtio-mmio.force-legacy=false");
    // The ports of the kernel's insp_console.
    add("-chardev", "stdio,id=console,signal=off");
    add("-device", "isa-debugcon,chardev=console,iobase=" + std::to_string(kConsolePort));
    add("-device", "isa-debug-exit,iosize=1,iobase=" + std::to_string(kEventPort));
    add("-chardev", "socket,id=channel,fd=" + std::to_string(options.channel));
    add("-device", "virtio-serial-device,max_ports=2," + bus(0));
    add("-device", "virtserialport,chardev=channel,name=insp");
    add("-blockdev",
        "driver=file,node-name=root,read-only=on,locking=off,filename=" + inherited(options.root));
    add("-device", "virtio-blk-device,drive=root,serial=insp-root," + bus(1));
    for (size_t i = 0; i < options.disks.size(); ++i) {
        const QemuDisk& disk = options.disks[i];
        const std::string name = "disk" + std::to_string(i), sector = std::to_string(disk.sector_size);
        add("-blockdev", "driver=nbd,node-name=" + name +
                             ",server.type=fd,server.str=" + std::to_string(disk.nbd) +
                             ",discard=unmap,read-only=" + (disk.read_only ? "on" : "off"));
        // The agent finds the disk of a slot by its serial number.
        add("-device", "virtio-blk-device,drive=" + name + ",serial=insp-" + name + ",logical_block_size=" +
                           sector + ",physical_block_size=" + sector + "," + bus(kFirstDisk + i));
    }
    if (options.monitor >= 0) {
        add("-chardev", "socket,id=monitor,fd=" + std::to_string(options.monitor));
        add("-mon", "chardev=monitor,mode=control");
    }
    if (options.restores_snapshot) add("-incoming", "defer");
    return arguments;
}

}  // namespace inspect
