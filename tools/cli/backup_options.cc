// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/backup_options.h"

#include <set>

#include "cli/guest.h"
#include "cli/text.h"
#include "cli/values.h"

namespace inspect::cli {
namespace {

constexpr int kMaxCompression = 19, kAutoCompression = 3, kFastCompression = -5;
constexpr uint64_t kMinRate = 4096;
constexpr uint64_t kMostKept = 999'999;

unsigned count_of(const Arguments& args, const char* option) {
    return static_cast<unsigned>(number_of(args, option, kMostKept).value_or(0));
}

// "1y6m7d12h" as restic has it.
uint64_t duration_of(const std::string& text) {
    uint64_t seconds = 0, number = 0;
    bool digits = false;
    for (char c : text) {
        if (c >= '0' && c <= '9' && number < 100'000) {
            number = number * 10 + static_cast<uint64_t>(c - '0');
            digits = true;
            continue;
        }
        const uint64_t unit = c == 'h'   ? 3600
                              : c == 'd' ? 86400
                              : c == 'm' ? 30 * 86400
                              : c == 'y' ? 365 * 86400
                                         : 0;
        if (unit == 0 || !digits)
            throw UsageError("--keep-within is a time such as 1y6m7d12h, not '" + text + "'");
        seconds += number * unit;
        number = 0;
        digits = false;
    }
    if (digits || text.empty())
        throw UsageError("--keep-within is a time such as 1y6m7d12h, not '" + text + "'");
    return seconds;
}

}  // namespace

BackupAccess backup_access(const Arguments& args) {
    return {args.value("repo").value_or(""), args.value("password-file").value_or(""),
            args.value("password-command").value_or("")};
}

std::vector<BackupGuest> backup_guests(const Arguments& args) {
    const std::span<const std::string> images = std::span(args.operands()).subspan(1);
    std::vector<DiskSpec> disks = disk_specs(args, images);
    const auto first_image = disks.end() - static_cast<ptrdiff_t>(images.size());
    std::vector<BackupGuest> guests;
    if (first_image != disks.begin()) {
        BackupGuest guest;
        guest.disks.assign(disks.begin(), first_image);
        guest.name = args.value("name").value_or(args.value("domain").value_or(""));
        if (const auto xml = args.value("domain-xml")) guest.domain_xml = domain_xml_file(*xml);
        guests.push_back(std::move(guest));
    }
    for (auto disk = first_image; disk != disks.end(); ++disk)
        guests.push_back({.name = args.value("name").value_or(""), .disks = {*disk}});
    if (guests.empty()) throw UsageError("back up what? Give images, or -a or -d");
    if (guests.size() > 1 && args.has("name"))
        throw UsageError("--name can only name one guest; several disks of one guest are given by -a");
    std::set<std::string> names;
    for (const BackupGuest& guest : guests) {
        const std::string name = as_usage([&] { return backup_guest_name(guest); });
        if (!names.insert(name).second)
            throw UsageError("two images would be the guest '" + name +
                             "': back them up one by one, with --name");
    }
    return guests;
}

SessionOptions backup_appliance(const Arguments& args) {
    SessionOptions options = appliance_options(args);
    options.keys = keys_of(args);
    return options;
}

BackupOptions backup_options(const Arguments& args) {
    using Ask = BackupOptions::AskAppliance;
    BackupOptions options;
    options.tags = args.values("tag");
    options.hostname = args.value("host").value_or("");
    options.used_blocks_only = !args.has("all-blocks");
    const std::string ask = one_of(args, "ask-appliance", {"auto", "always", "never"}, "auto");
    options.ask_appliance = ask == "always" ? Ask::kAlways : ask == "never" ? Ask::kNever : Ask::kAuto;
    options.trust_mtime = args.has("trust-mtime");
    options.inspect = args.has("inspect");
    options.appliance = backup_appliance(args);
    options.bitmap = args.value("bitmap").value_or("");
    if (const auto rate = args.value("limit-rate")) {
        options.rate_limit = parse_size(*rate, 1).value_or(0);
        if (options.rate_limit < kMinRate) throw UsageError("--limit-rate is a size of 4K or more, a second");
    }
    const std::string compression = one_of(args, "compression", {"off", "auto", "max"}, "auto");
    options.compression_level = compression == "max"    ? kMaxCompression
                                : compression == "auto" ? kAutoCompression
                                                        : kFastCompression;
    return options;
}

ForgetOptions forget_options(const Arguments& args) {
    ForgetOptions options;
    options.snapshots.assign(args.operands().begin() + 1, args.operands().end());
    options.policy.last = count_of(args, "keep-last");
    options.policy.hourly = count_of(args, "keep-hourly");
    options.policy.daily = count_of(args, "keep-daily");
    options.policy.weekly = count_of(args, "keep-weekly");
    options.policy.monthly = count_of(args, "keep-monthly");
    options.policy.yearly = count_of(args, "keep-yearly");
    if (const auto within = args.value("keep-within")) options.policy.within_seconds = duration_of(*within);
    options.policy.tags = args.values("keep-tag");
    options.guest = args.value("guest").value_or("");
    options.hostname = args.value("host").value_or("");
    options.tags = args.values("tag");
    options.dry_run = args.has("dry-run");
    if (options.snapshots.empty() && options.policy.empty())
        throw UsageError("forget what? Give snapshots, or what to keep: --keep-last, --keep-daily...");
    if (!options.snapshots.empty() && options.selects())
        throw UsageError(
            "snapshots that are named are forgotten, whatever a policy would keep: give either names or a "
            "policy; one guest's snapshots are --guest " +
            options.snapshots[0]);
    return options;
}

}  // namespace inspect::cli
