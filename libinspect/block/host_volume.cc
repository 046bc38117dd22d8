// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/host_volume.h"

#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include <inspect/error.h>

#include "base/checked.h"

namespace inspect {

namespace {

using nlohmann::json;

constexpr std::chrono::seconds kTimeout{120};
constexpr size_t kMaxOutput = 4u << 20;
constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
constexpr int kNoSuchOption = 3;  // lvm's exit status for a command line that it doesn't understand

// A line of a report: column and text.
using Row = std::map<std::string, std::string>;

// The rows of a report by lvs. Throws Error(kInternal) for what is none.
std::vector<Row> parse_report(const std::string& text, const std::string& what) {
    std::vector<Row> rows;
    const json document = json::parse(text, nullptr, false);
    const auto reports = document.is_object() ? document.find("report") : document.end();
    if (reports == document.end() || !reports->is_array())
        throw Error(ErrorKind::kInternal, what + ": lvs wrote no report");
    for (const json& report : *reports) {
        // One member, called "lv" or "seg".
        for (const json& table : report) {
            if (!table.is_array()) continue;
            for (const json& line : table) {
                Row& row = rows.emplace_back();
                for (const auto& [column, value] : line.items())
                    if (value.is_string()) row[column] = value.get<std::string>();
            }
        }
    }
    return rows;
}

std::vector<Row> lvs(const std::string& columns, const std::string& selection, const std::string& what) {
    const ProgramResult result = run_lvm({"lvs", "--reportformat", "json", "--units", "b", "--nosuffix",
                                          "--options", columns, "--select", selection},
                                         what);
    if (result.status != 0) {
        const bool root = ::geteuid() == 0;
        throw Error(root ? ErrorKind::kInternal : ErrorKind::kDenied,
                    what + ": " + lvm_complaint(result) + (root ? "" : "; lvm's programs need root"));
    }
    return parse_report(result.output, what);
}

std::string text_of(const Row& row, const char* column) {
    const auto found = row.find(column);
    return found == row.end() ? "" : found->second;
}

uint64_t number_of(const Row& row, const char* column, const std::string& what) {
    constexpr size_t kMaxDigits = 18;
    const std::string text = text_of(row, column);
    if (text.empty() || text.size() > kMaxDigits || text.find_first_not_of("0123456789") != text.npos)
        throw Error(ErrorKind::kInternal, what + ": lvs says '" + text + "' for " + column);
    return std::stoull(text);
}

std::string mebibytes(uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

std::string obstacle_of(const HostVolume& volume, const std::string& layout, const std::string& role) {
    const std::string name = "the logical volume " + volume.full_name();
    // Of a thin volume each snapshot is a volume by itself.
    if (role.find("thicksnapshot") != role.npos)
        return name + " is a snapshot, whose size is that of its origin; merge it or resize the origin";
    if (role.find("thickorigin") != role.npos)
        return name + " has snapshots; remove them first (lvremove), or merge them";
    if (volume.thin || layout == "linear" || layout == "striped") return {};
    return name + " is of the kind '" + layout +
           "', and only linear, striped and thin ones are resized here; make it larger by lvextend, then "
           "give "
           "--size the size that it has";
}

// Behind every logical volume is the device mapper, and the kernel shows it.
bool may_be_logical_volume(dev_t device) {
    const std::string directory =
        "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
    return ::access(directory.c_str(), F_OK) != 0 || ::access((directory + "/dm").c_str(), F_OK) == 0;
}

// What a thin pool has, and what it has promised to its volumes.
void require_pool_room(const HostVolume& volume, uint64_t more) {
    const std::string pool = volume.group + "/" + volume.pool;
    const std::string what = "cannot find out how full the thin pool " + pool + " is";
    uint64_t size = 0, promised = more;
    for (const Row& row : lvs("lv_name,lv_size,pool_lv", "vg_name=" + volume.group, what)) {
        if (text_of(row, "lv_name") == volume.pool) size = number_of(row, "lv_size", what);
        if (text_of(row, "pool_lv") == volume.pool && text_of(row, "lv_name") != volume.pool)
            promised = checked_add(promised, number_of(row, "lv_size", what)).value_or(kMost);
    }
    if (promised <= size) return;
    throw Error(ErrorKind::kNoSpace,
                "the thin pool " + pool + " has " + mebibytes(size) +
                    ", and with this its volumes would be " + "promised " + mebibytes(promised) +
                    "; extend the pool first (lvextend -L +" + std::to_string(((promised - size) >> 20) + 1) +
                    "M " + pool +
                    "), or, if that is meant to be, make the volume larger by lvextend and give --size the "
                    "size that it has then");
}

}  // namespace

ProgramResult run_lvm(std::vector<std::string> arguments, const std::string& what) {
    try {
        return run_program(std::move(arguments), kTimeout, kMaxOutput);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNotFound) throw error.with_context(what);
        throw Error(ErrorKind::kNotFound, what + ": that needs LVM's programs, Debian's package lvm2");
    }
}

std::string lvm_complaint(const ProgramResult& result) {
    if (result.errors.empty()) return Subprocess::describe(result.status);
    std::string text;
    for (const char c : result.errors) {
        if (c != '\n')
            text += c;
        else if (!text.ends_with("; "))
            text += "; ";
    }
    const size_t begin = text.find_first_not_of(' ');
    return begin == text.npos ? Subprocess::describe(result.status) : text.substr(begin);
}

std::optional<HostVolume> find_host_volume(dev_t device, const std::string& shown) {
    const std::string what = "cannot find out whether '" + shown + "' is a logical volume";
    std::vector<Row> rows;
    try {
        rows = lvs("vg_name,lv_name,lv_layout,lv_role,lv_size,pool_lv,stripes,vg_extent_size,vg_free",
                   "lv_kernel_major=" + std::to_string(major(device)) +
                       " && lv_kernel_minor=" + std::to_string(minor(device)),
                   what);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNotFound || may_be_logical_volume(device)) throw;
    }
    if (rows.empty()) return std::nullopt;
    HostVolume volume;
    volume.group = text_of(rows[0], "vg_name");
    volume.name = text_of(rows[0], "lv_name");
    volume.pool = text_of(rows[0], "pool_lv");
    volume.thin = !volume.pool.empty();
    volume.size = number_of(rows[0], "lv_size", what);
    volume.room = number_of(rows[0], "vg_free", what);
    volume.unit = number_of(rows[0], "vg_extent_size", what);
    // A row for each of its segments; each part of a striped one has whole extents.
    uint64_t stripes = 1;
    if (!volume.thin)
        for (const Row& row : rows) stripes = std::max(stripes, number_of(row, "stripes", what));
    volume.unit = checked_mul(volume.unit, stripes).value_or(0);
    if (volume.group.empty() || volume.name.empty() || volume.unit == 0)
        throw Error(ErrorKind::kInternal, what + ": what lvs says makes no sense");
    volume.obstacle = obstacle_of(volume, text_of(rows[0], "lv_layout"), text_of(rows[0], "lv_role"));
    return volume;
}

