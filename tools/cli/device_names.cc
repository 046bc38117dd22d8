// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/device_names.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "cli/appliance_script.h"

namespace inspect::cli {
namespace {

constexpr std::string_view kSubvolume = "btrfsvol:";

// "a1" of sda1: a disk's letters and perhaps a partition's number.
bool is_disk_and_partition(std::string_view text) {
    const size_t letters = std::min(text.find_first_not_of("abcdefghijklmnopqrstuvwxyz"), text.size());
    const std::string_view number = text.substr(letters);
    return letters > 0 && letters <= 3 && number.size() <= 3 && !number.starts_with('0') &&
           number.find_first_not_of("0123456789") == number.npos;
}

const FilesystemInfo* find_listed(const FilesystemReport& report, std::string_view device) {
    for (const FilesystemInfo& filesystem : report.filesystems)
        if (filesystem.device == device) return &filesystem;
    return nullptr;
}

// The device in an operand: of btrfsvol:DEVICE/PATH every beginning that may be it, the longest first.
std::vector<std::string> devices_in(std::string_view name) {
    if (!name.starts_with(kSubvolume)) return {usual_device_name(name)};
    name.remove_prefix(kSubvolume.size());
    std::vector<std::string> devices;
    for (size_t slash = name.rfind('/'); slash != name.npos && slash > 0; slash = name.rfind('/', slash - 1))
        if (slash + 1 < name.size()) devices.push_back(usual_device_name(name.substr(0, slash)));
    return devices;
}

}  // namespace

std::string usual_device_name(std::string_view name) {
    std::string_view rest = name;
    if (rest.starts_with("/dev/")) rest.remove_prefix(5);
    for (std::string_view prefix : {"sd", "vd", "hd", "xvd"}) {
        if (rest.starts_with(prefix) && is_disk_and_partition(rest.substr(prefix.size())))
            return "/dev/sd" + std::string(rest.substr(prefix.size()));
    }
    return std::string(name);
}

DeviceAliases device_aliases(Guest& guest, const FilesystemReport& report,
                             const std::vector<std::string>& names) {
    std::vector<std::string> unknown;
    for (const std::string& name : names) {
        if (find_device(report, name, {}) != nullptr) continue;
        for (std::string& device : devices_in(name))
            if (device.starts_with("/dev/")) unknown.push_back(std::move(device));
    }
    if (unknown.empty()) return {};
    Script look{.text = "for name; do readlink -f -- \"$name\" || echo; done", .bare_disks = false};
    look.arguments = unknown;
    for (const FilesystemInfo& filesystem : report.filesystems) look.arguments.push_back(filesystem.device);
    std::istringstream output(must_run_script(guest, look, "cannot look up the devices' names").output);
    std::vector<std::string> nodes(look.arguments.size());
    for (std::string& node : nodes) std::getline(output, node);
    DeviceAliases aliases;
    for (size_t i = 0; i < unknown.size(); ++i) {
        for (size_t j = 0; j < report.filesystems.size(); ++j) {
            if (!nodes[i].empty() && nodes[i] == nodes[unknown.size() + j])
                aliases.emplace(unknown[i], report.filesystems[j].device);
        }
    }
    return aliases;
}

const FilesystemInfo* find_device(const FilesystemReport& report, std::string_view name,
                                  const DeviceAliases& aliases) {
    const bool subvolume = name.starts_with(kSubvolume);
    for (const std::string& device : devices_in(name)) {
        const auto alias = aliases.find(device);
        const FilesystemInfo* found = find_listed(report, alias == aliases.end() ? device : alias->second);
        // The subvolume need not be listed: those of a file system that is damaged are not.
        if (found != nullptr) return !subvolume || found->type == "btrfs" ? found : nullptr;
    }
    return nullptr;
}

}  // namespace inspect::cli
