// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/listing.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdio>

#include "cli/text.h"

namespace inspect::cli {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

std::string padded(std::string text, size_t width) {
    if (text.size() < width) text.insert(0, width - text.size(), ' ');
    return text;
}

std::string device_number(uint32_t major, uint32_t minor) {
    return std::to_string(major) + ":" + std::to_string(minor);
}

// Whole seconds, rounded down also before 1970.
int64_t seconds_of(int64_t ns) { return ns / kNsPerSecond - (ns % kNsPerSecond < 0 ? 1 : 0); }

std::string time_field(const ListingOptions& options, int64_t time_ns) {
    int64_t seconds = seconds_of(time_ns);
    int64_t now = seconds_of(options.now_ns);
    switch (options.time_format) {
        case TimeFormat::kSeconds:
            return padded(std::to_string(seconds), 10);
        case TimeFormat::kRelativeSeconds:
            return padded(std::to_string(now - seconds), 8);
        case TimeFormat::kRelativeDays:
            return padded(std::to_string((now - seconds) / 86400), 3);
        case TimeFormat::kDate:
            break;
    }
    return local_time(time_ns);
}

std::string unpadded(const std::string& text) {
    return text.substr(std::min(text.find_first_not_of(' '), text.size()));
}

std::string size_or_device(const ListingOptions& options, const FileStat& stat) {
    if (S_ISCHR(stat.mode) || S_ISBLK(stat.mode))
        return std::to_string(stat.rdev_major) + ", " + std::to_string(stat.rdev_minor);
    return options.human ? human_size(stat.size) : std::to_string(stat.size);
}

std::string name_and_target(std::string_view name, const FileStat& stat) {
    std::string out = escape_control(name);
    if (S_ISLNK(stat.mode)) out += " -> " + escape_control(stat.link_target);
    return out;
}

}  // namespace

std::string full_line(const ListingOptions& options, std::string_view path, const FileStat& stat) {
    char permissions[16];
    snprintf(permissions, sizeof permissions, "%04o", stat.mode & 07777);
    std::vector<std::string> fields = {std::string(1, type_letter(stat.mode)), permissions};
    fields.push_back(padded(options.human ? human_size(stat.size) : std::to_string(stat.size), 10));
    if (options.uids) {
        fields.push_back(padded(std::to_string(stat.uid), 4));
        fields.push_back(padded(std::to_string(stat.gid), 4));
    }
    if (options.times)
        for (int64_t time : {stat.atime_ns, stat.mtime_ns, stat.ctime_ns})
            fields.push_back(time_field(options, time));
    if (options.extra_stats) {
        fields.push_back(device_number(major(stat.device), minor(stat.device)));
        fields.push_back(std::to_string(stat.inode));
        fields.push_back(std::to_string(stat.links));
        fields.push_back(device_number(stat.rdev_major, stat.rdev_minor));
        fields.push_back(std::to_string(stat.blocks_512));
    }
    std::string line;
    if (options.csv) {
        fields.emplace_back(path);
        if (S_ISLNK(stat.mode)) fields.push_back(stat.link_target);
        for (size_t i = 0; i < fields.size(); ++i) {
            // Numbers are aligned for people, not for programs; a name keeps its spaces.
            bool is_name = i >= fields.size() - (S_ISLNK(stat.mode) ? 2 : 1);
            line += (i == 0 ? "" : ",") + csv_field(is_name ? fields[i] : unpadded(fields[i]));
        }
    } else {
        for (const std::string& field : fields) line += field + " ";
        line += name_and_target(path, stat);
    }
    return line + "\n";
}

std::string long_listing(const ListingOptions& options, const std::vector<DirectoryEntry>& entries) {
    std::vector<std::vector<std::string>> rows;
    uint64_t blocks = 0;
    for (const DirectoryEntry& entry : entries) {
        const FileStat& stat = entry.stat;
        blocks += stat.blocks_512;
        std::vector<std::string> row = {mode_string(stat.mode), std::to_string(stat.links),
                                        std::to_string(stat.uid), std::to_string(stat.gid),
                                        size_or_device(options, stat)};
        if (options.times) {
            row.push_back(unpadded(time_field(options, stat.atime_ns)));
            row.push_back(unpadded(time_field(options, stat.mtime_ns)));
            row.push_back(unpadded(time_field(options, stat.ctime_ns)));
        } else {
            row.push_back(local_time(stat.mtime_ns).substr(0, 16));
        }
        row.push_back(name_and_target(entry.path, stat));
        rows.push_back(std::move(row));
    }
    std::string total = options.human ? human_size(blocks * 512) : std::to_string(blocks / 2);
    return "total " + total + "\n" + table(rows, {false, true, true, true, true}, " ");
}

void json_entry(JsonWriter& json, std::string_view path, uint32_t type_bits, const FileStat* stat) {
    json.text("path", path);
    if (stat == nullptr) {
        json.text("type", type_word(type_bits));
        return;
    }
    char permissions[16];
    snprintf(permissions, sizeof permissions, "%04o", stat->mode & 07777);
    json.text("type", type_word(stat->mode));
    json.text("mode", permissions);
    json.number("size", stat->size);
    json.number("uid", stat->uid);
    json.number("gid", stat->gid);
    json.number("links", stat->links);
    json.number("inode", stat->inode);
    json.number("blocks_512", stat->blocks_512);
    json.text("atime", utc_time(stat->atime_ns));
    json.text("mtime", utc_time(stat->mtime_ns));
    json.text("ctime", utc_time(stat->ctime_ns));
    if (S_ISCHR(stat->mode) || S_ISBLK(stat->mode))
        json.text("rdev", device_number(stat->rdev_major, stat->rdev_minor));
    if (S_ISLNK(stat->mode)) json.text("target", stat->link_target);
}

}  // namespace inspect::cli
