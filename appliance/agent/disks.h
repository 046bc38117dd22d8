// SPDX-License-Identifier: GPL-2.0-or-later
//
// The disks of a session, what is on them, and their two names: the host's (/dev/sda1, by the order of the
// disks) and the kernel's (/dev/vda1, by whatever order they were bound in). What is put together from them
// (stacks.h) is here too, after them.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "partition_table.h"
#include "protocol/insp.pb.h"
#include "superblock.h"

namespace inspect::agent {

struct Disk {
    std::string name;  // "sda"
    std::string node;  // "/dev/vda"
    bool read_only = false;
    Fd fd;
    uint64_t size = 0;
    uint32_t sector_size = 512;
    std::optional<PartitionTable> table;
    bool thorough = false;  // how it was read
};

enum class VolumeKind {
    kPlain,      // a partition, or a disk without a partition table
    kLogical,    // of LVM: /dev/VG/LV
    kArray,      // of md: /dev/md127
    kDecrypted,  // /dev/mapper/luks-UUID
    kSubvolume,  // of btrfs: btrfsvol:/dev/sda2/@home
};

// Something that may hold a file system.
struct Volume {
    Disk* disk;  // where a kPlain one lies; of others the disk of their first part
    std::optional<Partition> partition;
    std::string device;  // "/dev/sda1"
    std::string node;    // "/dev/vda1"
    uint64_t size;
    bool has_node = false;  // the kernel has the partition's device
    std::optional<Superblock> superblock = {};
    bool thorough = false;   // how it was probed
    bool no_member = false;  // nor is it a member of a RAID that looks like something else

    // Of what was put together:
    VolumeKind kind = VolumeKind::kPlain;
    Fd fd = {};                                 // of the node
    std::vector<Volume*> parts = {};            // what it stands on
    std::vector<std::string> other_names = {};  // "/dev/mapper/vg-root"
    std::string uuid = {};                      // of the logical volume or the array
    std::string group = {};                     // the volume group, the array's level, "LUKS2"
    std::string subvolume = {};                 // kSubvolume: its path in the file system
    bool snapshot = false;  // of another volume: the same file system, so no second system
    bool degraded = false;  // parts are missing: not to be written to

    bool read_only() const;
    // What it can be read by, and where it begins there.
    int reader() const { return fd ? fd.get() : disk->fd.get(); }
    uint64_t start() const { return partition ? partition->start : 0; }
};

// Not thread-safe.
class Disks {
  public:
    // Before the snapshot: opens what binding needs; finds disks that are there already (engines without late
    // attachment mark them by their serial).
    void prepare();
    // Attaches the drivers of the slots. Throws Failure(ENGINE).
    void bind(const proto::Wake& request);
    // For tests: an image file as a disk.
    void add_file(const std::string& path, uint32_t sector_size);

    // What assemble() does. Returns true when there are volumes that weren't there before.
    void set_assembler(std::function<bool()> assembler) { assembler_ = std::move(assembler); }
    // Puts together what can be: arrays, encrypted volumes with a key, logical volumes. Nothing is done on
    // disks that have no part of such. True: there are new volumes.
    bool assemble() { return assembler_ && assembler_(); }
    // One that was put together. Throws Failure when its node can't be opened.
    Volume& add(Volume volume);
    // What an encrypted volume is when it is unlocked. nullptr: it is locked.
    Volume* find_decrypted(const Volume& encrypted);
    // Closes and forgets all that was put together.
    void drop_assembled() { assembled_.clear(); }
    // Of those that were put together, by any of its names. nullptr: not there (yet).
    Volume* find_assembled(std::string_view device);

    // All volumes in the order of the disks, then those put together. `thorough`: everything is read that the
    // warnings need.
    std::vector<Volume*> volumes(bool thorough = false);
    std::list<Disk>& disks() { return disks_; }

    // By a name that the host uses: /dev/sda1; /dev/vda1, /dev/hda1, /dev/xvda1 mean the same; /dev/vg/lv,
    // /dev/mapper/..., btrfsvol:/dev/sda1/path, for which the rest is put together if need be. nullptr: not
    // there.
    Volume* find(std::string_view device);
    // As find(); throws Failure(NOT_FOUND) that says what there is.
    Volume& get(std::string_view device);
    // A disk's partitions were given these sizes (by number, bytes): what is known of them, and their
    // devices, follow.
    void partitions_changed(Disk& disk, const std::map<uint32_t, uint64_t>& sizes);
    // What is on it, read through the disk's own device. Throws Failure that names the device.
    const Superblock& superblock(Volume& volume, bool thorough = false);
    // The same, before something is written to it: a member of a RAID 1 whose metadata is at the end looks
    // like what is on the array, but written to by itself it would differ from the others. What can't be
    // written to is not looked at again.
    const Superblock& certain_superblock(Volume& volume);
    // Sees to it that there is a device at volume.node. The kernel makes none for partitions by itself: it
    // takes time, and most are never mounted. Throws Failure.
    void make_node(Volume& volume);
    // The same for all partitions, and links by the names that the host uses (/dev/sda1). Returns warnings
    // about what could not be made.
    std::vector<std::string> make_all_nodes();
    // What was known of the disks' contents may be wrong: it is read again when it is needed next. Nothing
    // may be mounted, and what was put together is to be taken apart before (Stacks::forget).
    void forget();
    // What fstab's first field means: /dev/..., UUID=, LABEL=, PARTUUID=, PARTLABEL=, /dev/disk/by-*/.
    // nullptr: not there.
    Volume* find_spec(std::string_view spec);
    // Whether it means this volume.
    bool matches(Volume& volume, std::string_view spec);

    // Puts everything together first.
    proto::FilesystemList list(const std::vector<std::string>& mountable_types);
    // Closes every device.
    void release();

  private:
    struct Spec;
    bool matches(Volume& volume, const Spec& spec);
    void read_table(Disk& disk, bool thorough);
    Volume* find_subvolume(std::string_view name);
    void add_disk(size_t index, const std::string& kernel_name, bool read_only);
    std::string kernel_name_of_slot(unsigned slot) const;

    Fd bind_;
    std::map<std::string, std::string> by_serial_;  // "insp-disk0" -> "vda"
    std::list<Disk> disks_;
    std::list<Volume> volumes_;  // of the disks whose table was read
    std::list<Volume> assembled_;
    std::vector<std::string> links_;  // in /dev, by make_all_nodes()
    std::function<bool()> assembler_;
};

// 0 -> "sda", 25 -> "sdz", 26 -> "sdaa"
std::string disk_name(size_t index);
// "/dev/vdb3" -> {1, 3}; {index, 0} for a whole disk. nullopt: no name of a disk.
struct DeviceName {
    size_t disk;
    uint32_t partition;
};
std::optional<DeviceName> parse_device_name(std::string_view device);
// udev's encoding in /dev/disk/by-label: "\x20" is a blank.
std::string decode_udev(std::string_view text);

}  // namespace inspect::agent
