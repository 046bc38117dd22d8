// SPDX-License-Identifier: GPL-2.0-or-later
#include "stacks.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>

#include "failure.h"
#include "log.h"
#include "md.h"
#include "sysfs.h"

namespace inspect::agent {

namespace {

constexpr int kMaxRounds = 16;
constexpr int kFirstFreeArray = 127;  // where the kernel and mdadm begin with arrays that have no number

// By its type, a partition that is no part of a stack, so that it needn't be looked at.
bool is_never_a_member(const Partition& partition) {
    static constexpr std::string_view kNever[] = {
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",  // EFI system
        "21686148-6449-6e6f-744e-656564454649",  // BIOS boot
        "e3c9e316-0b5c-4db8-817d-f92df00215ae",  // Microsoft reserved
        "0xef",
    };
    return std::find(std::begin(kNever), std::end(kNever), partition.type) != std::end(kNever);
}

// Members of an array whose metadata is at the end look like what is in the array: these must be read whole.
bool may_be_array_member(const Partition& partition) {
    return partition.type == "0xfd" || partition.type == "a19d880f-05fc-4d3b-a006-743f0f84911e";
}

bool is_encrypted(const std::string& type) { return type == "crypto_LUKS" || type == "BitLocker"; }

std::string node_of(Disks& disks, Volume& volume) {
    disks.make_node(volume);
    return volume.node;
}

// "/dev/mapper/a--b-c" for the volume c of the group a-b, as LVM spells it.
std::string mapper_name(std::string_view group, std::string_view name) {
    std::string text = "/dev/mapper/";
    for (char c : group) text += c == '-' ? "--" : std::string(1, c);
    text += '-';
    for (char c : name) text += c == '-' ? "--" : std::string(1, c);
    return text;
}

}  // namespace

void Stacks::prepare(proto::Wake& request, bool may_rename) {
    keys_.take(request);
    may_rename_ = may_rename;
    allow_discards_ = request.allow_discards();
}

void Stacks::warn(const Volume& volume, const std::string& text) {
    warnings_.push_back(volume.device + ": " + text);
}

// What was not dealt with yet and is part of something.
std::vector<Volume*> Stacks::members() {
    std::vector<Volume*> found;
    for (Volume* volume : disks_.volumes()) {
        if (seen_.contains(volume)) continue;
        // Unless it was looked at anyway, or may be written to.
        if (volume->partition && is_never_a_member(*volume->partition) && !volume->superblock &&
            volume->read_only())
            continue;
        try {
            const bool thorough = (volume->partition && may_be_array_member(*volume->partition)) ||
                                  (!volume->partition && disks_.disks().size() > 1);
            disks_.superblock(*volume, thorough);
            const std::string& type = disks_.certain_superblock(*volume).type;
            if (type == "linux_raid_member" || type == "LVM2_member" || is_encrypted(type))
                found.push_back(volume);
        } catch (const Failure& failure) {
            warnings_.push_back(failure.message());
            seen_.insert(volume);
        }
    }
    return found;
}

bool Stacks::assemble() {
    bool anything = false;
    for (int round = 0; round < kMaxRounds; ++round) {
        std::vector<Volume*> found = members();
        if (found.empty()) break;
        bool progress = start_arrays(found);
        progress = unlock(found) || progress;
        // Where an array or a key has brought something to light, all of a group's volumes may be there only
        // in the next round.
        if (!progress) progress = activate(found);
        if (!progress) break;
        anything = true;
    }
    return anything;
}

bool Stacks::start_arrays(const std::vector<Volume*>& members) {
    std::map<std::string, std::vector<Volume*>> arrays;
    for (Volume* volume : members) {
        const Superblock& superblock = disks_.superblock(*volume);
        if (superblock.type == "linux_raid_member") arrays[superblock.uuid].push_back(volume);
    }
    bool progress = false;
    for (auto& [uuid, parts] : arrays) {
        std::vector<std::string> nodes;
        for (Volume* part : parts) {
            nodes.push_back(node_of(disks_, *part));
            seen_.insert(part);
        }
        try {
            ArrayMember member = examine_member(programs_, nodes[0]);
            // Its number if it has one, else what the kernel would take; a name is one more name.
            int number = -1;
            if (member.minor >= 0 && member.minor < kFirstFreeArray) number = member.minor;
            if (!member.name.empty() && member.name.size() <= 2 &&
                member.name.find_first_not_of("0123456789") == std::string::npos)
                number = std::stoi(member.name);
            auto is_taken = [&](int n) {
                return std::find(arrays_.begin(), arrays_.end(), "/dev/md" + std::to_string(n)) !=
                       arrays_.end();
            };
            if (number < 0 || is_taken(number)) {
                for (number = kFirstFreeArray; is_taken(number); --number) {
                }
            }
            const bool writable = std::any_of(parts.begin(), parts.end(),
                                              [](const Volume* part) { return !part->read_only(); });
            StartedArray started =
                start_array(programs_, "/dev/md" + std::to_string(number), nodes, writable);
            arrays_.push_back(started.node);
            Volume volume{parts[0]->disk, std::nullopt, started.node, started.node, 0};
            volume.kind = VolumeKind::kArray;
            volume.parts = parts;
            volume.uuid = uuid;
            volume.group = started.level;
            volume.degraded = started.degraded;
            volume.other_names.push_back("/dev/disk/by-id/md-uuid-" + member.uuid);
            if (!member.name.empty()) volume.other_names.push_back("/dev/md/" + member.name);
            disks_.add(std::move(volume));
            progress = true;
            if (started.degraded)
                warnings_.push_back(started.node +
                                    ": the RAID is degraded: it can be read, but not be changed");
        } catch (const Failure& failure) {
            warn(*parts[0], failure.message());
        }
    }
    return progress;
}

// Argon2 fills the memory that the header asks for; what the kernel would need to do for more is to kill it.
bool Stacks::has_enough_memory(const Volume& volume) {
    constexpr uint64_t kReserve = 24 << 20;  // for cryptsetup itself and what else runs
    const uint64_t wanted = luks_memory(volume.reader(), volume.start());
    struct sysinfo memory;
    if (wanted == 0 || ::sysinfo(&memory) < 0) return true;
    const uint64_t free = (uint64_t{memory.freeram} + memory.bufferram) * memory.mem_unit;
    if (free >= wanted + kReserve) return true;
    const uint64_t total = uint64_t{memory.totalram} * memory.mem_unit;
    // What the kernel calls its memory is without itself, and without its descriptions of pages, a 64th.
    constexpr uint64_t kKernel = 32 << 20;
    needed_memory_ = std::max(needed_memory_, kKernel + total - free + wanted + wanted / 64 + 2 * kReserve);
    return false;
}

bool Stacks::unlock(const std::vector<Volume*>& members) {
    bool progress = false;
    for (Volume* volume : members) {
        const std::string type = disks_.superblock(*volume).type;
        if (!is_encrypted(type)) continue;
        seen_.insert(volume);
        std::vector<std::string> names = volume->other_names;
        names.push_back(volume->device);
        const std::string uuid = disks_.superblock(*volume).uuid;
        const std::vector<std::string_view> secrets = keys_.for_volume(names, uuid);
        if (secrets.empty()) {
            locked_.insert(volume->device);
            continue;
        }
        std::string basename = volume->device.substr(volume->device.rfind('/') + 1);
        std::string name = type == "BitLocker" ? "bitlk-" + basename : "luks-" + uuid;
        if (disks_.find_assembled("/dev/mapper/" + name)) name += "-" + basename;  // a copy of the disk
        try {
            OpenOutcome outcome = OpenOutcome::kTooLittleMemory;
            if (has_enough_memory(*volume)) {
                for (std::string_view secret : secrets) {
                    outcome = open_encrypted(programs_, type, node_of(disks_, *volume), name, secret,
                                             allow_discards_);
                    if (outcome != OpenOutcome::kWrongKey) break;
                }
            }
            if (outcome == OpenOutcome::kTooLittleMemory) {
                warn(*volume, "too little memory to unlock it: give the appliance more (--memory)");
                continue;
            }
            if (outcome == OpenOutcome::kWrongKey) {
                warn(*volume, "it is encrypted, and no key that was given for it fits");
                continue;
            }
            device_mapper_ = true;
            Volume opened{volume->disk, std::nullopt, "/dev/mapper/" + name, "/dev/mapper/" + name, 0};
            opened.kind = VolumeKind::kDecrypted;
            opened.parts = {volume};
            opened.group = type;
            disks_.add(std::move(opened));
            progress = true;
        } catch (const Failure& failure) {
            warn(*volume, failure.message());
        }
    }
    return progress;
}

bool Stacks::activate(const std::vector<Volume*>& members) {
    size_t before = physical_.size();
    for (Volume* volume : members) {
        const Superblock& superblock = disks_.superblock(*volume);
        if (superblock.type != "LVM2_member") continue;
        seen_.insert(volume);
        auto twin = std::find_if(physical_.begin(), physical_.end(), [&](Volume* other) {
            return disks_.superblock(*other).uuid == superblock.uuid;
        });
        if (twin != physical_.end()) {
            warn(*volume, "it is a copy of the physical volume " + (*twin)->device +
                              ", and left out: open its image by itself");
            continue;
        }
        physical_.push_back(volume);
    }
    if (physical_.size() == before) return false;
    if (physical_.size() > 1) tell_groups_apart();
    std::string complaints;
    device_mapper_ = true;
    lvm_ = activate_lvm(programs_, physical_nodes(), complaints);
    bool added = add_logical_volumes(lvm_);
    for (const PhysicalVolume& volume : lvm_.physical) {
        if (volume.node.empty())
            warnings_.push_back("the volume group " + volume.group + " misses a physical volume (" +
                                volume.uuid + "): is a disk of the guest missing?");
    }
    if (!complaints.empty() && !added) warnings_.push_back(complaints);
    return added;
}

std::vector<std::string> Stacks::physical_nodes() {
    std::vector<std::string> nodes;
    for (Volume* volume : physical_) nodes.push_back(node_of(disks_, *volume));
    return nodes;
}

// Before anything is made of them: of groups of one name, each after the first (by the order of the disks)
// gets a number, which its metadata must be changed for. Where that would reach the disks it is left out
// instead: LVM would make devices of one of them, and nobody could tell of which.
void Stacks::tell_groups_apart() {
    const LvmReport report = report_lvm(programs_, physical_nodes());
    std::map<std::string, bool> kept;  // by the group's UUID
    std::set<std::string> names;
    for (const VolumeGroup& group : report.groups) names.insert(group.name);
    std::set<std::string> taken;
    for (Volume* volume : std::vector<Volume*>(physical_)) {
        auto physical = std::find_if(report.physical.begin(), report.physical.end(),
                                     [&](const PhysicalVolume& one) { return one.node == volume->node; });
        if (physical == report.physical.end() || physical->group_uuid.empty()) continue;
        auto [group, is_new] = kept.emplace(physical->group_uuid, true);
        if (is_new && !taken.insert(physical->group).second)
            group->second = give_other_name(*volume, *physical, names);
        if (!group->second) std::erase(physical_, volume);
    }
}

bool Stacks::give_other_name(const Volume& volume, const PhysicalVolume& physical,
                             std::set<std::string>& names) {
    const std::string what =
        "there are two volume groups named " + physical.group + ": the one on " + volume.device;
    if (!may_rename_) {
        warnings_.push_back(what + " is left out; open its image by itself");
        return false;
    }
    int number = 2;
    while (names.contains(physical.group + "_" + std::to_string(number))) ++number;
    const std::string name = physical.group + "_" + std::to_string(number);
    try {
        rename_group(programs_, physical_nodes(), physical.group_uuid, name);
    } catch (const Failure& failure) {
        warnings_.push_back(failure.message());
        return false;
    }
    names.insert(name);
    warnings_.push_back(what + " is called " + name + " here");
    return true;
}

bool Stacks::add_logical_volumes(const LvmReport& report) {
    bool added = false;
    for (const LogicalVolume& logical : report.logical) {
        std::string device = "/dev/" + logical.group + "/" + logical.name;
        if (disks_.find_assembled(device) || ::access(logical.node.c_str(), F_OK) < 0) continue;
        Volume volume{physical_[0]->disk, std::nullopt, device, logical.node, 0};
        for (const PhysicalVolume& physical : report.physical) {
            for (Volume* part : physical_) {
                if (physical.group_uuid == logical.group_uuid && part->node == physical.node)
                    volume.parts.push_back(part);
            }
        }
        volume.kind = VolumeKind::kLogical;
        volume.other_names = {mapper_name(logical.group, logical.name)};
        volume.uuid = logical.uuid;
        volume.group = logical.group;
        volume.snapshot = logical.snapshot;
        try {
            disks_.add(std::move(volume));
            added = true;
        } catch (const Failure& failure) {
            warnings_.push_back(failure.message());
        }
    }
    return added;
}

void Stacks::describe(proto::FilesystemList& list) const {
    for (const VolumeGroup& group : lvm_.groups) {
        proto::VolumeGroup& item = *list.add_volume_groups();
        item.set_name(group.name);
        item.set_uuid(group.uuid);
        item.set_size_bytes(group.size);
        item.set_free_bytes(group.free);
        for (const PhysicalVolume& physical : lvm_.physical) {
            for (const Volume* part : physical_) {
                if (physical.group_uuid == group.uuid && part->node == physical.node)
                    item.add_physical_volumes(part->device);
            }
        }
    }
}

void Stacks::forget() noexcept {
    disks_.drop_assembled();
    seen_.clear();
    locked_.clear();
    physical_.clear();
    lvm_ = {};
    needed_memory_ = 0;
    try {
        arrays_.clear();
        for (const std::string& name : names_in("/sys/block")) {
            if (name.starts_with("md")) arrays_.push_back("/dev/" + name);
        }
        device_mapper_ = true;
        dismantle();
    } catch (const std::exception& error) {
        note(error.what());
    }
}

// The kernel removes what nobody uses, over and over until nothing more can go; an array may be below that or
// on it.
void Stacks::dismantle() {
    std::optional<std::string> trouble;
    for (int round = 0; round < kMaxRounds; ++round) {
        if (device_mapper_) {
            Fd control(::open("/dev/mapper/control", O_RDWR | O_CLOEXEC));
            dm_ioctl command{};
            command.version[0] = DM_VERSION_MAJOR;
            command.data_size = sizeof command;
            if (!control || ::ioctl(control.get(), DM_REMOVE_ALL, &command) < 0)
                fail_errno("cannot close", "the logical and encrypted volumes");
        }
        if (arrays_.empty()) return;
        trouble.reset();
        std::erase_if(arrays_, [&](const std::string& node) {
            std::optional<std::string> failure = stop_array(node);
            if (failure) trouble = failure;
            return !failure;
        });
    }
    if (trouble) throw Failure(proto::BUSY, *trouble, EBUSY);
}

}  // namespace inspect::agent