void require_resizable(const HostVolume& volume, uint64_t size) {
    if (!volume.obstacle.empty()) throw Error(ErrorKind::kUnsupported, volume.obstacle);
    if (size == 0 || size % volume.unit != 0)
        throw Error(ErrorKind::kUnsupported, "the logical volume " + volume.full_name() +
                                                 " can only have a multiple of " +
                                                 std::to_string(volume.unit) + " bytes");
    if (size <= volume.size) return;
    if (volume.thin) return require_pool_room(volume, size - volume.size);
    if (size - volume.size > volume.room)
        throw Error(ErrorKind::kNoSpace, "the volume group " + volume.group + " has " +
                                             mebibytes(volume.room) + " free, and the logical volume " +
                                             volume.name + " would need " + mebibytes(size - volume.size) +
                                             " more; add a physical volume to it (vgextend)");
}

void resize_host_volume(dev_t device, const std::string& shown, uint64_t size) {
    const auto volume = find_host_volume(device, shown);
    if (!volume)
        throw Error(ErrorKind::kUnsupported,
                    "the block device '" + shown + "' has the size that it has: it is no logical volume");
    if (volume->size == size) return;
    require_resizable(*volume, size);
    const std::string what =
        "cannot make the logical volume " + volume->full_name() + " " + std::to_string(size) + " bytes large";
    const std::vector<std::string> arguments = {"--quiet", "--yes", "--size", std::to_string(size) + "b",
                                                volume->full_name()};
    const auto run = [&](std::vector<std::string> start) {
        start.insert(start.end(), arguments.begin(), arguments.end());
        return run_lvm(std::move(start), what);
    };
    ProgramResult result{};
    if (size > volume->size) {
        result = run({"lvextend"});
    } else {
        // From lvm 2.03.17 on lvreduce looks at what is on the volume; before, it doesn't know the option.
        result = run({"lvreduce", "--fs", "ignore"});
        if (WIFEXITED(result.status) && WEXITSTATUS(result.status) == kNoSuchOption)
            result = run({"lvreduce"});
    }
    if (result.status == 0) return;
    const bool full = result.errors.find("nsufficient") != std::string::npos;
    throw Error(full ? ErrorKind::kNoSpace : ErrorKind::kInternal, what + ": " + lvm_complaint(result));
}

}  // namespace inspect
