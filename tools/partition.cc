// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp partition: the entries of a partition table, by libfdisk (sfdisk in the appliance). What lies in the
// partitions is not touched: see insp resize for that.
#include <algorithm>

#include "cli/appliance_script.h"
#include "cli/device_names.h"
#include "cli/guest.h"
#include "cli/partition_list.h"
#include "cli/text.h"
#include "cli/values.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kPartitionOwnOptions[] = {
    {0, "size", Takes::kValue, "SIZE", "add: so big; otherwise all that is free there"},
    {0, "start", Takes::kValue, "OFFSET", "add: begin here; otherwise where there is room"},
    {0, "type", Takes::kValue, "TYPE", "add: 'linux', 'swap', 'uefi', 'lvm', 'raid', a GUID or hexadecimal"},
    {0, "name", Takes::kValue, "NAME", "add: the partition's name (GPT)"},
    {0, "number", Takes::kValue, "N", "add: the partition's number, otherwise the first that is free"},
    {0, "disk", Takes::kValue, "DEV", "add: the disk, /dev/sda otherwise"},
    {'h', "human-readable", Takes::kNothing, "", "list: sizes as 1.5K, 3.2G"},
    {0, "force", Takes::kNothing, "", "also where data may be lost, or the table has faults"},
};

constexpr char kSfdisk[] = "--no-reread --no-tell-kernel --wipe never --wipe-partitions never";

const ListedDisk& find_disk(const std::vector<ListedDisk>& disks, const std::string& name) {
    const std::string device = usual_device_name(name);
    auto found = std::find_if(disks.begin(), disks.end(),
                              [&](const ListedDisk& disk) { return disk.device == device; });
    if (found == disks.end()) throw Error(ErrorKind::kNotFound, "there is no disk " + name);
    return *found;
}

struct Found {
    const ListedDisk& disk;
    const ListedPartition& partition;
};

Found find_partition(const std::vector<ListedDisk>& disks, const std::string& name) {
    const std::string device = usual_device_name(name);
    std::string known;
    for (const ListedDisk& disk : disks) {
        for (const ListedPartition& partition : disk.partitions) {
            if (partition.device == device) return {disk, partition};
            known += (known.empty() ? "" : ", ") + partition.device;
        }
    }
    throw Error(ErrorKind::kNotFound, "there is no partition " + name +
                                          (known.empty() ? "; there is none at all" : "; there is " + known));
}

// A table that others would read differently is not to be made worse.
void require_changeable(const Context& context, const ListedDisk& disk) {
    if (disk.table.empty())
        throw Error(ErrorKind::kNotFound,
                    disk.device + " has no partition table; 'insp format' makes one, and erases the disk");
    if (context.args.has("force")) return;
    if (disk.hybrid)
        throw Error(
            ErrorKind::kUnsupported,
            disk.device +
                " has a hybrid MBR, which would tell other partitions than the GPT afterwards: make it a "
                "protective one first (gdisk in 'insp rescue'), or use --force");
    if (!disk.warnings.empty())
        throw Error(ErrorKind::kCorrupt, disk.warnings.front() + "; nothing is changed without --force");
}

// ---- the command line by itself. What is wrong with it shows before anything is started.

uint64_t size_of(const char* what, const std::string& text) {
    std::optional<uint64_t> size = parse_size(text, 1);
    if (!size || *size == 0) throw UsageError(std::string(what) + " '" + text + "' is not a size");
    return *size;
}

// A value of sfdisk's input line: quoted, so that nothing in it has a meaning.
std::string quoted_field(const char* option, const std::string& text) {
    for (char c : text) {
        if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < ' ')
            throw UsageError(std::string("--") + option +
                             " can't have quotes, backslashes or control characters");
    }
    return "\"" + text + "\"";
}

// sfdisk wants hexadecimal without the 0x that it prints itself.
std::string type_of(const std::string& text) {
    const std::string type = text.starts_with("0x") ? text.substr(2) : text;
    bool plain = !type.empty() && std::all_of(type.begin(), type.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
    });
    if (!plain) throw UsageError("'" + text + "' is no type of a partition");
    return type;
}

constexpr uint64_t kMaxPartitionNumber = 999;  // more than sfdisk makes; it knows the table's own limit

struct NewPartition {
    std::string disk;
    std::optional<uint64_t> start;
    std::optional<uint64_t> size;
    std::optional<std::string> type;
    std::optional<std::string> name;  // quoted
    std::optional<uint64_t> number;
};

NewPartition new_partition(const Arguments& args) {
    NewPartition wanted{.disk = args.value("disk").value_or("/dev/sda"),
                        .start = {},
                        .size = {},
                        .type = {},
                        .name = {},
                        .number = number_of(args, "number", kMaxPartitionNumber)};
    if (auto start = args.value("start")) wanted.start = size_of("--start", *start);
    if (auto size = args.value("size")) wanted.size = size_of("--size", *size);
    if (auto type = args.value("type")) wanted.type = type_of(*type);
    if (auto name = args.value("name")) wanted.name = quoted_field("name", *name);
    if (wanted.number == 0) throw UsageError("--number counts from 1");
    return wanted;
}

