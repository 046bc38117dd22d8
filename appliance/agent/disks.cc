// SPDX-License-Identifier: GPL-2.0-or-later
#include "disks.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "failure.h"
#include "log.h"
#include "sysfs.h"

namespace inspect::agent {

namespace {

constexpr std::string_view kSubvolumePrefix = "btrfsvol:";
constexpr unsigned kFirstDiskSlot = 2;  // virtio-mmio.0 is the console, .1 the root image

// As virt-filesystems calls them; empty for what is as the disk has it.
const char* kind_name(VolumeKind kind) {
    switch (kind) {
        case VolumeKind::kPlain:
            return "";
        case VolumeKind::kLogical:
            return "lv";
        case VolumeKind::kArray:
            return "md";
        case VolumeKind::kDecrypted:
            return "crypt";
        case VolumeKind::kSubvolume:
            return "subvolume";
    }
    return "";
}

// Whether the kernel's device of the partition is where the partition is.
bool has_right_node(const Volume& volume) {
    constexpr uint64_t kSysfsSector = 512;
    std::string name = volume.node.substr(volume.node.rfind('/') + 1);
    std::string folder = "/sys/class/block/" + name + "/";
    return read_line(folder + "start") == std::to_string(volume.partition->start / kSysfsSector) &&
           read_line(folder + "size") == std::to_string(volume.size / kSysfsSector);
}

void tell_kernel(const Volume& volume, int operation) {
    blkpg_partition partition{};
    partition.start = static_cast<long long>(volume.partition->start);
    partition.length = static_cast<long long>(volume.size);
    partition.pno = static_cast<int>(volume.partition->number);
    blkpg_ioctl_arg command{};
    command.op = operation;
    command.datalen = sizeof partition;
    command.data = &partition;
    // Busy: there is one already, that a program made.
    if (::ioctl(volume.disk->fd.get(), BLKPG, &command) < 0 && (errno != EBUSY || !has_right_node(volume)))
        fail_errno("cannot make the device of", volume.device);
}

bool same_text(std::string_view a, std::string_view b) {  // UUIDs: the case doesn't matter
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
        auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
        return lower(x) == lower(y);
    });
}

}  // namespace

std::string disk_name(size_t index) {
    std::string letters;
    for (size_t rest = index + 1; rest > 0; rest = (rest - 1) / 26)
        letters.insert(letters.begin(), static_cast<char>('a' + (rest - 1) % 26));
    return "sd" + letters;
}

std::optional<DeviceName> parse_device_name(std::string_view device) {
    if (device.starts_with("/dev/")) device.remove_prefix(5);
    for (std::string_view prefix : {"sd", "vd", "hd", "xvd"}) {
        if (!device.starts_with(prefix)) continue;
        std::string_view rest = device.substr(prefix.size());
        size_t index = 0;
        size_t letters = 0;
        while (letters < rest.size() && rest[letters] >= 'a' && rest[letters] <= 'z' && letters < 3)
            index = index * 26 + static_cast<size_t>(rest[letters++] - 'a' + 1);
        if (letters == 0) continue;
        uint32_t partition = 0;
        std::string_view digits = rest.substr(letters);
        if (digits.size() > 3 || (!digits.empty() && digits[0] == '0')) return std::nullopt;
        for (char digit : digits) {
            if (digit < '0' || digit > '9') return std::nullopt;
            partition = partition * 10 + static_cast<uint32_t>(digit - '0');
        }
        return DeviceName{index - 1, partition};
    }
    return std::nullopt;
}

