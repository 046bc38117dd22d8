// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp alignment: where partitions begin, and whether storage likes it. Columns and exit codes are those of
// virt-alignment-scan.
#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "cli/guest.h"
#include "cli/partition_list.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kAlignmentOwnOptions[] = {
    {0, "uuid", Takes::kNothing, "", "name domains by their UUIDs, where all are looked at"},
};

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

// A guest's disks; `domain` is empty where the command line names the images.
struct Scanned {
    std::string domain;
    std::vector<ListedDisk> disks;
};

template <typename Function>
void for_each_partition(const std::vector<Scanned>& guests, Function function) {
    for (const Scanned& guest : guests)
        for (const ListedDisk& disk : guest.disks)
            for (const ListedPartition& partition : disk.partitions) function(guest.domain, partition);
}

// All domains of libvirt. One that can't be opened is told, and doesn't keep the others from being looked at;
// then `failed` is set.
std::vector<Scanned> scan_domains(Context& context, bool& failed) {
    std::vector<Scanned> guests;
    const std::string uri = context.args.value("connect").value_or("");
    for (const std::string& domain : domain_names(uri, context.args.has("uuid"))) {
        check_interrupted();
        try {
            SessionOptions options = session_options(context.args, Access::kRead);
            options.disks = domain_disk_specs(context.args, domain);
            if (options.disks.empty()) continue;
            Guest guest(context, std::move(options));
            guests.push_back({domain, list_partitions(guest)});
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::kCancelled) throw;
            failed = true;
            context.error("the domain '" + domain + "': " + error.message());
        }
    }
    return guests;
}

void write_json(Context& context, const std::vector<Scanned>& guests) {
    context.json.begin_object();
    context.json.begin_array("partitions");
    for_each_partition(guests, [&](const std::string& domain, const ListedPartition& partition) {
        context.json.begin_object();
        if (!domain.empty()) context.json.text("domain", domain);
        context.json.text("device", partition.device);
        context.json.number("start", partition.start);
        context.json.number("alignment", alignment_of(partition.start));
        context.json.boolean("ok", alignment_of(partition.start) >= kGood);
        context.json.end_object();
    });
    context.json.end_array();
    context.json.end_object();
}

int run_alignment(Context& context) {
    const Arguments& args = context.args;
    const bool all = !args.has("add") && !args.has("domain") && !args.has("domain-xml");
    if (args.has("uuid") && !all)
        throw UsageError("--uuid names domains where all are looked at: no -a, no -d");
    bool failed = false;
    std::vector<Scanned> guests;
    if (all) {
        guests = scan_domains(context, failed);
    } else {
        Guest guest(context, Access::kRead);
        guests.push_back({"", list_partitions(guest)});
    }
    uint64_t worst = UINT64_MAX;
    std::vector<std::vector<std::string>> rows;
    for_each_partition(guests, [&](const std::string& domain, const ListedPartition& partition) {
        const uint64_t alignment = alignment_of(partition.start);
        worst = std::min(worst, alignment);
        rows.push_back({(domain.empty() ? "" : escape_message(domain) + ":") + partition.device,
                        std::to_string(partition.start), size_text(alignment), verdict(alignment)});
    });
    if (context.wants_json()) {
        write_json(context, guests);
    } else if (!context.quiet()) {
        context.out.write(table(rows, {false, true, true, false}));
    }
    if (failed) return kExitFailure;
    return worst < kTolerable ? kExitBelow4K : worst < kGood ? kExitBelow64K : kExitSuccess;
}

}  // namespace

constexpr Command kAlignmentCommand = {
    .name = "alignment",
    .summary = "check where partitions begin",
    .operands = "",
    .description =
        "Lists the partitions with their first byte and its alignment, of all domains of libvirt\n"
        "where neither images nor a domain are given. Exit code 0: all are aligned to 64 KiB or\n"
        "more; 2: some to less; 3: some to less than 4 KiB; 1: it failed, or the command line is\n"
        "wrong.",
    .examples =
        "insp alignment -a disk.img\n"
        "insp alignment -c qemu:///system",
    .options = kAlignmentOwnOptions,
    .shared_options = kDiskOptions | kDisksOptional | kJsonOption,
    .max_operands = 0,
    .run = run_alignment,
    .usage_code = kExitFailure,
};

}  // namespace inspect::cli
