// SPDX-License-Identifier: GPL-2.0-or-later
#include "release_files.h"

#include <algorithm>
#include <cstdio>

namespace inspect::agent {

namespace {

struct Spelling {
    std::string_view id;
    std::string_view distro;
};
// Os-release's ID where libguestfs spells it otherwise.
constexpr Spelling kSpellings[] = {
    {"arch", "archlinux"},
    {"kali", "kalilinux"},
    {"void", "voidlinux"},
    {"ol", "oraclelinux"},
    {"opensuse-leap", "opensuse"},
    {"opensuse-tumbleweed", "opensuse"},
    {"opensuse-microos", "opensuse"},
    {"openEuler", "openeuler"},
    {"sles_sap", "sles"},
    {"amzn", "amazonlinux"},
};

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view first_line(std::string_view text) {
    text = text.substr(0, text.find('\n'));
    while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
    return text;
}

// A shell word: quotes and backslashes resolved, up to the first blank outside of quotes.
std::string unquote(std::string_view text) {
    std::string out;
    char quote = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
            out += text[++i];
        } else if (quote) {
            if (c == quote) {
                quote = 0;
            } else {
                out += c;
            }
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            break;
        } else {
            out += c;
        }
    }
    return out;
}

bool is_one_of(std::string_view distro, std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), distro) != names.end();
}

}  // namespace

std::map<std::string, std::string> parse_assignments(std::string_view text) {
    std::map<std::string, std::string> result;
    for (size_t at = 0; at < text.size();) {
        size_t end = std::min(text.find('\n', at), text.size());
        std::string_view line = text.substr(at, end - at);
        at = end + 1;
        while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
        size_t equals = line.find('=');
        if (line.empty() || line.front() == '#' || equals == line.npos) continue;
        result[std::string(line.substr(0, equals))] = unquote(line.substr(equals + 1));
    }
    return result;
}

void parse_version(std::string_view text, int& major, int& minor) {
    size_t at = 0;
    auto number = [&] {
        int value = 0;
        for (size_t digits = 0; at < text.size() && is_digit(text[at]); ++at, ++digits) {
            if (digits < 9) value = value * 10 + (text[at] - '0');
        }
        return value;
    };
    major = number();
    minor = 0;
    if (at > 0 && at < text.size() && text[at] == '.') {
        ++at;
        minor = number();
    }
}

Release parse_os_release(std::string_view text) {
    std::map<std::string, std::string> values = parse_assignments(text);
    Release release;
    release.distro = lower(values["ID"]);
    for (const Spelling& known : kSpellings) {
        if (lower(known.id) == release.distro) {
            release.distro = known.distro;
            break;
        }
    }
    release.product_name = values["PRETTY_NAME"].empty() ? values["NAME"] : values["PRETTY_NAME"];
    release.variant = values["VARIANT_ID"];
    release.version_id = values["VERSION_ID"];
    release.build_id = values["BUILD_ID"];
    parse_version(release.version_id, release.major, release.minor);
    return release;
}

Release parse_lsb_release(std::string_view text) {
    std::map<std::string, std::string> values = parse_assignments(text);
    Release release;
    release.distro = lower(values["DISTRIB_ID"]);
    release.product_name = values["DISTRIB_DESCRIPTION"];
    release.version_id = values["DISTRIB_RELEASE"];
    parse_version(release.version_id, release.major, release.minor);
    return release;
}

Release parse_redhat_release(std::string_view text) {
    static constexpr Spelling kNames[] = {
        {"Fedora", "fedora"},        {"Red Hat Enterprise Linux", "rhel"},
        {"CentOS", "centos"},        {"Rocky", "rocky"},
        {"AlmaLinux", "almalinux"},  {"Scientific Linux", "scientificlinux"},
        {"Oracle", "oraclelinux"},   {"Mageia", "mageia"},
        {"Red Hat", "redhat-based"},
    };
    Release release;
    std::string_view line = first_line(text);
    release.product_name = line;
    for (const Spelling& known : kNames) {
        if (!line.starts_with(known.id)) continue;
        release.distro = known.distro;
        break;
    }
    size_t at = line.find("release ");
    if (at != line.npos) {
        std::string_view version = line.substr(at + 8);
        version = version.substr(0, version.find(' '));
        release.version_id = version;
        parse_version(version, release.major, release.minor);
    }
    return release;
}

