// SPDX-License-Identifier: GPL-2.0-or-later
#include "inspection.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "failure.h"
#include "log.h"
#include "os_tree.h"
#include "release_files.h"

namespace inspect::agent {

namespace {

// Beside the session's own tree.
constexpr char kInspected[] = "/run/inspected";

bool exists(const GuestTree& tree, std::string_view path) {
    return static_cast<bool>(tree.try_open(path, O_PATH));
}

Release read_release(const GuestTree& tree) {
    Release release;
    for (const char* path : {"etc/os-release", "usr/lib/os-release"}) {
        std::string text = read_small_file(tree, path);
        if (text.empty()) continue;
        release = parse_os_release(text);
        break;
    }
    // Debian's and CentOS's os-release know the major version alone.
    bool coarse = release.minor == 0 && (release.distro == "debian" || release.distro == "centos");
    if (!release.distro.empty() && !coarse) return release;
    Release other;
    if (std::string text = read_small_file(tree, "etc/lsb-release");
        release.distro.empty() && text.find("DISTRIB_ID") != text.npos) {
        other = parse_lsb_release(text);
    } else if (text = read_small_file(tree, "etc/redhat-release"); !text.empty()) {
        other = parse_redhat_release(text);
    } else if (text = read_small_file(tree, "etc/debian_version"); !text.empty()) {
        other = parse_debian_version(text);
    } else if (text = read_small_file(tree, "etc/alpine-release"); !text.empty()) {
        other.distro = "alpine";
        other.version_id = text.substr(0, text.find('\n'));
        other.product_name = "Alpine Linux " + other.version_id;
        parse_version(other.version_id, other.major, other.minor);
    } else if (exists(tree, "etc/arch-release")) {
        other.distro = "archlinux";
        other.product_name = "Arch Linux";
    }
    if (release.distro.empty()) return other;
    if (other.distro == release.distro && other.major == release.major) release.minor = other.minor;
    return release;
}

std::string read_hostname(const GuestTree& tree) {
    for (const char* path : {"etc/hostname", "etc/HOSTNAME"}) {
        std::string text = read_small_file(tree, path, 4096);
        for (size_t at = 0; at < text.size();) {
            size_t end = std::min(text.find('\n', at), text.size());
            std::string line = text.substr(at, end - at);
            at = end + 1;
            line.erase(0, line.find_first_not_of(" \t"));
            line.resize(line.find_last_not_of(" \t\r") + 1);
            if (!line.empty() && line[0] != '#') return line;
        }
    }
    return parse_assignments(read_small_file(tree, "etc/sysconfig/network"))["HOSTNAME"];
}

std::string read_machine_id(const GuestTree& tree) {
    std::string text = read_small_file(tree, "etc/machine-id", 64);
    return text.substr(0, text.find_first_not_of("0123456789abcdefABCDEF"));
}

Packaging read_packaging(const GuestTree& tree, const Release& release) {
    Packaging known = packaging(release);
    if (!known.format.empty()) return known;
    if (exists(tree, "var/lib/dpkg/status")) return {"deb", "apt"};
    if (exists(tree, "var/lib/rpm") || exists(tree, "usr/lib/sysimage/rpm"))
        return {"rpm", exists(tree, "usr/bin/zypper") ? "zypper"
                       : exists(tree, "usr/bin/dnf")  ? "dnf"
                                                      : "yum"};
    if (exists(tree, "var/lib/pacman")) return {"pacman", "pacman"};
    if (exists(tree, "lib/apk/db")) return {"apk", "apk"};
    return {};
}

// By a program of the guest.
std::string read_architecture(const GuestTree& tree) {
    for (const char* path : {"bin/sh", "bin/bash", "usr/bin/env", "bin/ls", "sbin/init",
                             "lib/systemd/systemd", "usr/lib/systemd/systemd"}) {
        std::string architecture = architecture_of(read_small_file(tree, path, 20));
        if (!architecture.empty()) return architecture;
    }
    return {};
}

void describe(OsFinder& finder, const OsRoot& root, Disks& disks, proto::OperatingSystem& system) {
    system.set_root(root.volume->device);
    system.set_type("linux");
    bool root_listed = false;
    for (const OsMount& mount : finder.mount_tree(root)) {
        root_listed = root_listed || mount.entry.path == "/";
        if (!mount.volume) continue;
        proto::OperatingSystem::MountPoint& item = *system.add_mountpoints();
        item.set_path(mount.entry.path);
        item.set_device(mount.volume->device);
        item.set_options(mount.entry.options);
        item.set_type(disks.superblock(*mount.volume).type);
        item.set_spec(mount.entry.spec);
    }
    if (!root_listed) {
        proto::OperatingSystem::MountPoint& item = *system.add_mountpoints();
        item.set_path("/");
        item.set_device(root.volume->device);
        item.set_type(disks.superblock(*root.volume).type);
    }
    Release release = read_release(root.tree);
    system.set_distro(release.distro.empty() ? "unknown" : release.distro);
    system.set_product_name(release.product_name);
    system.set_product_variant(release.variant);
    system.set_major_version(release.major);
    system.set_minor_version(release.minor);
    system.set_version_id(release.version_id);
    system.set_build_id(release.build_id);
    system.set_osinfo_id(osinfo_id(release));
    system.set_hostname(read_hostname(root.tree));
    system.set_machine_id(read_machine_id(root.tree));
    Packaging packages = read_packaging(root.tree, release);
    system.set_package_format(packages.format);
    system.set_package_management(packages.management);
    system.set_architecture(read_architecture(root.tree));
}

}  // namespace

void inspect_systems(Disks& disks, Mounts& mounts, Connection& connection, proto::InspectResult& result) {
    if (::mkdir(kInspected, 0700) < 0 && errno != EEXIST) fail_errno("cannot create", kInspected);
    size_t before = mounts.count();
    try {
        OsFinder finder(disks, mounts, kInspected, true);
        std::vector<OsRoot> roots = finder.find();
        for (const std::string& warning : finder.warnings()) {
            // The tables' own are in the list of the file systems already.
            bool known = false;
            for (const std::string& other : result.filesystems().warnings())
                known = known || other == warning;
            if (!known) result.mutable_filesystems()->add_warnings(warning);
        }
        for (const OsRoot& root : roots) {
            connection.check_cancelled();
            proto::OperatingSystem& system = *result.add_systems();
            finder.warnings().clear();
            describe(finder, root, disks, system);
            for (const std::string& warning : finder.warnings()) system.add_warnings(warning);
        }
    } catch (...) {
        mounts.unmount_to(before);
        throw;
    }
    mounts.unmount_to(before);
}

}  // namespace inspect::agent
