// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/backup_output.h"

#include <algorithm>

#include "cli/text.h"

namespace inspect::cli {
namespace {

constexpr size_t kShortId = 8;

std::string join(const std::vector<std::string>& words) {
    std::string out;
    for (const std::string& word : words) out += (out.empty() ? "" : ",") + escape_message(word);
    return out;
}

void write_strings(JsonWriter& json, const char* key, const std::vector<std::string>& values) {
    json.begin_array(key);
    for (const std::string& value : values) json.text({}, value);
    json.end_array();
}

void write_snapshot(JsonWriter& json, const char* key, const BackupSnapshot& snapshot) {
    json.begin_object(key);
    json.text("id", snapshot.id);
    json.text("time", utc_time(snapshot.time_ns));
    json.optional_text("guest", snapshot.guest);
    json.text("hostname", snapshot.hostname);
    json.text("username", snapshot.username);
    write_strings(json, "tags", snapshot.tags);
    write_strings(json, "paths", snapshot.paths);
    json.optional_text("parent", snapshot.parent);
    json.optional_text("program", snapshot.program);
    json.end_object();
}

}  // namespace

std::string backup_text(const BackupResult& result) {
    std::string out = escape_message(result.guest) + ": snapshot " + result.snapshot.substr(0, kShortId) +
                      ", " + human_size(result.stored) + " stored of a disk of " +
                      human_size(result.disk_size) + " (" + human_size(result.read) + " read";
    if (result.unchanged > 0) out += ", " + human_size(result.unchanged) + " known to be unchanged";
    if (result.free_space > 0) out += ", " + human_size(result.free_space) + " free";
    if (result.swap_space > 0) out += ", " + human_size(result.swap_space) + " swap";
    return out + ")\n";
}

std::string backup_text(const std::vector<BackupSnapshot>& snapshots) {
    std::vector<std::vector<std::string>> rows = {{"ID", "TIME", "HOST", "TAGS", "GUEST"}};
    for (const BackupSnapshot& snapshot : snapshots)
        rows.push_back({snapshot.id.substr(0, kShortId), local_time(snapshot.time_ns),
                        escape_message(snapshot.hostname), join(snapshot.tags),
                        snapshot.guest.empty() ? join(snapshot.paths) : escape_message(snapshot.guest)});
    return table(rows, {});
}

std::string backup_text(const BackupInfo& info) {
    std::vector<std::vector<std::string>> rows = {
        {"Snapshot", info.snapshot.id},
        {"Guest",
         info.snapshot.guest.empty() ? join(info.snapshot.paths) : escape_message(info.snapshot.guest)},
        {"Time", local_time(info.snapshot.time_ns)},
        {"Host", escape_message(info.snapshot.hostname)},
        {"Stored", human_size(info.stored) + ", " + human_size(info.stored_alone) + " for it alone"},
    };
    if (!info.snapshot.tags.empty()) rows.push_back({"Tags", join(info.snapshot.tags)});
    for (const std::string& system : info.systems) rows.push_back({"System", escape_message(system)});
    if (info.has_domain_xml) rows.push_back({"Domain XML", "yes"});
    std::string out = table(rows, {});
    rows = {{"DISK", "SIZE", "DATA", "FREE", "SWAP", "SOURCE"}};
    for (const BackupDisk& disk : info.disks)
        rows.push_back(
            {escape_message(disk.name), human_size(disk.size), human_size(disk.data_size),
             human_size(disk.free_space), human_size(disk.swap_space),
             escape_message(disk.source) + (disk.changed_while_read ? " (changed while it was read)" : "")});
    return out + table(rows, {false, true, true, true, true});
}

std::string backup_text(const VerifyReport& report) {
    std::string out;
    for (const BackupDamage& damage : report.damage) out += "damaged: " + escape_message(damage.what) + "\n";
    for (const std::string& affected : report.affected) out += "affected: " + escape_message(affected) + "\n";
    out += std::to_string(report.snapshots) + " snapshots, " + std::to_string(report.packs) + " packs, " +
           std::to_string(report.blobs) + " blobs, " + human_size(report.bytes) + ": ";
    return out + (report.damage.empty() ? "no damage\n"
                                        : std::to_string(report.damage.size()) + " damaged or missing\n");
}

void backup_json(JsonWriter& json, const BackupResult& result) {
    json.begin_object();
    json.text("guest", result.guest);
    json.text("snapshot", result.snapshot);
    json.optional_text("parent", result.parent);
    json.number("disk_size", result.disk_size);
    json.number("read", result.read);
    json.number("unchanged", result.unchanged);
    json.number("free_space", result.free_space);
    json.number("swap_space", result.swap_space);
    json.number("new_chunks", result.new_chunks);
    json.number("known_chunks", result.known_chunks);
    json.number("stored", result.stored);
    json.boolean("changed_while_read", result.changed_while_read);
    write_strings(json, "warnings", result.warnings);
    json.end_object();
}

void backup_json(JsonWriter& json, const char* key, const std::vector<BackupSnapshot>& snapshots) {
    json.begin_array(key);
    for (const BackupSnapshot& snapshot : snapshots) write_snapshot(json, "", snapshot);
    json.end_array();
}

void backup_json(JsonWriter& json, const BackupInfo& info) {
    write_snapshot(json, "snapshot", info.snapshot);
    json.begin_array("disks");
    for (const BackupDisk& disk : info.disks) {
        json.begin_object();
        json.text("name", disk.name);
        json.optional_text("source", disk.source);
        json.optional_text("format", disk.format);
        json.number("size", disk.size);
        json.number("data_size", disk.data_size);
        json.number("chunks", disk.chunks);
        json.number("free_space", disk.free_space);
        json.number("swap_space", disk.swap_space);
        json.boolean("changed_while_read", disk.changed_while_read);
        json.end_object();
    }
    json.end_array();
    write_strings(json, "systems", info.systems);
    json.number("stored", info.stored);
    json.number("stored_alone", info.stored_alone);
    json.boolean("has_domain_xml", info.has_domain_xml);
}

void backup_json(JsonWriter& json, const VerifyReport& report) {
    json.begin_array("damage");
    for (const BackupDamage& damage : report.damage) json.text({}, damage.what);
    json.end_array();
    write_strings(json, "affected", report.affected);
    write_strings(json, "notes", report.notes);
    json.number("snapshots", report.snapshots);
    json.number("packs", report.packs);
    json.number("blobs", report.blobs);
    json.number("bytes", report.bytes);
}

std::string backup_progress(const BackupProgress& progress, double seconds) {
    const double done = static_cast<double>(progress.done), total = static_cast<double>(progress.total);
    std::string out = std::to_string(progress.total == 0 ? 0 : static_cast<int>(100 * done / total)) +
                      "% of " + human_size(progress.total);
    if (seconds <= 0 || progress.done == 0) return out;
    out += ", " + human_size(static_cast<uint64_t>(done / seconds)) + "/s";
    return out + ", " + std::to_string(static_cast<int64_t>((total - done) * seconds / done)) + " s left";
}

}  // namespace inspect::cli
