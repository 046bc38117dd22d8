// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/partition_list.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/appliance_script.h"
#include "cli/text.h"

namespace inspect::cli {
namespace {

// Two lines a disk, and its JSON, which ends before the next "disk" line.
constexpr char kLook[] =
    "for disk; do\n"
    "  echo \"disk $disk\"\n"
    "  perl -e 'open F, \"<\", $ARGV[0] or die; sysread F, $b, 512; print unpack(\"H*\", $b), \"\\n\"' $disk "
    "|| exit 1\n"
    "  sfdisk --json $disk 2>/dev/null\n"
    "done\n"
    "exit 0\n";

[[noreturn]] void not_understood() {
    throw Error(ErrorKind::kEngine,
                "what sfdisk in the appliance says of the partition table is not understood");
}

uint32_t number_of(const std::string& node) {
    size_t digits = node.size();
    while (digits > 0 && node[digits - 1] >= '0' && node[digits - 1] <= '9') --digits;
    if (digits == node.size() || node.size() - digits > 4) not_understood();
    return static_cast<uint32_t>(std::stoul(node.substr(digits)));
}

uint64_t in_bytes(uint64_t sectors, uint32_t sector_size) {
    if (sectors > UINT64_MAX / sector_size) not_understood();
    return sectors * sector_size;
}

std::string text_of(const nlohmann::json& object, const char* key) {
    auto found = object.find(key);
    return found == object.end() || !found->is_string() ? std::string() : found->get<std::string>();
}

}  // namespace

bool is_hybrid(const std::string& hex) {
    constexpr size_t kEntries = 446 * 2, kEntry = 16 * 2, kType = 4 * 2, kSectors = 12 * 2, kSectorHex = 1024;
    if (hex.size() < kSectorHex || hex.substr(510 * 2, 4) != "55aa") return false;
    bool protective = false, other = false;
    for (size_t i = 0; i < 4; ++i) {
        std::string entry = hex.substr(kEntries + i * kEntry, kEntry);
        std::string type = entry.substr(kType, 2);
        protective |= type == "ee";
        other |= type != "ee" && type != "00" && entry.substr(kSectors, 8) != "00000000";
    }
    return protective && other;
}

void parse_partition_table(const std::string& text, ListedDisk& disk) {
    // The name of a GPT's partition may have half a surrogate pair, which sfdisk prints as it is.
    nlohmann::json document = nlohmann::json::parse(valid_utf8(text), nullptr, false);
    if (document.is_discarded() || !document.is_object() || !document.contains("partitiontable"))
        not_understood();
    const nlohmann::json& table = document["partitiontable"];
    if (!table.is_object()) not_understood();
    disk.table = text_of(table, "label");
    disk.identifier = text_of(table, "id");
    auto partitions = table.find("partitions");
    if (partitions == table.end()) return;
    if (!partitions->is_array()) not_understood();
    for (const nlohmann::json& entry : *partitions) {
        if (!entry.is_object() || !entry.contains("start") || !entry["start"].is_number_unsigned() ||
            !entry.contains("size") || !entry["size"].is_number_unsigned())
            not_understood();
        ListedPartition partition;
        partition.number = number_of(text_of(entry, "node"));
        partition.device = disk.device + std::to_string(partition.number);
        partition.start = in_bytes(entry["start"].get<uint64_t>(), disk.sector_size);
        partition.size = in_bytes(entry["size"].get<uint64_t>(), disk.sector_size);
        partition.type = text_of(entry, "type");
        if (disk.table == "dos") partition.type = "0x" + partition.type;
        partition.uuid = text_of(entry, "uuid");
        partition.name = text_of(entry, "name");
        partition.attributes = text_of(entry, "attrs");
        partition.bootable = entry.value("bootable", false);
        disk.partitions.push_back(std::move(partition));
    }
    // mkfs.fat makes something like a table before a file system that takes the whole disk, as Windows does.
    if (disk.table == "dos" && disk.partitions.size() == 1 && disk.partitions[0].start == 0) {
        disk.table.clear();
        disk.identifier.clear();
        disk.partitions.clear();
    }
    std::sort(disk.partitions.begin(), disk.partitions.end(),
              [](const auto& a, const auto& b) { return a.number < b.number; });
}

std::vector<ListedDisk> list_partitions(Guest& guest) {
    FilesystemReport report = guest.call("filesystems").filesystems();
    std::vector<ListedDisk> disks;
    Script look{.text = kLook};
    for (const DiskInfo& info : report.disks) {
        ListedDisk disk;
        disk.device = info.device;
        disk.size = info.size_bytes;
        disk.sector_size = info.sector_size;
        for (const std::string& warning : report.warnings) {
            if (warning.starts_with(info.device + ":")) disk.warnings.push_back(warning);
        }
        disks.push_back(std::move(disk));
        look.arguments.push_back(info.device);
    }
    std::string output = must_run_script(guest, look, "cannot read the partition tables").output;
    size_t at = 0;
    for (size_t i = 0; i < disks.size(); ++i) {
        std::string head = "disk " + disks[i].device + "\n";
        if (output.compare(at, head.size(), head) != 0) not_understood();
        at += head.size();
        size_t line = output.find('\n', at);
        if (line == output.npos) not_understood();
        disks[i].hybrid = is_hybrid(output.substr(at, line - at));
        size_t end =
            i + 1 < disks.size() ? output.find("\ndisk " + disks[i + 1].device + "\n", line) : output.npos;
        std::string json = output.substr(line + 1, end == output.npos ? end : end - line);
        at = end == output.npos ? output.size() : end + 1;
        if (json.find('{') != json.npos) parse_partition_table(json, disks[i]);
        disks[i].hybrid = disks[i].hybrid && disks[i].table == "gpt";
    }
    return disks;
}

void write_disks(JsonWriter& json, const std::vector<ListedDisk>& disks) {
    json.begin_array("disks");
    for (const ListedDisk& disk : disks) {
        json.begin_object();
        json.text("device", disk.device);
        json.number("size", disk.size);
        json.number("sector_size", disk.sector_size);
        json.optional_text("table", disk.table);
        json.optional_text("identifier", disk.identifier);
        json.boolean("hybrid", disk.hybrid);
        json.begin_array("partitions");
        for (const ListedPartition& partition : disk.partitions) {
            json.begin_object();
            json.text("device", partition.device);
            json.number("number", partition.number);
            json.number("start", partition.start);
            json.number("size", partition.size);
            json.text("type", partition.type);
            json.optional_text("uuid", partition.uuid);
            json.optional_text("name", partition.name);
            json.optional_text("attributes", partition.attributes);
            json.boolean("bootable", partition.bootable);
            json.end_object();
        }
        json.end_array();
        json.begin_array("warnings");
        for (const std::string& warning : disk.warnings) json.text("", warning);
        json.end_array();
        json.end_object();
    }
    json.end_array();
}

}  // namespace inspect::cli