std::string decode_udev(std::string_view text) {
    std::string out;
    auto hex = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size() && text[i + 1] == 'x' && hex(text[i + 2]) >= 0 &&
            hex(text[i + 3]) >= 0) {
            out += static_cast<char>(hex(text[i + 2]) * 16 + hex(text[i + 3]));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

bool Volume::read_only() const {
    return degraded || (parts.empty() ? disk->read_only
                                      : std::any_of(parts.begin(), parts.end(),
                                                    [](const Volume* part) { return part->read_only(); }));
}

void Disks::prepare() {
    bind_ = Fd(::open("/sys/bus/platform/drivers/virtio-mmio/bind", O_WRONLY | O_CLOEXEC));
    if (!bind_) complain("cannot open the bind file of virtio-mmio: " + errno_text(errno));
    for (const std::string& name : names_in("/sys/block")) {
        std::string serial = read_line("/sys/block/" + name + "/serial");
        if (!serial.empty()) by_serial_[serial] = name;
    }
}

// "vda" for a bound slot. It usually is the next letter, which one readlink() confirms; else the slot's
// folder is searched.
std::string Disks::kernel_name_of_slot(unsigned slot) const {
    std::string device = "/virtio-mmio." + std::to_string(slot + kFirstDiskSlot) + "/";
    std::string guess = "v" + disk_name(disks_.size()).substr(1);
    char target[PATH_MAX];
    ssize_t size = ::readlink(("/sys/block/" + guess).c_str(), target, sizeof target);
    if (size > 0 &&
        std::string_view(target, static_cast<size_t>(size)).find(device) != std::string_view::npos)
        return guess;
    for (const std::string& name : names_in("/sys/block")) {
        size = ::readlink(("/sys/block/" + name).c_str(), target, sizeof target);
        if (size > 0 &&
            std::string_view(target, static_cast<size_t>(size)).find(device) != std::string_view::npos)
            return name;
    }
    return {};
}

void Disks::bind(const proto::Wake& request) {
    for (const proto::Wake::Disk& wanted : request.disks()) {
        size_t index = disks_.size();
        std::string name = disk_name(index);
        if (auto found = by_serial_.find("insp-disk" + std::to_string(wanted.slot()));
            found != by_serial_.end()) {
            add_disk(index, found->second, wanted.read_only());
            continue;
        }
        std::string device = "virtio-mmio." + std::to_string(wanted.slot() + kFirstDiskSlot);
        if (::write(bind_.get(), device.data(), device.size()) < 0) {
            throw Failure(proto::ENGINE,
                          "cannot attach the disk /dev/" + name + " (" + device + "): " + errno_text(errno),
                          static_cast<int>(errno));
        }
        std::string kernel_name = kernel_name_of_slot(wanted.slot());
        if (kernel_name.empty())
            throw Failure(proto::ENGINE,
                          "the disk /dev/" + name + " (" + device + ") did not appear in the appliance");
        add_disk(index, kernel_name, wanted.read_only());
    }
}

void Disks::add_disk(size_t index, const std::string& kernel_name, bool read_only) {
    Disk disk;
    disk.name = disk_name(index);
    disk.node = "/dev/" + kernel_name;
    disk.read_only = read_only;
    disk.fd = Fd(::open(disk.node.c_str(), O_RDONLY | O_CLOEXEC));
    uint64_t size = 0;
    int sector_size = 0;
    if (!disk.fd || ::ioctl(disk.fd.get(), BLKGETSIZE64, &size) < 0 ||
        ::ioctl(disk.fd.get(), BLKSSZGET, &sector_size) < 0)
        throw Failure(proto::ENGINE, "cannot open the disk /dev/" + disk.name + ": " + errno_text(errno),
                      errno);
    disk.size = size;
    disk.sector_size = static_cast<uint32_t>(sector_size);
    note("/dev/" + disk.name + " is " + disk.node + ", " + std::to_string(size) + " bytes");
    disks_.push_back(std::move(disk));
}

void Disks::add_file(const std::string& path, uint32_t sector_size) {
    Disk disk;
    disk.name = disk_name(disks_.size());
    disk.node = path;
    disk.fd = open_file(path, O_RDONLY);
    struct stat status;
    if (::fstat(disk.fd.get(), &status) < 0) fail_errno("cannot stat", path);
    disk.size = static_cast<uint64_t>(status.st_size);
    disk.sector_size = sector_size;
    disks_.push_back(std::move(disk));
}

void Disks::read_table(Disk& disk, bool thorough) {
    if (disk.table && (disk.thorough || !thorough)) return;
    bool first = !disk.table;
    try {
        disk.table = read_partition_table(disk.fd.get(), disk.size, disk.sector_size, thorough);
    } catch (const Failure& failure) {
        throw Failure(failure.kind(), "/dev/" + disk.name + ": " + failure.message(), failure.errnum());
    }
    disk.thorough = thorough;
    if (!first) return;
    auto add = [&](std::optional<Partition> partition, uint64_t size) {
        std::string number = partition ? std::to_string(partition->number) : std::string();
        volumes_.push_back(
            {&disk, std::move(partition), "/dev/" + disk.name + number, disk.node + number, size});
    };
    if (disk.table->type.empty()) {
        add(std::nullopt, disk.size);
        return;
    }
    for (const Partition& partition : disk.table->partitions) {
        if (!partition.container) add(partition, partition.size);
    }
}

std::vector<Volume*> Disks::volumes(bool thorough) {
    for (Disk& disk : disks_) read_table(disk, thorough);
    std::vector<Volume*> all;
    for (Disk& disk : disks_) {
        for (Volume& volume : volumes_) {
            if (volume.disk == &disk) all.push_back(&volume);
        }
    }
    for (Volume& volume : assembled_) {
        if (volume.kind != VolumeKind::kSubvolume) all.push_back(&volume);
    }
    return all;
}

Volume& Disks::add(Volume volume) {
    if (!volume.fd) {
        volume.fd = Fd(::open(volume.node.c_str(), O_RDONLY | O_CLOEXEC));
        if (!volume.fd) fail_errno("cannot open", volume.device);
        if (::ioctl(volume.fd.get(), BLKGETSIZE64, &volume.size) < 0)
            fail_errno("cannot tell the size of", volume.device);
    }
    volume.has_node = true;
    note(volume.device + " is " + volume.node + ", " + std::to_string(volume.size) + " bytes");
    return assembled_.emplace_back(std::move(volume));
}

Volume* Disks::find_assembled(std::string_view device) {
    for (Volume& volume : assembled_) {
        if (volume.device == device || std::find(volume.other_names.begin(), volume.other_names.end(),
                                                 device) != volume.other_names.end())
            return &volume;
    }
    return nullptr;
}

Volume* Disks::find_decrypted(const Volume& encrypted) {
    assemble();
    for (Volume& volume : assembled_) {
        if (volume.kind == VolumeKind::kDecrypted && volume.parts[0] == &encrypted) return &volume;
    }
    return nullptr;
}

// "btrfsvol:/dev/sda2/@/home". The device's own name may have slashes, so the longest that fits counts.
Volume* Disks::find_subvolume(std::string_view name) {
    if (Volume* known = find_assembled(name)) return known;
    std::string_view rest = name.substr(kSubvolumePrefix.size());
    for (size_t slash = rest.rfind('/'); slash != rest.npos && slash > 0;
         slash = rest.rfind('/', slash - 1)) {
        Volume* parent = find(rest.substr(0, slash));
        if (!parent) continue;
        if (superblock(*parent).type != "btrfs" || slash + 1 == rest.size()) return nullptr;
        make_node(*parent);
        Volume volume{parent->disk, std::nullopt, std::string(name), parent->node, parent->size};
        volume.kind = VolumeKind::kSubvolume;

        volume.parts = {parent};
        volume.subvolume = rest.substr(slash + 1);
        return &add(std::move(volume));
    }
    return nullptr;
}

Volume* Disks::find(std::string_view device) {
    if (device.starts_with(kSubvolumePrefix)) return find_subvolume(device);
    std::optional<DeviceName> name = parse_device_name(device);
    if (!name) {
        if (!device.starts_with("/dev/")) return nullptr;
        Volume* found = find_assembled(device);
        return found || !assemble() ? found : find_assembled(device);
    }
    if (name->disk >= disks_.size()) return nullptr;
    Disk& disk = *std::next(disks_.begin(), static_cast<ptrdiff_t>(name->disk));
    read_table(disk, false);
    for (Volume& volume : volumes_) {
        if (volume.disk == &disk && (volume.partition ? volume.partition->number : 0) == name->partition)
            return &volume;
    }
    return nullptr;
}

Volume& Disks::get(std::string_view device) {
    if (Volume* found = find(device)) return *found;
    assemble();
    std::string message = "there is no " + std::string(device) + "; there is";
    std::vector<Volume*> all = volumes();
    constexpr size_t kShown = 20;
    for (size_t i = 0; i < std::min(all.size(), kShown); ++i) message += (i ? ", " : " ") + all[i]->device;
    if (all.empty()) message += " nothing that could hold a file system";
    if (all.size() > kShown) message += "...";
    throw Failure(proto::NOT_FOUND, message, ENOENT);
}

void Disks::make_node(Volume& volume) {
    if (!volume.partition || volume.has_node) return;
    tell_kernel(volume, BLKPG_ADD_PARTITION);
    volume.has_node = true;
}

std::vector<std::string> Disks::make_all_nodes() {
    std::vector<std::string> warnings;
    auto link = [&](const std::string& name, const std::string& node) {
        if (name == node || !name.starts_with("/dev/")) return;
        for (size_t slash = name.find('/', 5); slash != name.npos; slash = name.find('/', slash + 1))
            ::mkdir(name.substr(0, slash).c_str(), 0755);
        if (::symlink(node.c_str(), name.c_str()) == 0) {
            links_.push_back(name);
        } else if (errno != EEXIST) {
            warnings.push_back("cannot make the link " + name + ": " + errno_text(errno));
        }
    };
    for (Disk& disk : disks_) {
        link("/dev/" + disk.name, disk.node);
        try {
            read_table(disk, false);
        } catch (const Failure& failure) {
            warnings.push_back(failure.message());
        }
    }
    for (Volume& volume : volumes_) {
        if (!volume.partition) continue;
        try {
            make_node(volume);
            link(volume.device, volume.node);
        } catch (const Failure& failure) {
            warnings.push_back(failure.message());
        }
    }
    for (const Volume& volume : assembled_) {
        if (volume.kind == VolumeKind::kSubvolume) continue;
        link(volume.device, volume.node);
        for (const std::string& name : volume.other_names) link(name, volume.node);
    }
    return warnings;
}

void Disks::forget() {
    for (const std::string& link : std::exchange(links_, {})) ::unlink(link.c_str());
    assembled_.clear();
    for (Disk& disk : disks_) {
        blkpg_partition partition{};
        blkpg_ioctl_arg command{};
        command.op = BLKPG_DEL_PARTITION;
        command.datalen = sizeof partition;
        command.data = &partition;
        // Also those that a program made. One that is in use stays, and make_node() looks at it again.
        for (const std::string& name : names_in("/sys/block/" + disk.node.substr(5))) {
            if (!name.starts_with(disk.node.substr(5))) continue;
            std::optional<DeviceName> parsed = parse_device_name(name);
            if (!parsed) continue;
            partition.pno = static_cast<int>(parsed->partition);
            if (::ioctl(disk.fd.get(), BLKPG, &command) < 0 && errno != ENXIO)
                note("/dev/" + name + " is still in use");
        }
        // A partition's device has a cache of its own: what was written by it, the disk's doesn't know of.
        ::ioctl(disk.fd.get(), BLKFLSBUF, 0);
        uint64_t size = 0;
        if (::ioctl(disk.fd.get(), BLKGETSIZE64, &size) == 0) disk.size = size;
        disk.table.reset();
        disk.thorough = false;
    }
    volumes_.clear();
}

void Disks::partitions_changed(Disk& disk, const std::map<uint32_t, uint64_t>& sizes) {
    auto new_size = [&](uint32_t number, uint64_t& size) {
        const auto found = sizes.find(number);
        if (found != sizes.end()) size = found->second;
        return found != sizes.end();
    };
    if (!disk.table) return;  // nothing is known that could be wrong
    for (Partition& partition : disk.table->partitions) new_size(partition.number, partition.size);
    for (Volume& volume : volumes_) {
        if (volume.disk != &disk || !volume.partition) continue;
        if (!new_size(volume.partition->number, volume.size)) continue;
        volume.partition->size = volume.size;
        if (volume.has_node) tell_kernel(volume, BLKPG_RESIZE_PARTITION);
    }
}

const Superblock& Disks::superblock(Volume& volume, bool thorough) {
    if (volume.superblock && (volume.thorough || !thorough)) return *volume.superblock;
    try {
        volume.superblock = probe_superblock(volume.reader(), volume.start(), volume.size, thorough);
    } catch (const Failure& failure) {
        throw Failure(failure.kind(), volume.device + ": " + failure.message(), failure.errnum());
    }
    volume.thorough = thorough;
    note(volume.device + " is " + (volume.superblock->type.empty() ? "unknown" : volume.superblock->type));
    return *volume.superblock;
}

const Superblock& Disks::certain_superblock(Volume& volume) {
    const Superblock& found = superblock(volume);
    if (volume.thorough || volume.no_member || volume.read_only()) return found;
    try {
        std::optional<Superblock> member = probe_member(volume.reader(), volume.start(), volume.size);
        volume.no_member = !member;
        if (!member) return found;
        volume.superblock = std::move(member);
    } catch (const Failure& failure) {
        throw Failure(failure.kind(), volume.device + ": " + failure.message(), failure.errnum());
    }
    note(volume.device + " is " + volume.superblock->type + " after all");
    return *volume.superblock;
}

// The first field of an fstab line, taken apart.
struct Disks::Spec {
    enum Kind { kDevice, kUuid, kLabel, kPartUuid, kPartLabel };
    Kind kind = kDevice;
    std::string value;

    explicit Spec(std::string_view text) : value(text) {
        static constexpr struct {
            std::string_view tag;
            std::string_view folder;
            Kind kind;
        } kForms[] = {
            {"UUID=", "/dev/disk/by-uuid/", kUuid},
            {"LABEL=", "/dev/disk/by-label/", kLabel},
            {"PARTUUID=", "/dev/disk/by-partuuid/", kPartUuid},
            {"PARTLABEL=", "/dev/disk/by-partlabel/", kPartLabel},
        };
        for (const auto& form : kForms) {
            if (text.starts_with(form.tag)) {
                kind = form.kind;
                value = text.substr(form.tag.size());
                if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
                    value = value.substr(1, value.size() - 2);
            } else if (text.starts_with(form.folder)) {
                kind = form.kind;
                value = decode_udev(text.substr(form.folder.size()));
            }
        }
    }
};

bool Disks::matches(Volume& volume, const Spec& spec) {
    if (spec.value.empty()) return false;
    switch (spec.kind) {
        case Spec::kDevice:
            return find(spec.value) == &volume;
        case Spec::kPartUuid:
            return volume.partition && same_text(volume.partition->uuid, spec.value);
        case Spec::kPartLabel:
            return volume.partition && volume.partition->label == spec.value;
        case Spec::kUuid:
        case Spec::kLabel:
            break;
    }
    try {
        auto fits = [&](const Superblock& found) {
            return spec.kind == Spec::kUuid ? same_text(found.uuid, spec.value) : found.label == spec.value;
        };
        const bool no_label = spec.kind == Spec::kLabel && !superblock(volume).has_label;
        return fits(superblock(volume, no_label)) && fits(certain_superblock(volume));
    } catch (const Failure& failure) {
        note(failure.message());  // one that can't be read isn't the one
        return false;
    }
}

bool Disks::matches(Volume& volume, std::string_view spec) { return matches(volume, Spec(spec)); }

Volume* Disks::find_spec(std::string_view text) {
    Spec spec(text);
    if (spec.kind == Spec::kDevice) return find(spec.value);
    do {
        Volume* copy = nullptr;
        for (Volume* volume : volumes()) {
            if (!matches(*volume, spec)) continue;
            if (!volume->snapshot) return volume;
            if (!copy) copy = volume;
        }
        if (copy) return copy;
    } while (assemble());
    return nullptr;
}

proto::FilesystemList Disks::list(const std::vector<std::string>& mountable_types) {
    proto::FilesystemList out;
    // Each is known for what it is before anything is put together: a member of a RAID may look like what is
    // on the array.
    for (Volume* volume : volumes(true)) {
        try {
            superblock(*volume, true);
        } catch (const Failure& failure) {
            note(failure.message());  // a warning, below
        }
    }
    assemble();
    std::vector<Volume*> all = volumes(true);
    for (Disk& disk : disks_) {
        proto::Disk& item = *out.add_disks();
        item.set_device("/dev/" + disk.name);
        item.set_size_bytes(disk.size);
        item.set_sector_size(disk.sector_size);
        item.set_partition_table(disk.table->type);
        item.set_table_id(disk.table->id);
        for (const std::string& warning : disk.table->warnings)
            out.add_warnings("/dev/" + disk.name + ": " + warning);
    }
    for (Volume* volume : all) {
        proto::Filesystem& item = *out.add_filesystems();
        item.set_device(volume->device);
        item.set_size_bytes(volume->size);
        item.set_whole_disk(volume->kind == VolumeKind::kPlain && !volume->partition);
        item.set_kind(kind_name(volume->kind));
        item.set_volume_uuid(volume->uuid);
        item.set_group(volume->group);
        item.set_degraded(volume->degraded);
        for (const Volume* part : volume->parts) item.add_parts(part->device);
        if (volume->partition) {
            item.set_partition(true);
            item.set_partition_number(volume->partition->number);
            item.set_partition_uuid(volume->partition->uuid);
            item.set_partition_label(volume->partition->label);
            item.set_partition_type(volume->partition->type);
        }
        try {
            const Superblock& found = superblock(*volume, true);
            item.set_type(found.type);
            item.set_label(found.label);
            item.set_uuid(found.uuid);
            item.set_mountable(std::find(mountable_types.begin(), mountable_types.end(), found.type) !=
                               mountable_types.end());
        } catch (const Failure& failure) {
            out.add_warnings(failure.message());
        }
    }
    return out;
}

void Disks::release() {
    drop_assembled();
    for (Disk& disk : disks_) disk.fd.reset();
}

}  // namespace inspect::agent
