// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sysprep/id_plan.h"

#include <algorithm>
#include <map>

#include "guest/filesystem_type.h"
#include "sysprep/group_names.h"
#include "sysprep/same_crc.h"

namespace inspect {

namespace {

std::string upper_case(std::string text) {
    for (char& c : text)
        if (c >= 'a' && c <= 'f') c = static_cast<char>(c - 'a' + 'A');
    return text;
}

// The device with that name.
const FilesystemInfo* find(const FilesystemReport& report, const std::string& device) {
    for (const FilesystemInfo& volume : report.filesystems)
        if (volume.device == device) return &volume;
    return nullptr;
}

class Planner {
  public:
    explicit Planner(const IdFacts& facts) : facts_(facts) {}

    std::vector<IdChange> plan() {
        for (const FilesystemInfo& volume : facts_.report.filesystems)
            holders_[volume.uuid].push_back(&volume);
        for (const FilesystemInfo& volume : facts_.report.filesystems) add_contents(volume);
        for (const FilesystemInfo& volume : facts_.report.filesystems)
            if (volume.kind == "md") add_array(volume);
        for (const VolumeGroupInfo& group : facts_.report.volume_groups) add_group(group);
        for (const DiskInfo& disk : facts_.report.disks) add_table(disk);
        return std::move(result_);
    }

  private:
    using Kind = IdChange::Kind;

    IdChange& add(Kind kind, const std::string& device, const std::string& type, const std::string& old_id,
                  const std::string& kept = {}) {
        result_.push_back({kind, device, type, old_id, kept.empty() ? std::string() : old_id, kept, {}});
        return result_.back();
    }

    // Whether `device` stands on `below`, through whatever lies between.
    bool stands_on(const std::string& device, const std::string& below, unsigned depth = 0) const {
        constexpr unsigned kMostLevels = 20;
        if (device == below) return true;
        const FilesystemInfo* volume = find(facts_.report, device);
        if (volume == nullptr || depth > kMostLevels) return false;
        return std::ranges::any_of(
            volume->parts, [&](const std::string& part) { return stands_on(part, below, depth + 1); });
    }
    bool boots_from(const std::string& device) const {
        return !facts_.root.empty() && (stands_on(facts_.root, device) || stands_on(facts_.boot, device));
    }

    void add_contents(const FilesystemInfo& volume) {
        if (volume.uuid.empty() || volume.type == "LVM2_member" || volume.type == "linux_raid_member") return;
        const std::string& type = volume.type;
        std::string kept;
        if (volume.degraded) kept = "its array lacks a member, and can't be written";
        const std::vector<const FilesystemInfo*>& holders = holders_[volume.uuid];
        if (type == "btrfs") {
            // One file system on all of them: it is named by the first.
            if (holders[0] != &volume) return;
            IdChange& change = add(Kind::kFilesystem, volume.device, type, volume.uuid, kept);
            for (const FilesystemInfo* other : holders)
                if (other != &volume) change.parts.push_back(other->device);
            return;
        }
        if (holders.size() > 1) kept = "several devices have it";
        if (type == "swap") {
            add(Kind::kSwap, volume.device, type, volume.uuid, kept);
        } else if (type == "crypto_LUKS") {
            if (!facts_.root.empty() && stands_on(facts_.root, volume.device))
                kept = "the initial RAM disk unlocks the root file system by it";
            add(Kind::kLuks, volume.device, type, volume.uuid, kept);
        } else if (type == "BitLocker") {
            add(Kind::kLuks, volume.device, type, volume.uuid, "nothing here changes it for BitLocker");
        } else if (volume.mountable) {
            static constexpr std::string_view kChangeable[] = {"ext2", "ext3",  "ext4", "xfs", "vfat",
                                                               "ntfs", "exfat", "f2fs", "udf"};
            if (kept.empty() && std::ranges::find(kChangeable, type) == std::end(kChangeable))
                kept = "nothing here changes it for " + type;
            add(Kind::kFilesystem, volume.device, type, volume.uuid, kept);
        }
    }

    void add_array(const FilesystemInfo& volume) {
        std::string kept;
        if (volume.degraded) kept = "it lacks a member, and can't be written";
        if (boots_from(volume.device)) kept = "the initial RAM disk or GRUB's core image finds it by that";
        for (const std::string& part : volume.parts)
            if (const FilesystemInfo* member = find(facts_.report, part);
                member == nullptr || !member->kind.empty())
                kept = "it lies on " + part + ", not on bare disks";
        add(Kind::kArray, volume.device, "md", volume.volume_uuid, kept).parts = volume.parts;
    }

    void add_group(const VolumeGroupInfo& group) {
        std::string kept;
        const FilesystemInfo* boot = find(facts_.report, facts_.boot);
        if (facts_.bios_grub && boot != nullptr && boot->kind == "lv" && boot->group == group.name)
            kept = "GRUB's core image finds /boot by it";
        if (facts_.group_names) {
            IdChange& change = add(Kind::kGroupName, group.name, "lvm", group.name, kept);
            for (const FilesystemInfo& volume : facts_.report.filesystems)
                if (volume.kind == "lv" && volume.group == group.name)
                    change.parts.push_back(volume.device.substr(volume.device.rfind('/') + 1));
        }
        // LVM changes it only while no volume of the group is in use, and what lies above others is put
        // together with all that stands on it.
        for (const std::string& device : group.physical_volumes)
            if (const FilesystemInfo* volume = find(facts_.report, device);
                volume != nullptr && !volume->kind.empty())
                kept = "it lies on " + device + ", not on bare disks";
        add(Kind::kVolumeGroup, group.name, "lvm", group.uuid, kept);
        for (const std::string& device : group.physical_volumes)
            if (const FilesystemInfo* volume = find(facts_.report, device))
                add(Kind::kPhysicalVolume, device, "lvm", volume->uuid, kept);
    }

