// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/qemu_arguments.h"

#include "engine/vmm_process.h"

namespace inspect {

namespace {

// A file that QEMU has open by inheritance. (It has an option for such, but not for all of these.)
std::string inherited(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

std::string port(uint16_t number) { return std::to_string(number); }

std::string on_off(bool on) { return on ? "on" : "off"; }

}  // namespace

std::vector<int> qemu_descriptors(const QemuMachineOptions& options) {
    std::vector<int> all = {options.kernel, options.initrd, options.root, options.channel};
    for (const QemuDisk& disk : options.disks) all.push_back(disk.nbd);
    return all;
}

std::vector<std::string> qemu_arguments(const QemuMachineOptions& options) {
    std::vector<std::string> arguments = {
        options.program,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        // A guest that took over QEMU could not start programs or raise its rights. No reboot: it ends.
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-no-reboot",
        // The interrupt controller and timer that a kernel without ACPI knows; no serial port, no clock.
        "-machine",
        "microvm,acpi=off,pic=on,pit=on,rtc=off,isa-serial=off,auto-kernel-cmdline=on,usb=off,pcie=off",
        "-accel",
        options.accelerator,
        "-m",
        std::to_string(options.memory_bytes >> 20),
        "-kernel",
        inherited(options.kernel),
        "-initrd",
        inherited(options.initrd),
        "-append",
        options.kernel_command_line,
        // Virtio 1.0: without it there is no discard.
        "-global",
        "virtio-mmio.force-legacy=false",
        // The ports of the kernel's insp_console.
        "-chardev",
        "stdio,id=console,signal=off",
        "-device",
        "isa-debugcon,chardev=console,iobase=" + port(kConsolePort),
        "-device",
        "isa-debug-exit,iosize=1,iobase=" + port(kEventPort),
        "-chardev",
        "socket,id=channel,fd=" + std::to_string(options.channel),
        "-device",
        "virtio-serial-device,max_ports=2",
        "-device",
        "virtserialport,chardev=channel,name=insp",
        "-blockdev",
        "driver=file,node-name=root,read-only=on,locking=off,filename=" + inherited(options.root),
        "-device",
        "virtio-blk-device,drive=root,serial=insp-root",
    };
    for (size_t i = 0; i < options.disks.size(); ++i) {
        const QemuDisk& disk = options.disks[i];
        const std::string name = "disk" + std::to_string(i), sector = std::to_string(disk.sector_size);
        arguments.insert(arguments.end(),
                         {"-blockdev",
                          "driver=nbd,node-name=" + name + ",server.type=fd,server.str=" +
                              std::to_string(disk.nbd) + ",discard=unmap,read-only=" + on_off(disk.read_only),
                          // The agent finds the disk of a slot by its serial number.
                          "-device",
                          "virtio-blk-device,drive=" + name + ",serial=insp-" + name +
                              ",logical_block_size=" + sector + ",physical_block_size=" + sector});
    }
    return arguments;
}

}  // namespace inspect
