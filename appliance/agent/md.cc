// SPDX-License-Identifier: GPL-2.0-or-later
#include "md.h"

#include <fcntl.h>
#include <linux/major.h>
#include <linux/raid/md_u.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>

#include "base/fd.h"
#include "failure.h"
#include "log.h"
#include "sysfs.h"
#include "tool_text.h"

namespace inspect::agent {

namespace {

constexpr char kMdadm[] = "/usr/sbin/mdadm";

std::string attribute_path(const std::string& node, std::string_view name) {
    return "/sys/block/" + node.substr(node.rfind('/') + 1) + "/md/" + std::string(name);
}

std::string read_attribute(const std::string& node, std::string_view name) {
    return read_line(attribute_path(node, name));
}

// False, with errno: it can't be set.
bool write_attribute(const std::string& node, std::string_view name, std::string_view value) {
    Fd file(::open(attribute_path(node, name).c_str(), O_WRONLY | O_CLOEXEC));
    return file && ::write(file.get(), value.data(), value.size()) >= 0;
}

}  // namespace

ArrayMember parse_array_member(std::string_view text) {
    ArrayMember member;
    for_each_line(text, [&](std::string_view line) {
        size_t colon = line.find(" : ");
        if (colon == line.npos) return;
        const std::string_view key = without_blanks(line.substr(0, colon));
        std::string value(line.substr(colon + 3));
        // "host:0  (local to host x)", "1 (spare)"
        std::string word = value.substr(0, value.find(' '));
        if (key == "Array UUID" || key == "UUID") {
            member.uuid = word;
        } else if (key == "Name") {
            size_t host = word.find(':');
            member.name = host == word.npos ? word : word.substr(host + 1);
        } else if (key == "Preferred Minor") {
            std::from_chars(word.data(), word.data() + word.size(), member.minor);
        }
    });
    return member;
}

ArrayMember examine_member(Programs& programs, const std::string& node) {
    return parse_array_member(programs.run({kMdadm, "--examine", node}).output);
}

StartedArray start_array(Programs& programs, const std::string& node, const std::vector<std::string>& members,
                         bool writable) {
    std::vector<std::string> arguments = {kMdadm, "--assemble", "--config=none", "--run", node};
    arguments.insert(arguments.end(), members.begin(), members.end());
    ProgramResult result = programs.run(arguments);
    if (!result.child.succeeded()) {
        stop_array(node);  // it may be there, with members that are too few
        std::string reason = result.child.errors;
        for (char& c : reason) {
            if (c == '\n') c = ' ';
        }
        throw Failure(proto::CORRUPT, "the RAID can't be started: " + reason);
    }
    const std::string missing = read_attribute(node, "degraded");
    const bool degraded = !missing.empty() && missing != "0";
    if (degraded && writable) {
        if (!write_attribute(node, "array_state", "readonly")) {
            const int errnum = errno;
            stop_array(node);
            throw Failure(errno_kind(errnum),
                          "the RAID is degraded, and can't be protected from changes: " + errno_text(errnum),
                          errnum);
        }
        return {node, read_attribute(node, "level"), degraded};
    }
    // What the guest would resynchronise is the guest's to resynchronise. Only where there is something:
    // saying so ends the "auto-read-only".
    const std::string resync = read_attribute(node, "resync_start");
    if (!resync.empty() && resync != "none" && !write_attribute(node, "sync_action", "frozen"))
        note("cannot keep " + node + " from being resynchronised: " + errno_text(errno));
    return {node, read_attribute(node, "level"), degraded};
}

std::optional<std::string> stop_array(const std::string& node) {
    Fd device(::open(node.c_str(), O_RDONLY | O_CLOEXEC));
    if (!device) return std::nullopt;  // it never came to be
    if (::ioctl(device.get(), STOP_ARRAY, nullptr) == 0) return std::nullopt;
    if (errno == ENODEV || errno == ENXIO) return std::nullopt;
    return "cannot stop " + node + ": " + errno_text(errno);
}

}  // namespace inspect::agent
