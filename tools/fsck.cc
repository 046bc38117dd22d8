// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp fsck: every file system checked by its own tool, in the appliance, and repaired on request.
#include <algorithm>
#include <optional>

#include "cli/appliance_script.h"
#include "cli/filesystem_check.h"
#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr int kExitDamaged = 4;  // as e2fsck: errors are left

struct Report {
    const FilesystemInfo* filesystem;
    const char* result;  // "clean", "damaged", "repaired", "skipped", "failed"
    std::string messages = {};
    std::string failure = {};      // of "failed"
    bool tried_to_repair = false;  // so that something of it may have been written
    bool keep = false;             // what was written is of use
};

Report check(Guest& guest, const FilesystemInfo& filesystem, bool repair) {
    Report report{&filesystem, "skipped"};
    const Checker* checker = checker_of(filesystem.type);
    if (checker == nullptr) {
        report.messages = "there is no checker for it";
        return report;
    }
    auto run = [&](const char* text) {
        ScriptResult result =
            run_script(guest, {.text = text, .arguments = {filesystem.device}, .bare_disks = false});
        report.messages += result.output + result.errors;
        const Verdict verdict = verdict_of(result.exit_code);
        if (verdict == Verdict::kFailed) {
            report.failure = failure_of(result.exit_code);
            report.messages += report.failure + "\n";
        }
        return verdict;
    };
    auto result_of = [](Verdict verdict, const char* sound) {
        return verdict == Verdict::kSound ? sound : verdict == Verdict::kFailed ? "failed" : "damaged";
    };
    const Verdict found = run(checker->check);
    report.result = result_of(found, "clean");
    if (!repair || found == Verdict::kSound || found == Verdict::kFailed) return report;
    if (checker->repair == nullptr) {
        report.messages += "There is no safe repair for it: save what can be read (insp copy-out).\n";
        return report;
    }
    report.tried_to_repair = true;
    const Verdict left = run(checker->repair);
    report.result = result_of(left, "repaired");
    report.keep = left == Verdict::kSound || left == Verdict::kMarked;
    return report;
}

void print(Context& context, const std::vector<Report>& reports) {
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.objects("filesystems", reports, [&](const Report& report) {
            context.json.text("device", report.filesystem->device);
            context.json.text("type", report.filesystem->type);
            context.json.text("result", report.result);
            context.json.text("messages", report.messages);
        });
        context.json.end_object();
        return;
    }
    for (const Report& report : reports) {
        context.out.write(report.filesystem->device + ": " + report.filesystem->type + ": " + report.result +
                          "\n");
        if (std::string_view(report.result) == "clean" && !context.verbose()) continue;
        for (size_t begin = 0; begin < report.messages.size();) {
            size_t end = std::min(report.messages.find('\n', begin), report.messages.size());
            context.out.write("  " + escape_message(report.messages.substr(begin, end - begin)) + "\n");
            begin = end + 1;
        }
    }
}

// Puts those repairs into the images that led to something. What a repair wrote that failed on the way must
// not go with them: the others are done again in a session where it was never tried.
void keep_repairs(Context& context, std::optional<Guest>& guest, const std::vector<Report>& reports) {
    auto any = [&](auto condition) { return std::any_of(reports.begin(), reports.end(), condition); };
    if (!any([](const Report& report) { return report.keep; })) return;
    const bool direct = context.args.value("write-mode") == "direct";  // it is in the images already
    if (!direct && any([](const Report& report) { return report.tried_to_repair && !report.keep; })) {
        guest.reset();
        guest.emplace(context, Access::kChange);
        for (const Report& report : reports) {
            if (report.keep && !check(*guest, *report.filesystem, true).keep)
                throw Error(ErrorKind::kEngine, report.filesystem->device +
                                                    " was repaired once, but not when it was done again "
                                                    "without what failed: nothing is changed in the images");
        }
    }
    guest->commit();
}

int run_fsck(Context& context) {
    const bool repair =
        context.args.has("repair");  // of all disk options: here it is more than the container
    std::optional<Guest> guest;
    guest.emplace(context, repair ? Access::kChange : Access::kRead);
    const FilesystemReport all = guest->call("filesystems").filesystems();
    const std::vector<std::string>& operands = context.args.operands();
    const std::vector<FilesystemInfo> wanted =
        filesystems_to_check(all, operands, device_aliases(*guest, all, operands));
    if (wanted.empty()) {
        print(context, {});
        context.error("there is no file system on the disks");
        return kExitNothingFound;
    }
    for (const FilesystemInfo& filesystem : wanted) {
        const std::string array = degraded_array(all, filesystem);
        if (repair && !array.empty())
            throw Error(ErrorKind::kDenied, filesystem.device + " can't be repaired: the RAID " + array +
                                                " is degraded and can be read, but not be changed");
    }
    std::vector<Report> reports;
    for (const FilesystemInfo& filesystem : wanted) {
        reports.push_back(check(*guest, filesystem, repair));
        Report& report = reports.back();
        const std::string array = degraded_array(all, filesystem);
        if (std::string_view(report.result) == "damaged" && !array.empty())
            report.messages += "The RAID " + array +
                               " is degraded and can't be written to: if a journal waits, it could not be "
                               "replayed before.\n";
    }
    keep_repairs(context, guest, reports);
    print(context, reports);
    bool failed = false, damaged = false;
    for (const Report& report : reports) {
        damaged = damaged || std::string_view(report.result) == "damaged";
        if (report.failure.empty()) continue;
        failed = true;
        context.error(report.filesystem->device +
                      (report.tried_to_repair ? " could not be repaired: " : " could not be checked: ") +
                      report.failure);
    }
    return failed ? kExitFailure : damaged ? kExitDamaged : kExitSuccess;
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