struct NewSize {
    char sign;  // '+', '-', or 0: it is the size itself
    uint64_t amount;
};

NewSize new_size(const std::string& text) {
    const bool by = text.starts_with('+') || text.starts_with('-');
    return {by ? text[0] : '\0', size_of("the size", by ? text.substr(1) : text)};
}

// ---- what it means for these disks

// In sectors, as sfdisk's input has it. Rounded down.
std::string sectors(uint64_t bytes, const ListedDisk& disk) {
    uint64_t count = bytes / disk.sector_size;
    if (count == 0) throw Error(ErrorKind::kUsage, "that is less than a sector of " + disk.device);
    return std::to_string(count);
}

// What sfdisk doesn't know of an MBR it takes for 0, which means that there is no partition.
void require_type(const std::string& type, const ListedDisk& disk) {
    if (disk.table == "gpt") return;
    constexpr std::string_view kWords[] = {"linux", "swap", "uefi", "lvm", "raid"};
    const bool hexadecimal =
        type.size() <= 2 && type.find_first_not_of("0123456789abcdefABCDEF") == type.npos;
    if (hexadecimal ? type.find_first_not_of('0') == type.npos
                    : std::find(std::begin(kWords), std::end(kWords), type) == std::end(kWords))
        throw Error(ErrorKind::kUsage, "'" + type + "' is no type of a partition of an MBR: it has " +
                                           "linux, swap, uefi, lvm, raid and hexadecimal numbers up to ff");
}

void run_sfdisk(Guest& guest, const std::string& options, std::vector<std::string> arguments,
                const std::string& input, const std::string& what) {
    std::string text = "exec sfdisk " + std::string(kSfdisk) + " " + options;
    must_run_script(guest, {.text = text.c_str(), .arguments = std::move(arguments), .input = input}, what,
                    ErrorKind::kUsage);
}

void list(Context& context, const std::vector<ListedDisk>& disks) {
    if (context.wants_json()) {
        context.json.begin_object();
        write_disks(context.json, disks);
        context.json.end_object();
        return;
    }
    auto size = [&](uint64_t bytes) {
        return context.args.has("human-readable") ? human_size(bytes) : std::to_string(bytes);
    };
    std::vector<std::vector<std::string>> rows{{"Device", "Start", "Size", "Type", "UUID", "Name"}};
    for (const ListedDisk& disk : disks) {
        for (const std::string& warning : disk.warnings) context.warning(warning);
        if (disk.hybrid) context.warning(disk.device + " has a hybrid MBR");
        rows.push_back(
            {disk.device, "", size(disk.size), disk.table.empty() ? "-" : disk.table, disk.identifier, ""});
        for (const ListedPartition& partition : disk.partitions)
            rows.push_back({partition.device, size(partition.start), size(partition.size), partition.type,
                            partition.uuid, escape_message(partition.name)});
    }
    context.out.write(table(rows, {false, true, true, false, false, false}));
}

// Returns the device.
std::string add(Context& context, Guest& guest, const NewPartition& wanted) {
    const std::vector<ListedDisk> disks = list_partitions(guest);
    const ListedDisk& disk = find_disk(disks, wanted.disk);
    require_changeable(context, disk);
    if (wanted.type) require_type(*wanted.type, disk);
    std::string line = "size=" + (wanted.size ? sectors(*wanted.size, disk) : "+");
    if (wanted.start) line += ", start=" + sectors(*wanted.start, disk);
    if (wanted.type) line += ", type=" + *wanted.type;
    if (wanted.name) line += ", name=" + *wanted.name;
    if (wanted.number) {
        line = disk.device + std::to_string(*wanted.number) + " : " + line;
        for (const ListedPartition& partition : disk.partitions) {
            if (partition.number == *wanted.number)
                throw Error(ErrorKind::kUsage, partition.device + " exists already");
        }
    }
    run_sfdisk(guest, "--append \"$1\"", {disk.device}, line + "\n",
               "cannot add a partition to " + disk.device);
    const std::vector<ListedDisk> changed = list_partitions(guest);
    for (const ListedPartition& partition : find_disk(changed, disk.device).partitions) {
        bool old =
            std::any_of(disk.partitions.begin(), disk.partitions.end(),
                        [&](const ListedPartition& other) { return other.number == partition.number; });
        if (!old) return partition.device;
    }
    throw Error(ErrorKind::kEngine, "sfdisk says nothing, and there is no new partition on " + disk.device);
}

