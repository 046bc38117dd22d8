// SPDX-License-Identifier: GPL-2.0-or-later
//
// The options that commands share, and their order in the help.
#include "cli/command.h"
#include "cli/customize_options.h"

namespace inspect::cli {
namespace {

constexpr Option kDisk[] = {
    {'a', "add", Takes::kValue, "IMAGE", "add a disk image; several make one guest's sda, sdb...", "",
     "<file>"},
    {0, "format", Takes::kOptionalValue, "FORMAT", "format of the images after it; without a value: detect",
     "", "raw qcow2 vmdk vdi vhdx vpc qcow qed parallels luks"},
    {0, "allow-backing", Takes::kNothing, "",
     "let an image whose format was detected open the files that it names"},
    {0, "disk-snapshot", Takes::kValue, "NAME", "the internal snapshot to show of the images after it"},
    {0, "cache", Takes::kValue, "MODE", "cache mode of the images after it: see insp(1)", "",
     "writeback none writethrough directsync unsafe"},
    {0, "repair", Takes::kOptionalValue, "WHAT",
     "let qemu-img repair dirty or corrupt qcow2 images: 'leaks' or 'all'", "", "leaks all"},
    {0, "key", Takes::kValue, "ID:key:SECRET|ID:file:PATH",
     "unlock a disk or image; ID: a device, UUID, image's name or 'all'"},
    {0, "keys-from-stdin", Takes::kNothing, "", "read keys for all encrypted disks from stdin, one a line"},
    {0, "force-share", Takes::kNothing, "", "read images although another program writes them"},
    {0, "password-file", Takes::kValue, "FILE",
     "the password of backup:..., else as RESTIC_PASSWORD_FILE says", "", "<file>"},
    {0, "password-command", Takes::kValue, "COMMAND", "what prints it, else as RESTIC_PASSWORD_COMMAND says"},
    {'d', "domain", Takes::kValue, "DOMAIN", "add the disks of a libvirt domain"},
    {'c', "connect", Takes::kValue, "URI", "libvirt's connection, for -d"},
    {0, "domain-xml", Takes::kValue, "FILE", "add the disks of the domain in this file", "", "<file>"},
    {0, "write-mode", Takes::kValue, "MODE", "'atomic': all changes or none; 'direct': as they come", "",
     "atomic direct"},
    {0, "blocksize", Takes::kOptionalValue, "BYTES", "sector size of the images after it: 512 or 4096", "",
     "512 4096"},
    {'r', "ro", Takes::kNothing, "", "read-only; what commands that only read do anyway"},
    {'w', "rw", Takes::kNothing, "", "writable; what commands that change the guest do anyway"},
};

constexpr Option kMount[] = {
    {'m', "mount", Takes::kValue, "DEV[:MNT[:OPTS[:FSTYPE]]]", "mount this instead of the operating system"},
    {0, "root", Takes::kValue, "DEV", "which operating system, where there are several"},
};

constexpr Option kAppliance[] = {
    {0, "no-snapshot", Takes::kNothing, "", "boot the appliance; neither use nor make a snapshot"},
    {0, "stats", Takes::kOptionalValue, "FORMAT", "what it cost, on stderr: a table, or 'json'", "",
     "table json"},
};

constexpr Option kMemory[] = {
    {0, "engine", Takes::kValue, "ENGINE", "what runs the appliance: 'kvm', 'qemu', or 'auto'", "",
     "auto kvm qemu"},
    {0, "memory", Takes::kValue, "SIZE", "memory of the appliance, in MiB or with a suffix K, M, G",
     "memsize"},
};

constexpr Option kJson[] = {
    {0, "json", Takes::kNothing, "", "print JSON, errors included"},
};

constexpr Option kGeneral[] = {
    {'q', "quiet", Takes::kNothing, "", "no warnings and no progress"},
    {'v', "verbose", Takes::kNothing, "", "say what happens; show the appliance's kernel log"},
    {'x', "", Takes::kNothing, "", "show the library calls"},
    {'V', "version", Takes::kNothing, "", "show the version"},
    {0, "help", Takes::kNothing, "", "show this help"},
};

}  // namespace

std::vector<OptionGroup> option_groups(const Command& command) {
    std::vector<OptionGroup> groups;
    groups.push_back({"Options", command.options});
    if (command.shared_options & kCustomizeOptions)
        groups.push_back({"Customizing, in the order of the options", customize_options()});
    if (command.shared_options & kJsonOption) groups.push_back({"Output", kJson});
    if (command.shared_options & kDiskOptions) groups.push_back({"Disks", kDisk});
    if (command.shared_options & kMountOptions) groups.push_back({"Mounts", kMount});
    const bool runs_appliance = (command.shared_options & kNoAppliance) == 0;
    if ((command.shared_options & (kDiskOptions | kMemoryOption)) && runs_appliance)
        groups.push_back({"Appliance", kMemory});
    if ((command.shared_options & kDiskOptions) && runs_appliance) groups.push_back({"", kAppliance});
    groups.push_back({"General", kGeneral});
    return groups;
}

bool is_replaced(const Command& command, const Option& option) {
    for (const Option& own : command.options)
        if (&own != &option && *option.name != 0 && std::string_view(own.name) == option.name) return true;
    return false;
}

}  // namespace inspect::cli
