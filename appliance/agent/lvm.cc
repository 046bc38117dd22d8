// SPDX-License-Identifier: GPL-2.0-or-later
#include "lvm.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/fd.h"
#include "failure.h"
#include "sysfs.h"
#include "tool_text.h"

namespace inspect::agent {

namespace {

constexpr char kLvm[] = "/usr/sbin/lvm";
constexpr char kScript[] = "/run/lvm-script";
constexpr char kConfigDirectory[] = "/run/lvm-config";
constexpr size_t kMaxVolumes = 10'000;

void write_text(const std::string& path, std::string_view text) {
    Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        fail_errno("cannot write", path);
}

std::string report_script() {
    const std::string form(kLvmReportForm);
    return "pvs" + form + "pv_name,pv_uuid,pv_size,vg_name,vg_uuid,vg_size,vg_free\nlvs" + form +
           "vg_name,vg_uuid,lv_name,lv_uuid,lv_attr,lv_dm_path,origin\n";
}

}  // namespace

LvmFields parse_lvm_line(std::string_view line) {
    LvmFields fields;
    for (size_t at = 0; at < line.size();) {
        size_t bar = std::min(line.find('|', at), line.size());
        std::string_view field = line.substr(at, bar - at);
        at = bar + 1;
        field = without_blanks(field);
        size_t equals = field.find('=');
        if (equals == field.npos || !field.starts_with("LVM2_")) continue;
        fields[std::string(field.substr(5, equals - 5))] = field.substr(equals + 1);
    }
    return fields;
}

uint64_t lvm_number(const std::string& text) {
    uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

// Its configuration is the appliance's and a filter.
ProgramResult run_lvm(Programs& programs, const std::vector<std::string>& nodes,
                      std::vector<std::string> arguments) {
    std::string text = read_small_file("/etc/lvm/lvm.conf") + "\ndevices/filter = [";
    for (const std::string& node : nodes) {
        text += "\"a|^";
        for (char c : node) {
            if (c == '.' || c == '+') text += "\\\\";
            text += c;
        }
        text += "$|\",";
    }
    ::mkdir(kConfigDirectory, 0700);
    write_text(std::string(kConfigDirectory) + "/lvm.conf", text + "\"r|.*|\"]\n");
    arguments.insert(arguments.begin(), kLvm);
    ::setenv("LVM_SYSTEM_DIR", kConfigDirectory, 1);
    ProgramResult result = programs.run(arguments);
    ::unsetenv("LVM_SYSTEM_DIR");
    return result;
}

ProgramResult run_lvm_script(Programs& programs, const std::vector<std::string>& nodes,
                             const std::string& lines) {
    write_text(kScript, "#!/usr/sbin/lvm\n" + lines);
    return run_lvm(programs, nodes, {kScript});
}

LvmReport parse_lvm_report(std::string_view text) {
    LvmReport report;
    for_each_line(text, [&](std::string_view line) {
        LvmFields fields = parse_lvm_line(line);
        if (report.logical.size() + report.physical.size() > kMaxVolumes) return;
        if (fields.contains("LV_NAME")) {
            const std::string& attributes = fields["LV_ATTR"];
            // Pools of thin volumes, caches and VDO, and what is part of another.
            if (attributes.empty() ||
                std::string_view("tTedDlpPiI").find(attributes[0]) != std::string_view::npos)
                return;
            LogicalVolume volume{fields["VG_NAME"], fields["VG_UUID"],    fields["LV_NAME"],
                                 fields["LV_UUID"], fields["LV_DM_PATH"], !fields["ORIGIN"].empty()};
            report.logical.push_back(std::move(volume));
        } else if (fields.contains("PV_NAME")) {
            PhysicalVolume volume{fields["PV_NAME"], fields["PV_UUID"], fields["VG_NAME"], fields["VG_UUID"],
                                  lvm_number(fields["PV_SIZE"])};
            if (!volume.node.starts_with('/')) volume.node.clear();  // "[unknown]"
            bool known =
                std::any_of(report.groups.begin(), report.groups.end(),
                            [&](const VolumeGroup& group) { return group.uuid == volume.group_uuid; });
            if (!volume.group_uuid.empty() && !known)
                report.groups.push_back({volume.group, volume.group_uuid, lvm_number(fields["VG_SIZE"]),
                                         lvm_number(fields["VG_FREE"])});
            report.physical.push_back(std::move(volume));
        }
    });
    return report;
}

LvmReport report_lvm(Programs& programs, const std::vector<std::string>& nodes) {
    return parse_lvm_report(run_lvm_script(programs, nodes, report_script()).output);
}

LvmReport activate_lvm(Programs& programs, const std::vector<std::string>& nodes, std::string& complaints) {
    // What makes the devices comes last, because a script ends where a command fails.
    const ProgramResult result = run_lvm_script(programs, nodes, report_script() + "vgchange -q -ay -K\n");
    complaints = result.child.succeeded() ? std::string() : result.child.describe("lvm");
    return parse_lvm_report(result.output);
}

void rename_group(Programs& programs, const std::vector<std::string>& nodes, const std::string& uuid,
                  const std::string& name) {
    ProgramResult result = run_lvm(programs, nodes, {"vgrename", uuid, name});
    if (!result.child.succeeded())
        throw Failure(proto::CORRUPT, "cannot tell two volume groups of one name apart: " +
                                          result.child.describe("lvm vgrename"));
}

}  // namespace inspect::agent
