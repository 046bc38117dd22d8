// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp format: erases disks and makes empty ones of them, as virt-format does.
#include "cli/appliance_script.h"
#include "cli/guest.h"
#include "cli/make_filesystem.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kFormatOwnOptions[] = {
    {0, "partition", Takes::kOptionalValue, "TABLE",
     "'mbr', 'gpt' or 'none'; otherwise what fits the disk's size", "", "mbr gpt none"},
    {0, "filesystem", Takes::kValue, "TYPE",
     "make a file system: ext4, xfs, vfat, ntfs...; 'none' is the default", "",
     "ext2 ext3 ext4 xfs btrfs f2fs vfat exfat ntfs swap none"},
    {0, "lvm", Takes::kOptionalValue, "/dev/VG/LV",
     "make a logical volume of that name; /dev/VG/LV without a value"},
    {0, "label", Takes::kValue, "LABEL", "the file system's label"},
    {0, "wipe", Takes::kNothing, "", "write zeroes over all that was there"},
};

// The whole disk at once; the image gets a hole, or its clusters go.
constexpr char kZero[] =
    "use Fcntl; sysopen(F, $ARGV[0], O_RDWR) or die \"$!\\n\"; $size = sysseek(F, 0, 2);\n"
    "syscall(285, fileno(F), 0x11, 0, $size + 0) == 0 or die \"$!\\n\";\n";

// A volume group over all devices, with one volume that fills it. Without udev LVM makes the nodes itself.
constexpr char kMakeVolume[] =
    "export DM_DISABLE_UDEV=1; vg=$1 lv=$2; shift 2\n"
    "config='devices { use_devicesfile=0 } activation { udev_sync=0 udev_rules=0 verify_udev_operations=0 "
    "}'\n"
    "lvm pvcreate --yes -ff --config \"$config\" \"$@\" && lvm vgcreate --yes --config \"$config\" \"$vg\" "
    "\"$@\" &&\n"
    "lvm lvcreate --yes --config \"$config\" -Wn -an -l 100%FREE -n \"$lv\" \"$vg\"\n";

struct VolumeName {
    std::string group;
    std::string volume;
};

VolumeName volume_name(const std::string& text) {
    size_t slash = text.starts_with("/dev/") ? text.find('/', 5) : text.npos;
    VolumeName name;
    if (slash != text.npos) name = {text.substr(5, slash - 5), text.substr(slash + 1)};
    auto valid = [](const std::string& part) {
        constexpr char kLetters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-";
        return !part.empty() && part.size() <= 127 && part[0] != '-' && part != "." && part != ".." &&
               part.find_first_not_of(kLetters) == part.npos;
    };
    if (!valid(name.group) || !valid(name.volume))
        throw UsageError("--lvm is /dev/VG/LV or 'none', not '" + text + "'");
    return name;
}

int run_format(Context& context) {
    const Arguments& args = context.args;
    const std::string type = args.value("filesystem").value_or("none");
    const FilesystemMaker* maker = type == "none" ? nullptr : &filesystem_maker(type);
    const std::string label = args.value("label").value_or("");
    if (args.has("label") && maker == nullptr) throw UsageError("--label needs --filesystem");
    if (maker != nullptr) require_label(*maker, label);
    std::optional<VolumeName> volume;
    if (args.has("lvm") && args.value("lvm") != "none")
        volume = volume_name(args.value("lvm").value_or("/dev/VG/LV"));
    std::optional<NewTable> table;
    if (auto text = args.value("partition")) table = new_table("--partition", *text);

    Guest guest(context, Access::kChange);
    std::vector<DiskInfo> disks = guest.call("filesystems").filesystems().disks;
    struct Part {
        std::string device;
        uint64_t size;
    };
    std::vector<Part> parts;
    for (const DiskInfo& disk : disks) {
        if (args.has("wipe"))
            must_run_script(guest, {.text = "exec perl -e \"$2\" \"$1\"", .arguments = {disk.device, kZero}},
                            "cannot wipe " + disk.device);
        parts.push_back({make_table(guest, disk.device, table.value_or(default_table(disk.size_bytes)), maker,
                                    volume.has_value()),
                         disk.size_bytes});
    }
    if (volume) {
        Part whole{"/dev/" + volume->group + "/" + volume->volume, 0};
        std::vector<std::string> arguments{volume->group, volume->volume};
        for (const Part& part : parts) {
            arguments.push_back(part.device);
            whole.size += part.size;
        }
        must_run_script(guest, {.text = kMakeVolume, .arguments = std::move(arguments)},
                        "cannot make the logical volume", ErrorKind::kNoSpace);
        parts = {whole};
    }
    if (maker != nullptr) {
        for (const Part& part : parts)
            make_filesystem(guest, {.maker = *maker,
                                    .device = part.device,
                                    .size = part.size,
                                    .label = label,
                                    .bare_disks = !volume});
    }
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kFormatCommand = {
    .name = "format",
    .summary = "erase disks and make them empty ones",
    .operands = "",
    .description =
        "Erases all that is on the disks and makes a partition that takes the whole of each, with\n"
        "an empty file system if one is asked for. The image must exist ('insp make-fs' makes one).\n"
        "All disks given are erased, at the end and at once: until then nothing is.",
    .examples =
        "insp format -a disk.img --filesystem=ext4 --label=data\n"
        "insp format -a disk.img --partition=gpt --lvm=/dev/data/files --filesystem=xfs\n"
        "insp format -a disk.img --partition=none --wipe",
    .options = kFormatOwnOptions,
    .shared_options = kDiskOptions,
    .max_operands = 0,
    .run = run_format,
};

}  // namespace inspect::cli
