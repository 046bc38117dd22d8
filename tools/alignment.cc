// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp alignment: where partitions begin, and whether storage likes it. Columns and exit codes are those of
// virt-alignment-scan.
#include <algorithm>
#include <bit>

#include "cli/guest.h"
#include "cli/partition_list.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr int kExitBelow64K = 2;
constexpr int kExitBelow4K = 3;
constexpr uint64_t kGood = 64 << 10;
constexpr uint64_t kTolerable = 4 << 10;

uint64_t alignment_of(uint64_t start) { return start == 0 ? 0 : uint64_t{1} << std::countr_zero(start); }

std::string size_text(uint64_t alignment) {
    return alignment >= 1024 ? std::to_string(alignment / 1024) + "K" : std::to_string(alignment);
}

const char* verdict(uint64_t alignment) {
    return alignment >= kGood        ? "ok"
           : alignment >= kTolerable ? "bad (alignment < 64K)"
                                     : "bad (alignment < 4K)";
}

int run_alignment(Context& context) {
    Guest guest(context, Access::kRead);
    std::vector<ListedDisk> disks = list_partitions(guest);
    uint64_t worst = UINT64_MAX;
    std::vector<std::vector<std::string>> rows;
    for (const ListedDisk& disk : disks) {
        for (const ListedPartition& partition : disk.partitions) {
            uint64_t alignment = alignment_of(partition.start);
            worst = std::min(worst, alignment);
            rows.push_back({partition.device, std::to_string(partition.start), size_text(alignment),
                            verdict(alignment)});
        }
    }
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.begin_array("partitions");
        for (const ListedDisk& disk : disks) {
            for (const ListedPartition& partition : disk.partitions) {
                context.json.begin_object();
                context.json.text("device", partition.device);
                context.json.number("start", partition.start);
                context.json.number("alignment", alignment_of(partition.start));
                context.json.boolean("ok", alignment_of(partition.start) >= kGood);
                context.json.end_object();
            }
        }
        context.json.end_array();
        context.json.end_object();
    } else if (!context.quiet()) {
        context.out.write(table(rows, {false, true, true, false}));
    }
    return worst < kTolerable ? kExitBelow4K : worst < kGood ? kExitBelow64K : kExitSuccess;
}

}  // namespace

constexpr Command kAlignmentCommand = {
    .name = "alignment",
    .summary = "check where partitions begin",
    .operands = "",
    .description =
        "Lists the partitions with their first byte and its alignment. Exit code 0: all are aligned\n"
        "to 64 KiB or more; 2: some to less; 3: some to less than 4 KiB; 1: it failed, or the command\n"
        "line is wrong.",
    .examples = "insp alignment -a disk.img",
    .options = {},
    .shared_options = kDiskOptions | kJsonOption,
    .max_operands = 0,
    .run = run_alignment,
    .usage_code = kExitFailure,
};

}  // namespace inspect::cli