    bool is_on(const FilesystemInfo& volume, const DiskInfo& disk) const {
        return volume.partition_number != 0 && volume.device.starts_with(disk.device) &&
               volume.device.substr(disk.device.size()) == std::to_string(volume.partition_number);
    }

    // Windows' boot configuration names its disk and partition by these, in a format of its own.
    bool may_boot_windows(const DiskInfo& disk) const {
        static constexpr std::string_view kMicrosoftReserved = "e3c9e316-0b5c-4db8-817d-f92df00215ae";
        return std::ranges::any_of(facts_.report.filesystems, [&](const FilesystemInfo& volume) {
            return is_on(volume, disk) &&
                   (volume.partition_type == kMicrosoftReserved ||
                    (disk.partition_table == "dos" && volume.type == "ntfs" && facts_.root.empty()));
        });
    }

    void add_table(const DiskInfo& disk) {
        if (disk.table_id.empty() || (disk.partition_table != "gpt" && disk.partition_table != "dos")) return;
        const std::string kept = may_boot_windows(disk) ? "Windows' boot configuration names it" : "";
        add(Kind::kPartitionTable, disk.device, disk.partition_table, disk.table_id, kept);
        for (const FilesystemInfo& volume : facts_.report.filesystems)
            if (is_on(volume, disk) && !volume.partition_uuid.empty())
                add(Kind::kPartition, volume.device, disk.partition_table, volume.partition_uuid, kept);
    }

    const IdFacts& facts_;
    std::map<std::string, std::vector<const FilesystemInfo*>> holders_;  // of a UUID
    std::vector<IdChange> result_;
};

// What one that isn't a partition's gets.
std::string draw(const IdChange& id, const NewUuid& new_uuid) {
    const std::string random = new_uuid();
    std::string digits = random;
    std::erase(digits, '-');
    if (id.kind == IdChange::Kind::kGroupName) {
        constexpr size_t kMostOfName = 100;  // LVM's bound is 127
        return id.old_id.substr(0, kMostOfName) + "_" + digits.substr(0, 6);
    }
    if (id.type == "dos") return "0x" + digits.substr(0, 8);
    if (id.type == "vfat" || id.type == "exfat")
        return upper_case(digits.substr(0, 4) + "-" + digits.substr(4, 4));
    if (id.type == "ntfs") return upper_case(digits.substr(0, 16));
    if (id.type == "udf") return digits.substr(0, 16);
    if (is_ext(id.type)) return uuid_of_same_crc(id.old_id, random, kCrc32c);
    if (id.type == "f2fs") return uuid_of_same_crc(id.old_id, random, kCrc32);
    return random;
}

}  // namespace

void draw_ids(std::vector<IdChange>& ids, const NewUuid& new_uuid) {
    const IdChange* table = nullptr;  // its partitions' come after it
    for (IdChange& id : ids) {
        using Kind = IdChange::Kind;
        if (id.kind == Kind::kPartitionTable) table = &id;
        if (!id.kept.empty() || id.kind == Kind::kVolumeGroup || id.kind == Kind::kPhysicalVolume) continue;
        if (id.kind == Kind::kPartition && id.type == "dos" && table != nullptr) {
            id.new_id = table->new_id.substr(2) + id.old_id.substr(std::min(id.old_id.find('-'), size_t{8}));
        } else if (id.kind == Kind::kPartition) {
            id.new_id = new_uuid();
        } else {
            id.new_id = draw(id, new_uuid);
        }
    }
}

std::vector<IdChange> plan_ids(const IdFacts& facts, const NewUuid& new_uuid) {
    std::vector<IdChange> ids = Planner(facts).plan();
    draw_ids(ids, new_uuid);
    return ids;
}

std::string array_id(const std::string& uuid) {
    std::string digits = uuid, result;
    std::erase(digits, '-');
    for (size_t at = 0; at < digits.size(); at += 8) result += (at == 0 ? "" : ":") + digits.substr(at, 8);
    return result;
}

std::string rewrite_ids(const std::string& text, const std::vector<IdChange>& ids) {
    using Kind = IdChange::Kind;
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const IdChange& id : ids) {
        // Eight digits by themselves may be anything: an MBR's is named as a part of PARTUUIDs alone.
        if (!id.kept.empty() || id.new_id.empty() || id.old_id.starts_with("0x") ||
            id.kind == Kind::kGroupName)
            continue;
        pairs.emplace_back(id.old_id, id.new_id);
        if (id.kind == Kind::kArray) pairs.emplace_back(array_id(id.old_id), array_id(id.new_id));
    }
    std::string result = replace_ids(text, pairs);
    for (const IdChange& id : ids)
        if (id.kind == Kind::kGroupName && id.kept.empty())
            result = replace_group(result, id.old_id, id.new_id, id.parts);
    return as_environment_block(text, std::move(result));
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
        case IdChange::Kind::kArray:
            return "array";
        case IdChange::Kind::kGroupName:
            return "group-name";
    }
    return "";
}

}  // namespace inspect
