// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp fsck: every file system checked by its own tool, in the appliance, and repaired on request.
#include <algorithm>

#include "cli/appliance_script.h"
#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr int kExitDamaged = 4;  // as e2fsck: errors are left

// $1 is the device. A journal that waits is replayed first, also in a mere check: the disk is a copy that is
// thrown away, and without it much would seem to be wrong that isn't. Exit code 0: sound.
struct Checker {
    const char* type;
    const char* check;
    const char* repair;  // null: there is no safe way
};

constexpr char kExtCheck[] = "e2fsck -E journal_only \"$1\" >/dev/null 2>&1\nexec e2fsck -fn \"$1\"\n";
// 1 and 2: corrected.
constexpr char kExtRepair[] =
    "e2fsck -fy \"$1\"; code=$?; [ $code -le 2 ] || exit $code; e2fsck -fn \"$1\" >/dev/null\n";
constexpr char kXfsReplay[] =
    "mkdir -p /run/replay && mount -t xfs -o nouuid \"$1\" /run/replay 2>/dev/null && umount /run/replay\n";

// ntfsfix looks at little, and not at the mark by which Windows or a resize says that more is to be looked
// at.
constexpr char kNtfsCheck[] =
    "ntfsfix -n \"$1\" || exit 1\n"
    "! ntfsinfo -f -m \"$1\" 2>/dev/null | grep -q 'Volume Flags:.*DIRTY' || {\n"
    "  echo 'It is marked to be checked: start Windows, which does that (chkdsk).'; exit 1; }\n";

constexpr Checker kCheckers[] = {
    {"ext2", kExtCheck, kExtRepair},
    {"ext3", kExtCheck, kExtRepair},
    {"ext4", kExtCheck, kExtRepair},
    {"xfs", "%replay%exec xfs_repair -n \"$1\"\n",
     "%replay%xfs_repair \"$1\" && xfs_repair -n \"$1\" >/dev/null 2>&1\n"},
    {"vfat", "exec fsck.fat -n \"$1\"\n", "fsck.fat -a -w \"$1\"; fsck.fat -n \"$1\" >/dev/null\n"},
    {"exfat", "exec fsck.exfat -n \"$1\"\n", "fsck.exfat -y \"$1\"; fsck.exfat -n \"$1\" >/dev/null\n"},
    {"ntfs", kNtfsCheck, "ntfsfix \"$1\" && ntfsfix -n \"$1\" >/dev/null\n"},
    {"btrfs", "exec btrfs check --readonly \"$1\"\n", nullptr},
    {"f2fs", "exec fsck.f2fs --dry-run \"$1\"\n",
     "fsck.f2fs -f \"$1\"; fsck.f2fs --dry-run \"$1\" >/dev/null\n"},
};

const Checker* checker_of(const std::string& type) {
    for (const Checker& checker : kCheckers)
        if (type == checker.type) return &checker;
    return nullptr;
}

struct Report {
    std::string device;
    std::string type;
    const char* result;  // "clean", "damaged", "repaired", "skipped"
    std::string messages;
};

std::string script_text(const char* text) {
    std::string script = text;
    constexpr std::string_view kMark = "%replay%";
    if (size_t at = script.find(kMark); at != script.npos) script.replace(at, kMark.size(), kXfsReplay);
    return script;
}

Report check(Guest& guest, const FilesystemInfo& filesystem, bool repair) {
    Report report{filesystem.device, filesystem.type, "skipped", "there is no checker for it"};
    const Checker* checker = checker_of(filesystem.type);
    if (checker == nullptr) return report;
    auto run = [&](const char* text) {
        const std::string script = script_text(text);
        ScriptResult result = run_script(
            guest, {.text = script.c_str(), .arguments = {filesystem.device}, .bare_disks = false});
        report.messages = result.output + result.errors;
        return result.succeeded();
    };
    if (run(checker->check)) {
        report.result = "clean";
        return report;
    }
    report.result = "damaged";
    if (!repair) return report;
    if (checker->repair == nullptr) {
        report.messages += "There is no safe repair for it: save what can be read (insp copy-out).\n";
        return report;
    }
    std::string found = report.messages;
    if (run(checker->repair)) report.result = "repaired";
    report.messages = found + report.messages;
    return report;
}

void print(Context& context, const std::vector<Report>& reports) {
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.begin_array("filesystems");
        for (const Report& report : reports) {
            context.json.begin_object();
            context.json.text("device", report.device);
            context.json.text("type", report.type);
            context.json.text("result", report.result);
            context.json.text("messages", report.messages);
            context.json.end_object();
        }
        context.json.end_array();
        context.json.end_object();
        return;
    }
    for (const Report& report : reports) {
        context.out.write(report.device + ": " + report.type + ": " + report.result + "\n");
        if (std::string_view(report.result) == "clean" && !context.verbose()) continue;
        for (size_t begin = 0; begin < report.messages.size();) {
            size_t end = std::min(report.messages.find('\n', begin), report.messages.size());
            context.out.write("  " + escape_message(report.messages.substr(begin, end - begin)) + "\n");
            begin = end + 1;
        }
    }
}

int run_fsck(Context& context) {
    const Arguments& args = context.args;
    const bool repair = args.has("repair");  // of all disk options: here it is more than the container
    Guest guest(context, repair ? Access::kChange : Access::kRead);
    std::vector<FilesystemInfo> all = guest.call("filesystems").filesystems().filesystems;
    std::vector<FilesystemInfo> wanted;
    for (const std::string& device : args.operands()) {
        auto found = std::find_if(all.begin(), all.end(), [&](const FilesystemInfo& filesystem) {
            return filesystem.device == device;
        });
        if (found == all.end()) throw Error(ErrorKind::kNotFound, "there is no " + device);
        if (checker_of(found->type) == nullptr)
            throw Error(ErrorKind::kUnsupported,
                        device + " can't be checked: it is " +
                            (found->type.empty() ? "of no known type" : found->type));
        wanted.push_back(*found);
    }
    if (args.operands().empty())
        std::copy_if(all.begin(), all.end(), std::back_inserter(wanted),
                     [](const FilesystemInfo& filesystem) { return filesystem.mountable; });
    if (wanted.empty()) {
        context.error("there is no file system on the disks");
        return kExitNothingFound;
    }
    std::vector<Report> reports;
    for (const FilesystemInfo& filesystem : wanted) reports.push_back(check(guest, filesystem, repair));
    auto any = [&](std::string_view result) {
        return std::any_of(reports.begin(), reports.end(),
                           [&](const Report& report) { return report.result == result; });
    };
    // What could be repaired is kept, also where something else could not.
    if (any("repaired")) guest.commit();
    print(context, reports);
    return any("damaged") ? kExitDamaged : kExitSuccess;
}

}  // namespace

constexpr Command kFsckCommand = {
    .name = "fsck",
    .summary = "check file systems, and repair them",
    .operands = "[DEVICE...]",
    .description =
        "Checks every file system on the disks, or those given, with its own tool, and with --repair\n"
        "repairs them. Exit code 0: all are sound now; 4: some are damaged; 3: there is none;\n"
        "1: it failed.",
    .examples =
        "insp fsck -a disk.img\n"
        "insp fsck -a disk.img --repair /dev/sda2",
    .options = {},
    .shared_options = kDiskOptions | kJsonOption,
    .run = run_fsck,
};

}  // namespace inspect::cli
