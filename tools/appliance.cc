// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp appliance: the appliance and its snapshots in the cache.
#include <nlohmann/json.hpp>

#include <inspect/appliance.h>

#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

void print_info_json(JsonWriter& json, const ApplianceInfo& info) {
    json.begin_object();
    json.text("version", info.version);
    json.text("kernel", info.kernel);
    json.text("directory", info.directory);
    json.number("size_bytes", info.size_bytes);
    json.text("cache_directory", info.cache_directory);
    json.begin_array("snapshots");
    for (const ApplianceInfo::Snapshot& snapshot : info.snapshots) {
        json.begin_object();
        json.text("path", snapshot.path);
        json.number("size_bytes", snapshot.size_bytes);
        json.boolean("current", snapshot.current);
        json.end_object();
    }
    json.end_array();
    // A file from the disk: only whole JSON may go into ours.
    nlohmann::json manifest = nlohmann::json::parse(info.manifest_json, nullptr, false);
    if (manifest.is_discarded()) {
        json.null("manifest");
    } else {
        json.raw("manifest", manifest.dump());
    }
    json.end_object();
}

std::string info_text(const ApplianceInfo& info) {
    std::vector<std::vector<std::string>> rows = {
        {"Version", escape_message(info.version)},       {"Kernel", escape_message(info.kernel)},
        {"Directory", escape_message(info.directory)},   {"Size", human_size(info.size_bytes)},
        {"Cache", escape_message(info.cache_directory)},
    };
    if (info.snapshots.empty()) rows.push_back({"Snapshots", "none: the next command makes one"});
    for (const ApplianceInfo::Snapshot& snapshot : info.snapshots)
        rows.push_back({"Snapshot", escape_message(snapshot.path) + " (" + human_size(snapshot.size_bytes) +
                                        (snapshot.current ? ", current)" : ", out of date)")});
    return table(rows, {});
}

int run_appliance(Context& context) {
    SessionOptions options = appliance_options(context.args);
    const std::string& action = context.args.operands()[0];
    JsonWriter& json = context.json;
    if (action == "info") {
        ApplianceInfo info = appliance_info(options);
        if (context.wants_json()) {
            print_info_json(json, info);
        } else {
            context.out.write(info_text(info));
        }
    } else if (action == "warm") {
        bool made = appliance_warm(options);
        if (context.wants_json()) {
            json.begin_object();
            json.boolean("made", made);
            json.end_object();
        } else if (!context.quiet()) {
            context.out.write(made ? "The snapshot was made.\n" : "The snapshot was there already.\n");
        }
    } else if (action == "clear") {
        uint64_t freed = appliance_clear(options);
        if (context.wants_json()) {
            json.begin_object();
            json.number("freed_bytes", freed);
            json.end_object();
        } else if (!context.quiet()) {
            context.out.write("Freed " + human_size(freed) + ".\n");
        }
    } else {
        throw UsageError("'" + action + "' is none of info, warm, clear");
    }
    return kExitSuccess;
}

}  // namespace

constexpr Command kApplianceCommand = {
    .name = "appliance",
    .summary = "show the appliance; make or remove its snapshot",
    .operands = "info|warm|clear",
    .description =
        "info shows where the appliance is and what is in its cache; warm makes the snapshot now\n"
        "rather than with the next command; clear removes all snapshots.",
    .examples =
        "insp appliance info\n"
        "insp appliance info --json | jq .manifest\n"
        "insp appliance warm",
    .options = {},
    .shared_options = kJsonOption | kMemoryOption,
    .min_operands = 1,
    .max_operands = 1,
    .operand_words = "info warm clear",
    .run = run_appliance,
};

}  // namespace inspect::cli