void resize(Context& context, Guest& guest, const Found& found, const NewSize& wanted) {
    const std::string& device = found.partition.device;
    uint64_t size = wanted.amount;
    if (wanted.sign == '+') {
        if (wanted.amount > UINT64_MAX - found.partition.size)
            throw Error(ErrorKind::kUsage, device + " can't have so much more");
        size = found.partition.size + wanted.amount;
    } else if (wanted.sign == '-') {
        if (wanted.amount >= found.partition.size)
            throw Error(ErrorKind::kUsage, "so much less leaves nothing of " + device);
        size = found.partition.size - wanted.amount;
    }
    if (size < found.partition.size && !context.args.has("force"))
        throw Error(ErrorKind::kDenied,
                    "what lies at the end of " + device +
                        " would be cut off: 'insp resize' shrinks the file system first, --force does it");
    run_sfdisk(guest, "-N \"$2\" \"$1\"", {found.disk.device, std::to_string(found.partition.number)},
               "size=" + sectors(size, found.disk) + "\n", "cannot resize " + device);
}

// Changes an entry that is there; returns its device.
std::string change(Context& context, Guest& guest, const std::string& action, const std::string& partition,
                   const std::string& value, const std::optional<NewSize>& size) {
    const std::vector<ListedDisk> disks = list_partitions(guest);
    const Found found = find_partition(disks, partition);
    require_changeable(context, found.disk);
    const std::string& device = found.partition.device;
    const std::string number = std::to_string(found.partition.number);
    if (action == "resize") {
        resize(context, guest, found, *size);
    } else if (action == "delete") {
        run_sfdisk(guest, "--delete \"$1\" \"$2\"", {found.disk.device, number}, "",
                   "cannot delete " + device);
    } else if (action == "type") {
        require_type(value, found.disk);
        run_sfdisk(guest, "--part-type \"$1\" \"$2\" \"$3\"", {found.disk.device, number, value}, "",
                   "cannot set the type of " + device);
    } else {
        if (found.disk.table != "gpt")
            throw Error(ErrorKind::kUnsupported, "the partitions of an MBR have no names");
        run_sfdisk(guest, "--part-label \"$1\" \"$2\" \"$3\"", {found.disk.device, number, value}, "",
                   "cannot name " + device);
    }
    return device;
}

void need_operands(const Arguments& args, size_t count, const char* usage) {
    if (args.operands().size() != count)
        throw UsageError(std::string("write: insp partition -a IMAGE ") + usage);
}

int run_partition(Context& context) {
    const Arguments& args = context.args;
    const std::vector<std::string>& words = args.operands();
    const std::string action = words.empty() ? "list" : words[0];
    for (const char* option : {"size", "start", "type", "name", "number", "disk"}) {
        if (action != "add" && args.has(option))
            throw UsageError(std::string("--") + option + " is for 'insp partition add'");
    }
    if (action == "list") {
        if (!words.empty()) need_operands(args, 1, "list");
        Guest guest(context, Access::kRead);
        list(context, list_partitions(guest));
        return kExitSuccess;
    }
    std::optional<NewPartition> added;
    std::optional<NewSize> size;
    std::string value = words.size() > 2 ? words[2] : "";
    if (action == "add") {
        need_operands(args, 1, "add [--size SIZE] [--type TYPE]...");
        added = new_partition(args);
    } else if (action == "delete") {
        need_operands(args, 2, "delete PARTITION");
    } else if (action == "resize") {
        need_operands(args, 3, "resize PARTITION [+|-]SIZE");
        size = new_size(value);
    } else if (action == "type") {
        need_operands(args, 3, "type PARTITION TYPE");
        value = type_of(value);
    } else if (action == "name") {
        need_operands(args, 3, "name PARTITION NAME");
    } else {
        throw UsageError("'" + action + "' is none of list, add, delete, resize, type, name");
    }
    Guest guest(context, Access::kChange);
    const std::string device =
        added ? add(context, guest, *added) : change(context, guest, action, words[1], value, size);
    guest.commit();
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.text("device", device);
        context.json.end_object();
    } else if (added) {
        context.out.write(device + "\n");
    }
    return kExitSuccess;
}

}  // namespace

constexpr Command kPartitionCommand = {
    .name = "partition",
    .summary = "list, add, delete, resize, type and name partitions",
    .operands = "[list|add|delete|resize|type|name] [PARTITION] [VALUE]",
    .description =
        "Lists the partitions, or changes one entry of the table, GPT or MBR. What lies in the\n"
        "partitions stays where it is and as it is: 'insp resize' makes it fit, 'insp format' makes\n"
        "a new table.",
    .examples =
        "insp partition -a disk.img -h\n"
        "insp partition -a disk.img add --size 512M --type swap\n"
        "insp partition -a disk.img resize /dev/sda2 +1G\n"
        "insp partition -a disk.img name /dev/sda1 boot",
    .options = kPartitionOwnOptions,
    .shared_options = kDiskOptions | kJsonOption,
    .max_operands = 3,
    .operand_words = "list add delete resize type name",
    .run = run_partition,
};

}  // namespace inspect::cli