Release parse_debian_version(std::string_view text) {
    Release release;
    release.distro = "debian";
    release.product_name = "Debian GNU/Linux " + std::string(first_line(text));
    if (!text.empty() && is_digit(text[0])) release.version_id = first_line(text);
    parse_version(release.version_id, release.major, release.minor);
    return release;
}

std::string osinfo_id(const Release& release) {
    const std::string& distro = release.distro;
    char text[64];
    std::string major = std::to_string(release.major);
    std::string minor = std::to_string(release.minor);
    if (distro == "archlinux") return distro;
    if (distro.empty() || release.major == 0) return {};
    if (is_one_of(distro, {"debian", "fedora", "mageia", "rocky", "almalinux"})) return distro + major;
    if (distro == "centos") {
        if (release.major >= 8) return distro + major;
        return release.major == 7 ? "centos7.0" : distro + major + "." + minor;
    }
    if (distro == "ubuntu") {
        std::snprintf(text, sizeof text, "ubuntu%d.%02d", release.major, release.minor);
        return text;
    }
    if (distro == "sles" || distro == "sled") return distro + major + (release.minor ? "sp" + minor : "");
    return distro + major + "." + minor;
}

Packaging packaging(const Release& release) {
    const std::string& distro = release.distro;
    if (is_one_of(distro, {"debian", "ubuntu", "linuxmint", "kalilinux", "raspbian", "pop", "devuan"}))
        return {"deb", "apt"};
    if (distro == "fedora") return {"rpm", release.major >= 22 ? "dnf" : "yum"};
    if (is_one_of(distro, {"rhel", "centos", "rocky", "almalinux", "oraclelinux", "scientificlinux",
                           "openeuler", "redhat-based"}))
        return {"rpm", release.major >= 8 ? "dnf" : "yum"};
    if (distro == "amazonlinux") return {"rpm", release.major >= 2022 ? "dnf" : "yum"};
    if (is_one_of(distro, {"opensuse", "sles", "sled"})) return {"rpm", "zypper"};
    if (distro == "mageia") return {"rpm", "urpmi"};
    if (distro == "altlinux") return {"rpm", "apt"};
    if (is_one_of(distro, {"archlinux", "manjaro", "frugalware"})) return {"pacman", "pacman"};
    if (distro == "alpine") return {"apk", "apk"};
    if (distro == "gentoo") return {"ebuild", "portage"};
    if (distro == "voidlinux") return {"xbps", "xbps"};
    if (distro == "slackware") return {"pkgtool", "slackpkg"};
    return {};
}

std::string architecture_of(std::string_view start) {
    constexpr size_t kClass = 4, kData = 5, kMachine = 18;
    if (start.size() < kMachine + 2 || !start.starts_with("\x7f"
                                                          "ELF"))
        return {};
    const bool wide = start[kClass] == 2;
    const bool little = start[kData] == 1;
    auto byte = [&](size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(start[i])); };
    switch (little ? byte(kMachine) | byte(kMachine + 1) << 8 : byte(kMachine) << 8 | byte(kMachine + 1)) {
        case 62:
            return "x86_64";
        case 3:
            return "i386";
        case 183:
            return "aarch64";
        case 40:
            return "arm";
        case 20:
            return "ppc";
        case 21:
            return little ? "ppc64le" : "ppc64";
        case 22:
            return wide ? "s390x" : "s390";
        case 243:
            return wide ? "riscv64" : "riscv32";
        case 258:
            return wide ? "loongarch64" : "loongarch32";
        case 8:
            return std::string(wide ? "mips64" : "mips") + (little ? "el" : "");
        case 43:
            return "sparc64";
        case 2:
        case 18:
            return "sparc";
        case 50:
            return "ia64";
        default:
            return {};
    }
}

}  // namespace inspect::agent
