// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/vmm_arguments.h"

#include <bit>
#include <charconv>
#include <limits>
#include <string_view>

#include <inspect/error.h>

namespace inspect {

namespace {

[[noreturn]] void reject(std::string_view argument) {
    throw Error(ErrorKind::kUsage, "insp-vmm does not understand '" + std::string(argument) + "'");
}

uint64_t number(std::string_view text, uint64_t max, std::string_view argument) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value > max) reject(argument);
    return value;
}

int descriptor(std::string_view text, std::string_view argument) {
    return static_cast<int>(number(text, std::numeric_limits<int>::max(), argument));
}

// "NAME=VALUE" or "NAME" (with an empty value), split.
std::pair<std::string_view, std::string_view> split(std::string_view text, char separator) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) return {text, {}};
    return {text.substr(0, at), text.substr(at + 1)};
}

VmmArguments::Disk parse_disk(std::string_view text, std::string_view argument) {
    VmmArguments::Disk disk;
    // The node is the last, because it has commas of its own.
    const size_t node = text.find("node=");
    if (node == std::string_view::npos) reject(argument);
    disk.node = DiskNode::parse(text.substr(node + std::string_view("node=").size()));
    text = text.substr(0, node);
    while (!text.empty()) {
        auto [part, rest] = split(text, ',');
        text = rest;
        auto [key, value] = split(part, '=');
        if (key == "overlay") {
            auto [memory, spill] = split(value, ':');
            disk.overlay_memory = descriptor(memory, argument);
            disk.overlay_spill = descriptor(spill, argument);
        } else if (key == "nbd") {
            disk.nbd = descriptor(value, argument);
        } else if (key == "block-size") {
            disk.block_size = static_cast<uint32_t>(number(value, 4096, argument));
        } else if (key == "size") {
            disk.size = number(value, uint64_t{1} << 60, argument);
        } else if (key == "serial") {
            disk.serial = value;
        } else if (key == "read-only" && value.empty()) {
            disk.read_only = true;
        } else {
            reject(argument);
        }
    }
    return disk;
}

// Throws Error(kUsage) unless it is a whole virtual machine, or disks to serve.
void require_sense(const VmmArguments& arguments) {
    if (arguments.control < 0 || arguments.status < 0)
        throw Error(ErrorKind::kUsage, "insp-vmm needs --control and --status");
    const bool alone = arguments.serves_disks();
    for (const VmmArguments::Disk& disk : arguments.disks) {
        if (std::has_single_bit(disk.block_size) && disk.block_size >= 512 && (disk.nbd >= 0) == alone)
            continue;
        throw Error(
            ErrorKind::kUsage,
            "insp-vmm needs disks of a block size from 512, with nbd= where there is no virtual machine");
    }
    const bool boots = arguments.kernel >= 0, restores = arguments.restore_state >= 0;
    if (alone) {
        if (arguments.disks.empty() || boots || restores || arguments.channel >= 0)
            throw Error(ErrorKind::kUsage, "insp-vmm needs --kvm, or disks alone");
        return;
    }
    if (arguments.channel < 0) throw Error(ErrorKind::kUsage, "insp-vmm needs --kvm and --channel");
    if (boots == restores || restores != (arguments.restore_memory >= 0))
        throw Error(ErrorKind::kUsage, "insp-vmm needs a kernel, or the two files of a snapshot");
}

}  // namespace

std::vector<int> VmmArguments::descriptors() const {
    std::vector<int> all = {kvm,    channel, control,       status,        root,
                            kernel, initrd,  restore_state, restore_memory};
    for (const Disk& disk : disks) {
        const std::vector<int> below = disk.node.descriptors();
        all.insert(all.end(), below.begin(), below.end());
        all.insert(all.end(), {disk.overlay_memory, disk.overlay_spill, disk.nbd});
    }
    std::erase_if(all, [](int fd) { return fd < 0; });
    return all;
}

VmmArguments parse_vmm_arguments(int argc, char** argv) {
    VmmArguments result;
    const std::pair<std::string_view, int*> descriptors[] = {
        {"--kvm", &result.kvm},
        {"--channel", &result.channel},
        {"--control", &result.control},
        {"--status", &result.status},
        {"--root", &result.root},
        {"--kernel", &result.kernel},
        {"--initrd", &result.initrd},
        {"--restore-state", &result.restore_state},
        {"--restore-memory", &result.restore_memory},
    };
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        auto [name, value] = split(argument, '=');
        bool found = false;
        for (auto [option, target] : descriptors) {
            if (name != option) continue;
            *target = descriptor(value, argument);
            found = true;
        }
        if (found) continue;
        if (name == "--memory") {
            result.memory_bytes = number(value, std::numeric_limits<uint64_t>::max(), argument);
        } else if (name == "--slots") {
            result.slots = static_cast<unsigned>(number(value, 1000, argument));
        } else if (name == "--cmdline") {
            result.command_line = value;
        } else if (name == "--disk") {
            result.disks.push_back(parse_disk(value, argument));
        } else if (argument == "--software-kvm") {
            result.software_kvm = true;
        } else if (argument == "--no-sandbox") {
            result.sandbox = false;
        } else {
            reject(argument);
        }
    }
    require_sense(result);
    return result;
}

}  // namespace inspect
