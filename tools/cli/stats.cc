// SPDX-License-Identifier: GPL-2.0-or-later
//
// --stats: a SessionStats as a table or as a line of JSON.
#include <cstdio>

#include "cli/guest.h"
#include "cli/text.h"

namespace inspect::cli {
namespace {

std::string milliseconds(uint64_t ns) {
    char text[32];
    snprintf(text, sizeof text, "%.3f ms", static_cast<double>(ns) / 1e6);
    return text;
}

// "a_ns" is a - b, never below 0.
uint64_t difference(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

std::string as_table(const SessionStats& stats, uint64_t total_ns) {
    std::vector<std::vector<std::string>> rows = {
        {"engine", escape_message(stats.engine)},
        {"start", stats.warm ? "warm, from a snapshot" : "cold, booted"},
        {"total", milliseconds(total_ns)},
        {"  in KVM_RUN", milliseconds(stats.run_ns)},
        {"  outside KVM_RUN", milliseconds(difference(total_ns, stats.run_ns))},
        {"    engine", milliseconds(stats.engine_ns)},
        {"    VMM set-up", milliseconds(stats.setup_ns)},
        {"    VM exits", milliseconds(stats.exit_ns)},
    };
    uint64_t exits = 0;
    for (const auto& [cause, count] : stats.exits) exits += count;
    rows.push_back({"VM exits", std::to_string(exits)});
    for (const auto& [cause, count] : stats.exits)
        rows.push_back({"  " + escape_message(cause), std::to_string(count)});
    rows.push_back({"block requests", std::to_string(stats.block_requests)});
    rows.push_back({"  read", human_size(stats.block_bytes_read)});
    rows.push_back({"  written", human_size(stats.block_bytes_written)});
    rows.push_back({"to the appliance", human_size(stats.channel_bytes_in)});
    rows.push_back({"from the appliance", human_size(stats.channel_bytes_out)});
    rows.push_back({"guest pages touched", std::to_string(stats.pages_touched)});
    if (stats.emulated_instructions > 0)
        rows.push_back({"emulated instructions", std::to_string(stats.emulated_instructions)});
    rows.push_back({"VMM's peak memory", human_size(stats.peak_rss_bytes)});
    return table(rows, {false, true});
}

std::string as_json(const SessionStats& stats, uint64_t total_ns) {
    std::string out = std::string("{\"warm\": ") + (stats.warm ? "true" : "false");
    out += ", \"engine\": \"" + escape_message(stats.engine) + "\"";  // a word of the library's
    auto number = [&](const char* key, uint64_t value) {
        out += std::string(", \"") + key + "\": " + std::to_string(value);
    };
    number("total_ns", total_ns);
    number("run_ns", stats.run_ns);
    number("outside_run_ns", difference(total_ns, stats.run_ns));
    number("engine_ns", stats.engine_ns);
    number("setup_ns", stats.setup_ns);
    number("exit_ns", stats.exit_ns);
    out += ", \"exits\": {";
    const char* separator = "";
    for (const auto& [cause, count] : stats.exits) {
        out += separator;
        // Causes are words of the VMM; whatever else they had would break the line.
        out += "\"" + escape_message(cause) + "\": " + std::to_string(count);
        separator = ", ";
    }
    out += "}";
    number("block_requests", stats.block_requests);
    number("block_bytes_read", stats.block_bytes_read);
    number("block_bytes_written", stats.block_bytes_written);
    number("channel_bytes_in", stats.channel_bytes_in);
    number("channel_bytes_out", stats.channel_bytes_out);
    number("pages_touched", stats.pages_touched);
    number("emulated_instructions", stats.emulated_instructions);
    number("peak_rss_bytes", stats.peak_rss_bytes);
    return out + "}\n";
}

}  // namespace

std::string format_stats(const SessionStats& stats, uint64_t total_ns, StatsFormat format) {
    return format == StatsFormat::kJson ? as_json(stats, total_ns) : as_table(stats, total_ns);
}

}  // namespace inspect::cli
