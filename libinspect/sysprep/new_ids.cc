// SPDX-License-Identifier: LGPL-2.1-or-later
//
// plan_new_ids(): which identifiers there are, and which of the guest's files name them.
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

// GRUB's core image can't be changed: what it has stays.
void keep_what_the_core_has(const std::vector<std::string>& core_ids, std::vector<IdChange>& ids) {
    for (IdChange& id : ids) {
        const bool in_core = std::ranges::any_of(core_ids, [&](const std::string& text) {
            return id.kept.empty() && id.old_id.size() > 1 &&
                   replace_ids(text, {{id.old_id, std::string(id.old_id.size(), '0')}}) != text;
        });
        if (!in_core) continue;
        id.kept = "GRUB's core image finds /boot by it";
        id.new_id = id.old_id;
    }
}

// Whether what the guest makes its initial RAM disk of names identifiers.
bool goes_into_initrd(const std::string& path) {
    return path == "/etc/crypttab" || path.starts_with("/etc/mdadm") ||
           path.starts_with("/etc/initramfs-tools/") || path.starts_with("/etc/dracut");
}

// True when an initial RAM disk may name something that changes.
bool plan_files(Session& session, GuestGlob& glob, NewIdsPlan& plan) {
    bool in_initrd = false;
    for (const char* pattern : kNamingFiles) {
        for (const GuestGlob::Match& match : glob.find(pattern)) {
            if (match.type != DT_REG) continue;
            const std::string before = read_guest_file(session, match.path);
            std::vector<IdFileChange::Line> lines = changed_lines(before, rewrite_ids(before, plan.ids));
            // LVM's new identifiers aren't known yet.
            const bool lvm = std::ranges::any_of(plan.ids, [&](const IdChange& id) {
                return id.new_id.empty() && before.find(id.old_id) != before.npos;
            });
            if (lines.empty() && !lvm) continue;
            in_initrd |= goes_into_initrd(match.path);
            plan.files.push_back({match.path, std::move(lines)});
        }
    }
    return in_initrd || std::ranges::any_of(plan.ids, [](const IdChange& id) {
               return id.kind == IdChange::Kind::kGroupName && id.kept.empty();
           });
}

}  // namespace

NewIdsPlan plan_new_ids(Session& session, const NewIdsWishes& wishes) {
    NewIdsPlan plan;
    IdFacts facts;
    facts.report = session.filesystems();
    facts.group_names = wishes.group_names;
    const std::vector<OperatingSystem> systems = session.inspect();
    if (systems.size() > 1)
        throw Error(
            ErrorKind::kUnsupported,
            "there are several operating systems on these disks: which files name what can't be told");
    std::vector<std::string> core_ids;
    GuestGlob glob(session);
    if (!systems.empty()) {
        plan.root = facts.root = facts.boot = systems[0].root;
        for (const MountPoint& mount : systems[0].mountpoints)
            if (mount.path == "/boot") facts.boot = mount.device;
        session.mount_os(plan.root);
        look_at_boot(session, glob, facts, core_ids);
    }
    plan.ids = plan_ids(facts, random_uuid);
    if (!wishes.kinds.empty())
        std::erase_if(plan.ids, [&](const IdChange& id) {
            return std::ranges::find(wishes.kinds, id.kind) == wishes.kinds.end() &&
                   id.kind != IdChange::Kind::kGroupName;
        });
    keep_what_the_core_has(core_ids, plan.ids);
    if (systems.empty()) return plan;
    if (plan_files(session, glob, plan) || systems[0].package_format == "rpm")
        for (const char* pattern : kInitialRamDisks)
            for (const GuestGlob::Match& match : glob.find(pattern))
                if (match.type == DT_REG)
                    plan.warnings.push_back(
                        match.path +
                        " may name old identifiers; it is not changed: let the guest make it "
                        "anew (update-initramfs -u, dracut -f)");
    session.unmount();
    return plan;
}

NewIdsPlan with_new_draw(const NewIdsPlan& plan) {
    NewIdsPlan other = plan;
    draw_ids(other.ids, random_uuid);
    for (IdFileChange& file : other.files)
        for (IdFileChange::Line& line : file.lines) line.after = rewrite_ids(line.before, other.ids);
    return other;
}

}  // namespace inspect
