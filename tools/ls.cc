// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp ls: directories of the guest, in virt-ls' four modes and as JSON.
#include <chrono>

#include "cli/guest.h"
#include "cli/guest_path.h"
#include "cli/listing.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kLsOwnOptions[] = {
    {'l', "long", Takes::kNothing, "", "with type, permissions, owner, size and time"},
    {'R', "recursive", Takes::kNothing, "", "and all that is below"},
    {'h', "human-readable", Takes::kNothing, "", "sizes as 1.5K, 3.2G"},
    {0, "csv", Takes::kNothing, "", "comma-separated values, a line an entry"},
    {0, "uids", Takes::kNothing, "", "with -lR: numeric owner and group", "uid"},
    {0, "times", Takes::kNothing, "", "with -l: access, modification and change times"},
    {0, "time-t", Takes::kNothing, "", "times as seconds since 1970"},
    {0, "time-relative", Takes::kNothing, "", "times as seconds before now"},
    {0, "time-days", Takes::kNothing, "", "times as days before now"},
    {0, "extra-stats", Takes::kNothing, "", "with -lR: device, inode, links, rdev, blocks", "extra-stat"},
};

ListingOptions listing_options(const Arguments& args) {
    ListingOptions options;
    options.csv = args.has("csv");
    options.human = args.has("human-readable");
    options.uids = args.has("uids");
    options.extra_stats = args.has("extra-stats");
    options.times = args.has("times");
    if (args.has("time-t")) options.time_format = TimeFormat::kSeconds;
    if (args.has("time-relative")) options.time_format = TimeFormat::kRelativeSeconds;
    if (args.has("time-days")) options.time_format = TimeFormat::kRelativeDays;
    if (options.time_format != TimeFormat::kDate) options.times = true;
    options.now_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
    bool plain = !args.has("long") && !options.csv;
    if (plain && !args.has("json") && (options.uids || options.times || options.extra_stats))
        throw UsageError("--uids, --times and --extra-stats need -l");
    // Spreadsheets don't understand "1.5K" (virt-ls refuses it, too).
    if (options.csv && options.human) throw UsageError("--csv and -h can't be used together");
    if (options.csv && args.has("json")) throw UsageError("--csv and --json can't be used together");
    return options;
}

// One way of printing for the whole run.
class Lister {
  public:
    Lister(Context& context, Guest& guest)
        : context_(context),
          guest_(guest),
          options_(listing_options(context.args)),
          long_(context.args.has("long")),
          recursive_(context.args.has("recursive")),
          full_(long_ && (recursive_ || options_.csv) && !context.wants_json()),
          // A terminal obeys what it shows; pipes and files get the bytes.
          escape_(context.out.is_terminal()) {}

    // True when every entry could be read.
    bool list(const std::string& directory) {
        complete_ = true;
        if (full_ && recursive_) {  // virt-ls begins with the directory itself
            FileStat stat = guest_.call("stat", {directory}).stat(directory, true);
            context_.out.write(full_line(options_, directory, stat));
        }
        std::vector<DirectoryEntry> rows;
        guest_.call("list_directory", {directory})
            .list_directory(directory, recursive_, long_, [&](const DirectoryEntry& entry) {
                if (!entry.error.empty()) {
                    complete_ = false;
                    context_.error(join_path(directory, entry.path) + ": " + entry.error);
                    return;
                }
                if (long_ && !full_ && !context_.wants_json()) {
                    rows.push_back(entry);
                } else {
                    print(directory, entry);
                }
            });
        if (long_ && !full_ && !context_.wants_json()) context_.out.write(long_listing(options_, rows));
        return complete_;
    }

  private:
    void print(const std::string& directory, const DirectoryEntry& entry) {
        if (context_.wants_json()) {
            context_.json.begin_object();
            json_entry(context_.json, join_path(directory, entry.path), mode_of_dirent_type(entry.type),
                       long_ ? &entry.stat : nullptr);
            context_.json.end_object();
        } else if (full_) {
            context_.out.write(full_line(options_, join_path(directory, entry.path), entry.stat));
        } else {
            std::string name = options_.csv ? csv_field(entry.path) : entry.path;
            context_.out.write((escape_ ? escape_control(name) : name) + "\n");
        }
    }

    Context& context_;
    Guest& guest_;
    ListingOptions options_;
    bool long_;
    bool recursive_;
    bool full_;  // virt-ls' fields, a line an entry
    bool escape_;
    bool complete_ = true;
};

int run_ls(Context& context) {
    listing_options(context.args);  // before anything starts
    Guest guest(context, Access::kRead);
    guest.mount();
    Lister lister(context, guest);
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.begin_array("entries");
    }
    bool complete = true;
    for (const std::string& directory : context.args.operands()) complete &= lister.list(directory);
    if (context.wants_json()) {
        context.json.end_array();
        context.json.boolean("complete", complete);
        context.json.end_object();
    }
    context.out.flush();
    return complete ? kExitSuccess : kExitFailure;
}

}  // namespace

constexpr Command kLsCommand = {
    .name = "ls",
    .summary = "list directories of the guest",
    .operands = "DIRECTORY...",
    .description =
        "Lists names, one a line; -l as 'ls -l', -lR a line of fields for each path. Names are\n"
        "not quoted: use --csv or --json where a program reads them.",
    .examples =
        "insp ls -a disk.img -l /etc\n"
        "insp ls -a disk.img -lR --csv --uids --times /home\n"
        "insp ls -a disk.img -lR --json / | jq -r '.entries[] | select(.size > 1e8).path'",
    .options = kLsOwnOptions,
    .shared_options = kDiskOptions | kMountOptions | kJsonOption,
    .min_operands = 1,
    .run = run_ls,
};

}  // namespace inspect::cli
