// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/libvirt.h"

#include <sstream>

#include <inspect/error.h>

#include "base/subprocess.h"

namespace inspect {

namespace {

// A connection over ssh may take its time.
constexpr std::chrono::seconds kTimeout{60};
constexpr size_t kMaxOutput = 8u << 20;

// What a virsh command writes. Read-only connections need no rights that looking at images doesn't. Values
// are joined to their options: whatever they are, they are not taken for options.
std::string virsh(const std::string& uri, std::vector<std::string> command, const std::string& what) {
    std::vector<std::string> arguments = {"virsh", "--readonly", "--quiet"};
    if (!uri.empty()) arguments.push_back("--connect=" + uri);
    arguments.insert(arguments.end(), command.begin(), command.end());
    ProgramResult result;
    try {
        result = run_program(std::move(arguments), kTimeout, kMaxOutput);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNotFound) throw error.with_context(what);
        throw Error(ErrorKind::kNotFound,
                    what + ": that needs the program virsh, which is in Debian's package libvirt-clients");
    }
    if (result.status != 0) {
        std::string errors = result.errors;
        for (size_t at; (at = errors.find('\n')) != errors.npos;) errors.replace(at, 1, "; ");
        for (size_t at; (at = errors.find("error: ")) != errors.npos;) errors.erase(at, 7);
        const bool denied =
            errors.find("ermission denied") != errors.npos || errors.find("uthentication") != errors.npos;
        if (errors.empty()) errors = "virsh " + Subprocess::describe(result.status);
        throw Error(denied ? ErrorKind::kDenied : ErrorKind::kNotFound, what + ": " + errors);
    }
    return result.output;
}

}  // namespace

void resolve_volumes(DomainDisks& disks, const std::string& uri) {
    for (DomainDisk& disk : disks.disks) {
        if (!disk.location.empty()) continue;
        const std::string what =
            "cannot find the volume '" + disk.volume + "' of the storage pool '" + disk.pool + "'";
        std::string path = virsh(uri, {"vol-path", "--pool=" + disk.pool, "--vol=" + disk.volume}, what);
        while (path.ends_with('\n')) path.pop_back();
        if (!path.starts_with('/')) {
            throw Error(ErrorKind::kUnsupported, what + ": libvirt says '" + path + "', which is no path");
        }
        disk.location = path;
    }
}

DomainDisks libvirt_domain_disks(const std::string& domain, const std::string& uri) {
    const std::string origin = "the libvirt domain '" + domain + "'";
    DomainDisks disks = parse_domain_xml(
        virsh(uri, {"dumpxml", "--domain=" + domain}, "cannot get the description of " + origin), origin);
    resolve_volumes(disks, uri);
    return disks;
}

std::vector<std::string> libvirt_domains(const std::string& uri, bool uuids) {
    std::istringstream lines(
        virsh(uri, {"list", "--all", uuids ? "--uuid" : "--name"}, "cannot list the domains of libvirt"));
    std::vector<std::string> domains;
    for (std::string line; std::getline(lines, line);)
        if (!line.empty()) domains.push_back(line);
    return domains;
}

std::string libvirt_domain_xml(const std::string& domain, const std::string& uri) {
    return virsh(uri, {"dumpxml", "--inactive", "--domain=" + domain},
                 "cannot get the description of the libvirt domain '" + domain + "'");
}

}  // namespace inspect
