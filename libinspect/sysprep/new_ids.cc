// SPDX-License-Identifier: LGPL-2.1-or-later
//
// plan_new_ids() and apply_new_ids(): the plan is made of what a read-only session sees; carried out it is in
// another one, because identifiers can be changed only while nothing is mounted. From below nothing is seen
// of what lies above, so the order is: file systems and swap, volume groups, then what lies on bare disks.
#include <dirent.h>

#include <algorithm>
#include <sstream>

#include <inspect/new_ids.h>

#include "base/uuid.h"
#include "guest/guest_files.h"
#include "sysprep/id_plan.h"

namespace inspect {

namespace {

// What names identifiers, in Debian, Ubuntu, Fedora, SUSE, Arch and Alpine.
constexpr const char* kNamingFiles[] = {
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/default/grub",
    "/etc/default/grub.d/*",
    "/etc/sysconfig/grub",
    "/etc/kernel/cmdline",
    "/etc/cmdline",
    "/etc/cmdline.d/*",
    "/etc/dracut.conf",
    "/etc/dracut.conf.d/*",
    "/etc/initramfs-tools/initramfs.conf",
    "/etc/initramfs-tools/conf.d/*",
    "/etc/mdadm.conf",
    "/etc/mdadm/mdadm.conf",
    "/etc/lvm/devices/system.devices",
    "/etc/systemd/system/*.mount",
    "/etc/systemd/system/*.automount",
    "/etc/systemd/system/*.swap",
    "/etc/update-extlinux.conf",
    "/boot/grub/grub.cfg",
    "/boot/grub/grubenv",
    "/boot/grub/custom.cfg",
    "/boot/grub/menu.lst",
    "/boot/grub2/grub.cfg",
    "/boot/grub2/grubenv",
    "/boot/grub2/custom.cfg",
    "/boot/loader/entries/*.conf",
    "/boot/efi/EFI/*/grub.cfg",
    "/boot/efi/EFI/*/grubenv",
    "/boot/efi/loader/entries/*.conf",
    "/efi/EFI/*/grub.cfg",
    "/efi/loader/entries/*.conf",
    "/boot/EFI/*/grub.cfg",
    "/boot/extlinux.conf",
    "/boot/extlinux/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/boot/cmdline.txt",
};

constexpr const char* kInitialRamDisks[] = {"/boot/initrd*", "/boot/initramfs*"};

// A program in the appliance; what it says if it fails.
std::string run_tool(Session& session, std::vector<std::string> arguments, bool bare_disks,
                     const std::string& what) {
    std::string output, errors;
    constexpr size_t kMostShown = 2000;
    const auto keep = [](std::string& text) {
        return [&text](std::span<const std::byte> bytes) {
            if (text.size() < kMostShown)
                text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        };
    };
    RunOptions options;
    options.arguments = std::move(arguments);
    options.bare_disks = bare_disks;
    options.on_output = keep(output);
    options.on_error_output = keep(errors);
    const RunResult result = session.run(options);
    if (result.succeeded()) return output;
    std::string why = !result.not_started.empty() ? result.not_started
                      : result.signal != 0        ? "signal " + std::to_string(result.signal)
                                                  : "exit status " + std::to_string(result.exit_status);
    if (!errors.empty()) why += "; " + errors;
    if (errors.empty() && !output.empty()) why += "; " + output;
    while (why.ends_with('\n')) why.pop_back();
    throw Error(ErrorKind::kInternal, "cannot " + what + ": " + why);
}

std::string trimmed(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    return text;
}

std::vector<IdFileChange::Line> changed_lines(const std::string& before, const std::string& after) {
    std::vector<IdFileChange::Line> lines;
    std::istringstream one(before), other(after);
    std::string a, b;
    for (unsigned number = 1; std::getline(one, a) && std::getline(other, b); ++number)
        if (a != b) lines.push_back({number, a, b});
    return lines;
}

// What the guest's tree has that isn't text of its own.
void look_at_boot(Session& session, GuestGlob& glob, IdFacts& facts, std::vector<std::string>& core_ids) {
    for (const char* directory : {"/boot/grub/i386-pc", "/boot/grub2/i386-pc"}) {
        if (!glob.find(std::string(directory) + "/core.img").empty()) facts.bios_grub = true;
        // grub-install writes down here what it puts into the core image.
        for (const GuestGlob::Match& match : glob.find(std::string(directory) + "/load.cfg"))
            core_ids.push_back(read_guest_file(session, match.path));
    }
}

void apply_contents(Session& session, const IdChange& id) {
    const std::string what = "give " + id.device + " a new identifier";
    const auto script = [&](const char* text) {
        run_tool(session, {"sh", "-c", text, "sh", id.device, id.new_id}, false, what);
    };
    if (id.kind == IdChange::Kind::kSwap) {
        run_tool(session, {"swaplabel", "-U", id.new_id, id.device}, false, what);
    } else if (id.type == "vfat") {
        std::string serial = id.new_id;
        std::erase(serial, '-');
        run_tool(session, {"fatlabel", "-i", id.device, serial}, false, what);
    } else if (id.type == "btrfs") {
        run_tool(session, {"btrfstune", "-f", "-U", id.new_id, id.device}, false, what);
    } else if (id.type == "xfs") {
        // Mounted once, so that its log is empty.
        script(
            "m=/tmp/new-ids && mkdir -p $m && mount -t xfs -o nouuid \"$1\" $m && umount $m && "
            "xfs_admin -U \"$2\" \"$1\"");
    } else {
        // With checksums in its metadata all of them change; tune2fs wants it to be checked before, and asks.
        script(
            "e2fsck -f -p \"$1\" >/tmp/new-ids.log 2>&1; [ $? -le 2 ] || { cat /tmp/new-ids.log >&2; exit 1; "
            "}; "
            "printf 'y\\ny\\n' | tune2fs -U \"$2\" \"$1\"");
    }
}

void apply_groups(Session& session, const std::vector<IdChange>& ids) {
    for (size_t i = 0; i < ids.size(); ++i) {
        if (ids[i].kind != IdChange::Kind::kVolumeGroup || !ids[i].kept.empty()) continue;
        std::vector<std::string> arguments = {
            "sh", "-c", "g=$1; shift; lvm pvchange -q -y -u \"$@\" && lvm vgchange -q -y -u \"$g\"", "sh",
            ids[i].device};
        for (size_t j = i + 1; j < ids.size() && ids[j].kind == IdChange::Kind::kPhysicalVolume; ++j)
            arguments.push_back(ids[j].device);
        run_tool(session, std::move(arguments), true,
                 "give the volume group " + ids[i].device + " new identifiers");
    }
}

void apply_bare(Session& session, const IdChange& id) {
    const std::string what = "give " + id.device + " a new identifier";
    if (id.kind == IdChange::Kind::kLuks) {
        run_tool(session, {"cryptsetup", "-q", "luksUUID", "--uuid", id.new_id, id.device}, true, what);
    } else if (id.kind == IdChange::Kind::kPartitionTable) {
        run_tool(session,
                 {"sfdisk", "-q", "--no-reread", "--no-tell-kernel", "--disk-id", id.device, id.new_id}, true,
                 what);
    } else if (id.kind == IdChange::Kind::kPartition && id.type == "gpt") {
        const size_t digit = id.device.find_first_of("0123456789");
        run_tool(session,
                 {"sfdisk", "-q", "--no-reread", "--no-tell-kernel", "--part-uuid",
                  id.device.substr(0, digit), id.device.substr(digit), id.new_id},
                 true, what);
    }
}

// LVM has chosen by itself.
void fill_in_lvm(const FilesystemReport& report, std::vector<IdChange>& ids) {
    for (IdChange& id : ids) {
        if (!id.new_id.empty() || !id.kept.empty()) continue;
        if (id.kind == IdChange::Kind::kVolumeGroup) {
            for (const VolumeGroupInfo& group : report.volume_groups)
                if (group.name == id.device) id.new_id = group.uuid;
        } else if (id.kind == IdChange::Kind::kPhysicalVolume) {
            for (const FilesystemInfo& volume : report.filesystems)
                if (volume.device == id.device) id.new_id = volume.uuid;
        }
    }
}

}  // namespace

NewIdsPlan plan_new_ids(Session& session, const std::vector<IdChange::Kind>& kinds) {
    NewIdsPlan plan;
    IdFacts facts;
    facts.report = session.filesystems();
    const std::vector<OperatingSystem> systems = session.inspect();
    if (systems.size() > 1)
        throw Error(
            ErrorKind::kUnsupported,
            "there are several operating systems on these disks: which files name what can't be told");
    for (const DiskInfo& disk : facts.report.disks)
        if (!disk.partition_table.empty())
            facts.table_ids[disk.device] = trimmed(run_tool(session, {"sfdisk", "--disk-id", disk.device},
                                                            true, "read the identifier of " + disk.device));
    std::vector<std::string> core_ids;
    if (!systems.empty()) {
        plan.mountpoints = systems[0].mountpoints;
        facts.root = facts.boot = systems[0].root;
        for (const MountPoint& mount : plan.mountpoints)
            if (mount.path == "/boot") facts.boot = mount.device;
        session.mount_os(systems[0].root);
    }
    GuestGlob glob(session);
    if (!systems.empty()) look_at_boot(session, glob, facts, core_ids);
    plan.ids = plan_ids(facts, random_uuid);
    if (!kinds.empty())
        std::erase_if(plan.ids,
                      [&](const IdChange& id) { return std::ranges::find(kinds, id.kind) == kinds.end(); });
    for (IdChange& id : plan.ids) {
        const bool in_core = std::ranges::any_of(core_ids, [&](const std::string& text) {
            return id.kept.empty() &&
                   replace_ids(text, {{id.old_id, std::string(id.old_id.size(), '0')}}) != text;
        });
        if (in_core) {
            id.kept = "GRUB's core image finds /boot by it";
            id.new_id = id.old_id;
        }
    }
    if (systems.empty()) return plan;
    const auto map = replacements(plan.ids);
    bool names_in_boot = false;
    for (const char* pattern : kNamingFiles) {
        for (const GuestGlob::Match& match : glob.find(pattern)) {
            if (match.type != DT_REG) continue;
            const std::string before = read_guest_file(session, match.path);
            std::vector<IdFileChange::Line> lines = changed_lines(before, replace_ids(before, map));
            bool lvm = false;  // whose new identifiers aren't known yet
            for (const IdChange& id : plan.ids)
                if (id.new_id.empty() && before.find(id.old_id) != before.npos) lvm = true;
            if (lines.empty() && !lvm) continue;
            names_in_boot |= match.path == "/etc/crypttab" ||
                             match.path.starts_with("/etc/initramfs-tools/") ||
                             match.path.starts_with("/etc/dracut");
            plan.files.push_back({match.path, std::move(lines)});
        }
    }
    if (systems[0].package_format == "rpm" || names_in_boot)
        for (const char* pattern : kInitialRamDisks)
            for (const GuestGlob::Match& match : glob.find(pattern))
                if (match.type == DT_REG)
                    plan.warnings.push_back(
                        match.path +
                        " may name old identifiers; it is not changed: let the guest make it "
                        "anew (update-initramfs -u, dracut -f)");
    return plan;
}

void apply_new_ids(Session& session, const NewIdsPlan& plan) {
    std::vector<IdChange> ids = plan.ids;
    // An encrypted volume that takes more memory to unlock than the appliance has gets it where disks are
    // listed.
    session.filesystems();
    for (const IdChange& id : ids)
        if (id.kept.empty() && (id.kind == IdChange::Kind::kFilesystem || id.kind == IdChange::Kind::kSwap))
            apply_contents(session, id);
    apply_groups(session, ids);
    for (const IdChange& id : ids)
        if (id.kept.empty()) apply_bare(session, id);
    if (plan.mountpoints.empty()) return;
    // A decrypted volume has its name from its LUKS header's.
    auto map = replacements(ids);
    for (const MountPoint& mount : plan.mountpoints)
        session.mount({replace_ids(mount.device, map), mount.path, mount.options, mount.type});
    if (std::ranges::any_of(ids, [](const IdChange& id) { return id.new_id.empty(); })) {
        fill_in_lvm(session.filesystems(), ids);
        map = replacements(ids);
    }
    for (const IdFileChange& file : plan.files) {
        const std::string before = read_guest_file(session, file.path);
        const std::string after = replace_ids(before, map);
        if (after != before) write_text(session, file.path, after);
    }
}

}  // namespace inspect
