// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/filesystem_check.h"

#include <algorithm>

namespace inspect::cli {
namespace {

constexpr int kMarkedCode = 100;  // by our script; none of the tools ends so
// A shell's own: can't be run, isn't there, 128 and a signal. (fsck.f2fs ends with 255 for damage.)
constexpr int kFirstFailureCode = 126, kSignalBase = 128, kLastFailureCode = kSignalBase + 64;

#define REPLAY_XFS \
    "mkdir -p /run/replay && mount -t xfs -o nouuid \"$1\" /run/replay 2>/dev/null && umount /run/replay\n"
// After a tool whose exit code tells little but that it was killed.
#define UNLESS_KILLED "code=$?; [ $code -lt 126 ] || exit $code\n"
// ntfsfix looks at little, and not at the mark by which Windows, a resize or ntfsfix itself says that more is
// to be looked at.
#define NTFS_MARK                                                                 \
    "! ntfsinfo -f -m \"$1\" 2>/dev/null | grep -q 'Volume Flags:.*DIRTY' || {\n" \
    "  echo 'It is marked to be checked: start Windows, which does that (chkdsk).'; exit 100; }\n"

constexpr char kExtCheck[] = "e2fsck -E journal_only \"$1\" >/dev/null 2>&1\nexec e2fsck -fn \"$1\"\n";
// 1 and 2, which are bits: corrected.
constexpr char kExtRepair[] =
    "e2fsck -fy \"$1\"; code=$?; [ $code -le 3 ] || exit $code; exec e2fsck -fn \"$1\" >/dev/null\n";

constexpr Checker kCheckers[] = {
    {"ext2", kExtCheck, kExtRepair},
    {"ext3", kExtCheck, kExtRepair},
    {"ext4", kExtCheck, kExtRepair},
    {"xfs", REPLAY_XFS "exec xfs_repair -n \"$1\"\n",
     REPLAY_XFS "xfs_repair \"$1\" && exec xfs_repair -n \"$1\" >/dev/null 2>&1\n"},
    {"vfat", "exec fsck.fat -n \"$1\"\n",
     "fsck.fat -a -w \"$1\"; " UNLESS_KILLED "exec fsck.fat -n \"$1\" >/dev/null\n"},
    {"exfat", "exec fsck.exfat -n \"$1\"\n",
     "fsck.exfat -y \"$1\"; " UNLESS_KILLED "exec fsck.exfat -n \"$1\" >/dev/null\n"},
    {"ntfs", "ntfsfix -n \"$1\" || exit\n" NTFS_MARK,
     "ntfsfix -n \"$1\" >/dev/null || { ntfsfix \"$1\" && ntfsfix -n \"$1\" >/dev/null; } || "
     "exit\n" NTFS_MARK},
    {"btrfs", "exec btrfs check --readonly \"$1\"\n", nullptr},
    {"f2fs", "exec fsck.f2fs --dry-run \"$1\"\n",
     "fsck.f2fs -f \"$1\"; " UNLESS_KILLED "exec fsck.f2fs --dry-run \"$1\" >/dev/null\n"},
};

#undef REPLAY_XFS
#undef UNLESS_KILLED
#undef NTFS_MARK

}  // namespace

const Checker* checker_of(const std::string& type) {
    for (const Checker& checker : kCheckers)
        if (type == checker.type) return &checker;
    return nullptr;
}

Verdict verdict_of(int exit_code) {
    if (exit_code == 0) return Verdict::kSound;
    if (exit_code == kMarkedCode) return Verdict::kMarked;
    const bool failed = exit_code >= kFirstFailureCode && exit_code <= kLastFailureCode;
    return failed ? Verdict::kFailed : Verdict::kDamaged;
}

std::string failure_of(int exit_code) {
    if (exit_code <= kSignalBase)
        return "its tool could not be run (exit code " + std::to_string(exit_code) + ")";
    return "its tool was killed by signal " + std::to_string(exit_code - kSignalBase) +
           ": it may need more memory than the appliance has (--memory)";
}

std::vector<FilesystemInfo> filesystems_to_check(const FilesystemReport& report,
                                                 const std::vector<std::string>& operands,
                                                 const DeviceAliases& aliases) {
    std::vector<FilesystemInfo> chosen;
    auto choose = [&](const FilesystemInfo& filesystem) {
        const bool known = std::any_of(chosen.begin(), chosen.end(), [&](const FilesystemInfo& other) {
            return other.device == filesystem.device ||
                   (filesystem.type == "btrfs" && other.type == "btrfs" && !filesystem.uuid.empty() &&
                    other.uuid == filesystem.uuid);
        });
        if (!known) chosen.push_back(filesystem);
    };
    for (const std::string& operand : operands) {
        const FilesystemInfo* found = find_device(report, operand, aliases);
        if (found == nullptr) throw Error(ErrorKind::kNotFound, "there is no " + operand);
        if (checker_of(found->type) == nullptr)
            throw Error(ErrorKind::kUnsupported,
                        operand + " can't be checked: it is " +
                            (found->type.empty() ? "of no known type" : found->type));
        choose(*found);
    }
    if (!operands.empty()) return chosen;
    for (const FilesystemInfo& filesystem : report.filesystems)
        if (filesystem.mountable && filesystem.kind != "subvolume") choose(filesystem);
    return chosen;
}

std::string degraded_array(const FilesystemReport& report, const FilesystemInfo& filesystem) {
    // What a device stands on is listed before it: no loop is followed.
    std::vector<std::string> below{filesystem.device};
    for (size_t i = report.filesystems.size(); i-- > 0;) {
        const FilesystemInfo& other = report.filesystems[i];
        if (std::find(below.begin(), below.end(), other.device) == below.end()) continue;
        if (other.degraded) return other.device;
        below.insert(below.end(), other.parts.begin(), other.parts.end());
    }
    return {};
}

}  // namespace inspect::cli
