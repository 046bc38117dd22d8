// SPDX-License-Identifier: LGPL-2.1-or-later
#include "clone/lvm_snapshot.h"

#include <utility>
#include <vector>

#include <inspect/error.h>

#include "base/log.h"
#include "base/new_host_file.h"

namespace inspect {

namespace {

// Why lvm refused.
[[noreturn]] void fail(const ProgramResult& result, const std::string& what) {
    const bool exists = result.errors.find("already exists") != std::string::npos;
    const bool full = result.errors.find("nsufficient") != std::string::npos;
    throw Error(exists ? ErrorKind::kDenied
                : full ? ErrorKind::kNoSpace
                       : ErrorKind::kInternal,
                what + ": " + lvm_complaint(result));
}

bool exists(const std::string& group, const std::string& name) {
    return run_lvm({"lvs", "--noheadings", "--options", "lv_name", group + "/" + name},
                   "cannot look for the logical volume " + group + "/" + name)
               .status == 0;
}

}  // namespace

NewSnapshot::NewSnapshot(const HostVolume& origin, const std::string& name)
    : group_(origin.group), name_(name) {
    const std::string what =
        "cannot make a snapshot '" + name + "' of the logical volume " + origin.full_name();
    if (exists(group_, name_))
        throw Error(ErrorKind::kDenied, what + ": there is a volume of that name already");
    const std::string temporary = temporary_name(name);
    std::vector<std::string> arguments = {"lvcreate", "--quiet", "--yes", "--snapshot", "--name", temporary};
    // A thin snapshot is not activated by itself (lvmthin(7), "Thin snapshots").
    if (origin.thin)
        arguments.insert(arguments.end(), {"--setactivationskip", "n"});
    else
        arguments.insert(arguments.end(), {"--extents", "100%ORIGIN"});
    arguments.push_back(origin.full_name());
    const ProgramResult result = run_lvm(std::move(arguments), what);
    if (result.status != 0) fail(result, what);
    current_ = temporary;
}

NewSnapshot::NewSnapshot(NewSnapshot&& other) noexcept
    : group_(std::move(other.group_)),
      name_(std::move(other.name_)),
      current_(std::exchange(other.current_, {})),
      published_(other.published_) {}

NewSnapshot::~NewSnapshot() {
    if (!published_) retract();
}

void NewSnapshot::publish() {
    const std::string what = "cannot give a new snapshot the name '" + name_ + "'";
    const ProgramResult result = run_lvm({"lvrename", "--quiet", "--yes", group_, current_, name_}, what);
    if (result.status != 0) fail(result, what);
    current_ = name_;
    published_ = true;
}

void NewSnapshot::retract() noexcept {
    if (current_.empty()) return;
    try {
        const ProgramResult result =
            run_lvm({"lvremove", "--quiet", "--yes", group_ + "/" + current_}, "cannot remove a snapshot");
        if (result.status != 0) log(LogLevel::kVerbose, "cannot remove a snapshot: " + lvm_complaint(result));
    } catch (const Error& error) {
        log(LogLevel::kVerbose, error.message());
    }
    current_.clear();
}

}  // namespace inspect
