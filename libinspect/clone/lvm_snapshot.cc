// SPDX-License-Identifier: LGPL-2.1-or-later
#include "clone/lvm_snapshot.h"

#include <chrono>
#include <vector>

#include <inspect/error.h>

#include "base/log.h"
#include "base/subprocess.h"

namespace inspect {

namespace {

constexpr std::chrono::seconds kTimeout{120};
constexpr size_t kMaxOutput = 64u << 10;

ProgramResult lvm(std::vector<std::string> arguments, const std::string& what) {
    try {
        return run_program(std::move(arguments), kTimeout, kMaxOutput);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNotFound) throw error.with_context(what);
        throw Error(ErrorKind::kNotFound, what + ": that needs LVM's programs, Debian's package lvm2");
    }
}

}  // namespace

std::optional<LogicalVolumeInfo> find_logical_volume(const std::string& device) {
    const ProgramResult result = lvm({"lvs", "--noheadings", "--nosuffix", "--units", "b", "--separator", "|",
                                      "-o", "vg_name,lv_name,pool_lv,lv_size", "--", device},
                                     "cannot find out whether '" + device + "' is a logical volume");
    if (result.status != 0) return std::nullopt;
    // "  GROUP|NAME|POOL|SIZE"; no name has a bar or a blank (lvm(8), VALID NAMES).
    std::vector<std::string> fields(1);
    for (const char c : result.output) {
        if (c == '|') {
            fields.emplace_back();
        } else if (c != ' ' && c != '\n') {
            fields.back() += c;
        }
    }
    constexpr size_t kMaxDigits = 18;
    if (fields.size() != 4 || fields[3].empty() || fields[3].size() > kMaxDigits ||
        fields[3].find_first_not_of("0123456789") != std::string::npos)
        return std::nullopt;
    return LogicalVolumeInfo{fields[0], fields[1], !fields[2].empty(), std::stoull(fields[3])};
}

void snapshot_logical_volume(const LogicalVolumeInfo& origin, const std::string& name) {
    const std::string what =
        "cannot make a snapshot '" + name + "' of the logical volume " + origin.group + "/" + origin.name;
    std::vector<std::string> arguments = {"lvcreate", "--quiet", "--yes", "--snapshot", "--name", name};
    // A thin snapshot is not activated by itself (lvmthin(7), "Thin snapshots").
    if (origin.thin)
        arguments.insert(arguments.end(), {"--setactivationskip", "n"});
    else
        arguments.insert(arguments.end(), {"--extents", "100%ORIGIN"});
    arguments.push_back(origin.group + "/" + origin.name);
    const ProgramResult result = lvm(std::move(arguments), what);
    if (result.status == 0) return;
    const bool exists = result.errors.find("already exists") != std::string::npos;
    const bool full = result.errors.find("nsufficient") != std::string::npos;
    throw Error(exists ? ErrorKind::kDenied
                : full ? ErrorKind::kNoSpace
                       : ErrorKind::kInternal,
                what + ": " + (result.errors.empty() ? Subprocess::describe(result.status) : result.errors));
}

void remove_logical_volume(const std::string& group, const std::string& name) noexcept {
    try {
        lvm({"lvremove", "--quiet", "--yes", group + "/" + name}, "cannot remove a snapshot");
    } catch (const Error& error) {
        log(LogLevel::kVerbose, error.message());
    }
}

}  // namespace inspect
