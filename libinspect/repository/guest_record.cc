// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/guest_record.h"

#include <inspect/error.h>

#include "repository/json.h"

namespace inspect::repository {

namespace {

constexpr uint64_t kVersion = 1;
constexpr std::string_view kFormat = "insp-guest";

[[noreturn]] void damaged_record(const char* why) {
    throw Error(ErrorKind::kCorrupt, std::string("guest.json makes no sense: ") + why);
}

class RecordVisitor final : public JsonVisitor {
  public:
    GuestRecord take() {
        if (format_ != kFormat) damaged_record("it describes no guest");
        if (version_ != kVersion)
            throw Error(ErrorKind::kUnsupported,
                        "the backup was made by a newer insp (guest.json has version " +
                            std::to_string(version_) + ")");
        return std::move(record_);
    }

  private:
    void begin_object(std::string_view path) override {
        if (path == "disks[]") record_.disks.emplace_back();
        if (path == "disks[].files[]") record_.disks.back().files.emplace_back();
        if (path == "volumes[]") record_.volumes.emplace_back();
        if (path == "systems[]") record_.systems.emplace_back();
    }

    void text(std::string_view path, std::string& value) override {
        if (path == "format") format_ = value;
        if (path == "name") record_.name = value;
        if (path == "disks[].file") record_.disks.back().file = value;
        if (path == "disks[].source") record_.disks.back().source = value;
        if (path == "disks[].format") record_.disks.back().format = value;
        if (path == "disks[].files[].path") record_.disks.back().files.back().path = value;
        if (path == "volumes[].device") record_.volumes.back().device = value;
        if (path == "volumes[].type") record_.volumes.back().type = value;
        if (path == "volumes[].left_out") record_.volumes.back().left_out = value;
        if (path == "volumes[].reason") record_.volumes.back().reason = value;
        if (!path.starts_with("systems[].")) return;
        OsRecord& system = record_.systems.back();
        path.remove_prefix(sizeof("systems[].") - 1);
        if (path == "root") system.root = value;
        if (path == "type") system.type = value;
        if (path == "distro") system.distro = value;
        if (path == "product_name") system.product_name = value;
        if (path == "hostname") system.hostname = value;
    }

    void number(std::string_view path, uint64_t value) override {
        if (path == "version") version_ = value;
        if (path == "chunk_size") record_.chunk_size = value;
        if (path == "zero_unit") record_.zero_unit = value;
        if (path == "volumes[].bytes") record_.volumes.back().bytes = value;
        if (path == "systems[].major") record_.systems.back().major = value;
        if (path == "systems[].minor") record_.systems.back().minor = value;
        if (!path.starts_with("disks[].")) return;
        DiskRecord& disk = record_.disks.back();
        path.remove_prefix(sizeof("disks[].") - 1);
        if (path == "size") disk.size = value;
        if (path == "sector_size") disk.sector_size = value;
        if (path == "left_out.free") disk.left_out_free = value;
        if (path == "left_out.swap") disk.left_out_swap = value;
        if (!path.starts_with("files[].")) return;
        SourceFile& file = disk.files.back();
        path.remove_prefix(sizeof("files[].") - 1);
        if (path == "device") file.device = value;
        if (path == "inode") file.inode = value;
        if (path == "size") file.size = value;
        if (path == "mtime_ns") file.modified_ns = value;
        if (path == "ctime_ns") file.changed_ns = value;
    }

    void boolean(std::string_view path, bool value) override {
        if (path == "disks[].changed_while_read") record_.disks.back().changed_while_read = value;
    }

    GuestRecord record_;
    std::string format_;
    uint64_t version_ = 0;
};

}  // namespace

uint64_t GuestRecord::total_size() const {
    uint64_t total = 0;
    for (const DiskRecord& disk : disks) total += disk.size;
    return total;
}

std::string format_guest_record(const GuestRecord& record) {
    JsonBuilder json;
    json.begin_object().text("format", kFormat).number("version", kVersion).text("name", record.name);
    json.number("chunk_size", record.chunk_size).number("zero_unit", record.zero_unit).begin_array("disks");
    for (const DiskRecord& disk : record.disks) {
        json.begin_object().text("file", disk.file).text("source", disk.source).text("format", disk.format);
        json.number("size", disk.size).number("sector_size", disk.sector_size).begin_array("files");
        for (const SourceFile& file : disk.files) {
            json.begin_object().text("path", file.path).number("device", file.device);
            json.number("inode", file.inode).number("size", file.size).number("mtime_ns", file.modified_ns);
            json.number("ctime_ns", file.changed_ns).end_object();
        }
        json.end_array().begin_object("left_out").number("free", disk.left_out_free);
        json.number("swap", disk.left_out_swap).end_object();
        json.boolean("changed_while_read", disk.changed_while_read).end_object();
    }
    json.end_array().begin_array("volumes");
    for (const VolumeRecord& volume : record.volumes) {
        json.begin_object().text("device", volume.device).text("type", volume.type);
        json.text("left_out", volume.left_out).number("bytes", volume.bytes);
        json.text("reason", volume.reason).end_object();
    }
    json.end_array().begin_array("systems");
    for (const OsRecord& system : record.systems) {
        json.begin_object().text("root", system.root).text("type", system.type);
        json.text("distro", system.distro).text("product_name", system.product_name);
        json.text("hostname", system.hostname).number("major", system.major).number("minor", system.minor);
        json.end_object();
    }
    return json.end_array().end_object().take() + "\n";
}

GuestRecord parse_guest_record(std::string_view text) {
    RecordVisitor visitor;
    parse_json(text, visitor);
    return visitor.take();
}

}  // namespace inspect::repository
