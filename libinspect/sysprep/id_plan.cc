// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysprep/id_plan.h"

#include <algorithm>
#include <set>

namespace inspect {

namespace {

bool is_ext(const std::string& type) { return type == "ext2" || type == "ext3" || type == "ext4"; }

std::string upper_case(std::string text) {
    for (char& c : text)
        if (c >= 'a' && c <= 'f') c = static_cast<char>(c - 'a' + 'A');
    return text;
}

class Planner {
  public:
    Planner(const IdFacts& facts, const std::function<std::string()>& new_uuid)
        : facts_(facts), new_uuid_(new_uuid) {}

    std::vector<IdChange> plan() {
        for (const FilesystemInfo& volume : facts_.report.filesystems) ++holders_[volume.uuid];
        for (const FilesystemInfo& volume : facts_.report.filesystems) add_contents(volume);
        for (const VolumeGroupInfo& group : facts_.report.volume_groups) add_group(group);
        for (const DiskInfo& disk : facts_.report.disks) add_table(disk);
        return std::move(result_);
    }

  private:
    void add(IdChange::Kind kind, const std::string& device, const std::string& type,
             const std::string& old_id, const std::string& new_id, const std::string& kept = {}) {
        result_.push_back({kind, device, type, old_id, kept.empty() ? new_id : old_id, kept});
    }

    const FilesystemInfo* find(const std::string& device) const {
        for (const FilesystemInfo& volume : facts_.report.filesystems)
            if (volume.device == device) return &volume;
        return nullptr;
    }

    // Whether `device` stands on `below`, through whatever lies between.
    bool stands_on(const std::string& device, const std::string& below, unsigned depth = 0) const {
        constexpr unsigned kMostLevels = 20;
        if (device == below) return true;
        const FilesystemInfo* volume = find(device);
        if (volume == nullptr || depth > kMostLevels) return false;
        return std::ranges::any_of(
            volume->parts, [&](const std::string& part) { return stands_on(part, below, depth + 1); });
    }

    void add_contents(const FilesystemInfo& volume) {
        if (volume.uuid.empty() || volume.type == "LVM2_member") return;
        using Kind = IdChange::Kind;
        const std::string& type = volume.type;
        std::string kept;
        if (volume.degraded) kept = "its array lacks a member, and can't be written";
        if (holders_[volume.uuid] > 1) kept = "several devices have it";
        if (type == "swap") {
            add(Kind::kSwap, volume.device, type, volume.uuid, new_uuid_(), kept);
        } else if (type == "crypto_LUKS") {
            if (!facts_.root.empty() && stands_on(facts_.root, volume.device))
                kept = "the initial RAM disk unlocks the root file system by it";
            add(Kind::kLuks, volume.device, type, volume.uuid, new_uuid_(), kept);
        } else if (type == "vfat") {
            // Four digits of a random UUID, twice.
            const std::string random = upper_case(new_uuid_());
            add(Kind::kFilesystem, volume.device, type, volume.uuid,
                random.substr(0, 4) + "-" + random.substr(4, 4), kept);
        } else if (is_ext(type) || type == "xfs" || type == "btrfs") {
            add(Kind::kFilesystem, volume.device, type, volume.uuid, new_uuid_(), kept);
        } else if (volume.mountable) {
            add(Kind::kFilesystem, volume.device, type, volume.uuid, {},
                kept.empty() ? "nothing here changes it for " + type : kept);
        } else if (type == "linux_raid_member") {
            add(Kind::kFilesystem, volume.device, type, volume.uuid, {}, "arrays keep theirs");
        }
    }

    void add_group(const VolumeGroupInfo& group) {
        std::string kept;
        const FilesystemInfo* boot = find(facts_.boot);
        if (facts_.bios_grub && boot != nullptr && boot->kind == "lv" && boot->group == group.name)
            kept = "GRUB's core image finds /boot by it";
        // LVM changes it only while no volume of the group is in use, and what lies above others is put
        // together with all that stands on it.
        for (const std::string& device : group.physical_volumes)
            if (const FilesystemInfo* volume = find(device); volume != nullptr && !volume->kind.empty())
                kept = "it lies on " + device + ", not on bare disks";
        add(IdChange::Kind::kVolumeGroup, group.name, "lvm", group.uuid, {}, kept);
        for (const std::string& device : group.physical_volumes)
            if (const FilesystemInfo* volume = find(device))
                add(IdChange::Kind::kPhysicalVolume, device, "lvm", volume->uuid, {}, kept);
    }

    void add_table(const DiskInfo& disk) {
        const auto table = facts_.table_ids.find(disk.device);
        if (table == facts_.table_ids.end() || table->second.empty()) return;
        const bool gpt = disk.partition_table == "gpt";
        if (!gpt && disk.partition_table != "dos") return;
        const std::string random = new_uuid_();
        const std::string new_id = gpt ? upper_case(random) : "0x" + random.substr(0, 8);
        add(IdChange::Kind::kPartitionTable, disk.device, disk.partition_table, table->second, new_id);
        for (const FilesystemInfo& volume : facts_.report.filesystems) {
            if (volume.partition_number == 0 || volume.partition_uuid.empty() ||
                !volume.device.starts_with(disk.device) ||
                volume.device.substr(disk.device.size()) != std::to_string(volume.partition_number))
                continue;
            const size_t dash = volume.partition_uuid.find('-');
            add(IdChange::Kind::kPartition, volume.device, disk.partition_table, volume.partition_uuid,
                gpt ? new_uuid_()
                    : random.substr(0, 8) + volume.partition_uuid.substr(std::min(dash, size_t{8})));
        }
    }

    const IdFacts& facts_;
    const std::function<std::string()>& new_uuid_;
    std::map<std::string, unsigned> holders_;  // of a UUID
    std::vector<IdChange> result_;
};

}  // namespace

std::vector<IdChange> plan_ids(const IdFacts& facts, const std::function<std::string()>& new_uuid) {
    return Planner(facts, new_uuid).plan();
}

std::vector<std::pair<std::string, std::string>> replacements(const std::vector<IdChange>& ids) {
    std::vector<std::pair<std::string, std::string>> result;
    for (const IdChange& id : ids) {
        // Eight digits by themselves may be anything: an MBR's is named as a part of PARTUUIDs alone.
        if (!id.kept.empty() || id.new_id.empty() || id.old_id.starts_with("0x")) continue;
        result.emplace_back(id.old_id, id.new_id);
    }
    return result;
}

std::string_view id_kind_name(IdChange::Kind kind) noexcept {
    switch (kind) {
        case IdChange::Kind::kFilesystem:
            return "filesystem";
        case IdChange::Kind::kSwap:
            return "swap";
        case IdChange::Kind::kPartitionTable:
            return "partition-table";
        case IdChange::Kind::kPartition:
            return "partition";
        case IdChange::Kind::kLuks:
            return "luks";
        case IdChange::Kind::kVolumeGroup:
            return "volume-group";
        case IdChange::Kind::kPhysicalVolume:
            return "physical-volume";
    }
    return "";
}

}  // namespace inspect
