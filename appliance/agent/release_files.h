// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a guest's release files say: os-release(5), and those of systems that are older than it. Texts in,
// facts out.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace inspect::agent {

struct Release {
    std::string distro;  // as libguestfs spells it: "debian", "rhel", "archlinux"...
    std::string product_name;
    std::string variant;
    std::string version_id;
    std::string build_id;
    int major = 0;
    int minor = 0;
};

// NAME=value lines of a shell, unquoted: os-release, lsb-release, /etc/sysconfig/network.
std::map<std::string, std::string> parse_assignments(std::string_view text);

Release parse_os_release(std::string_view text);
Release parse_lsb_release(std::string_view text);
Release parse_redhat_release(std::string_view text);
// "12.5", "trixie/sid"
Release parse_debian_version(std::string_view text);

// "12" -> 12 0, "22.04" -> 22 4; what is no number is 0.
void parse_version(std::string_view text, int& major, int& minor);

// As libosinfo and libguestfs's inspect_osinfo spell it: "debian12", "ubuntu22.04", "rhel9.2"; empty when
// unknown.
std::string osinfo_id(const Release& release);
struct Packaging {
    std::string format;
    std::string management;
};
Packaging packaging(const Release& release);

// What processor a program is for, by the start of its file: "x86_64"; empty when it is no ELF program that
// is known. 20 bytes are enough: e_ident's class and byte order, then e_machine (System V ABI, "ELF Header").
// Spelt as libguestfs does.
std::string architecture_of(std::string_view start);

}  // namespace inspect::agent
