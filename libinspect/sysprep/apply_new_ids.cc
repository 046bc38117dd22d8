// SPDX-License-Identifier: LGPL-2.1-or-later
//
// apply_new_ids(): the guest's files are rewritten while it is as it was, and its tree is mounted as its own
// fstab says; then nothing is mounted any more, and identifiers change. From below nothing is seen of what
// lies above, so the order is: file systems and swap, partition tables, what lies on bare disks, and at last
// the names of volume groups, by which all of it was found. Only volume groups' identifiers come first of
// all: LVM draws them itself, and files name them.
#include <algorithm>

#include <inspect/new_ids.h>

#include "guest/guest_files.h"
#include "sysprep/id_plan.h"
#include "sysprep/tool.h"

namespace inspect {

namespace {

using IdKind = IdChange::Kind;

bool changes(const IdChange& id, IdKind kind) { return id.kind == kind && id.kept.empty(); }

std::string what_for(const IdChange& id) { return "give " + id.device + " a new identifier"; }

// ntfslabel refuses a volume that Windows will come back to: it would find another one than it left.
void apply_ntfs(Session& session, const IdChange& id, const std::string& digits) {
    try {
        run_tool(session, {"ntfslabel", "--new-serial=" + digits, id.device}, false, what_for(id));
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kInternal) throw;
        throw Error(ErrorKind::kDenied,
                    "cannot " + what_for(id) +
                        ": Windows is hibernated on it, was not shut down completely, or is to check it. "
                        "Start it and shut it down (shutdown /s /t 0), or clone it without --new-ids (" +
                        error.message() + ")");
    }
}

// With the tool for it, what the agent can't do by itself.
void apply_contents(Session& session, const IdChange& id) {
    const auto tool = [&](std::vector<std::string> arguments) {
        run_tool(session, std::move(arguments), false, what_for(id));
    };
    const auto script = [&](const char* text) { tool({"sh", "-c", text, "sh", id.device, id.new_id}); };
    std::string digits = id.new_id;
    std::erase(digits, '-');
    if (id.kind == IdKind::kSwap) {
        tool({"swaplabel", "-U", id.new_id, id.device});
    } else if (id.type == "vfat") {
        tool({"fatlabel", "-i", id.device, digits});
    } else if (id.type == "exfat") {
        tool({"tune.exfat", "-I", "0x" + digits, id.device});
    } else if (id.type == "ntfs") {
        apply_ntfs(session, id, digits);
    } else if (id.type == "udf") {
        tool({"udflabel", "-u", id.new_id, id.device});
    } else if (id.type == "btrfs") {
        tool({"btrfstune", "-f", "-U", id.new_id, id.device});
    } else if (id.type == "xfs") {
        // A log that isn't empty is emptied by mounting it once.
        script(
            "xfs_admin -U \"$2\" \"$1\" || { m=/tmp/new-ids && mkdir -p $m && mount -t xfs -o nouuid \"$1\" "
            "$m "
            "&& umount $m && xfs_admin -U \"$2\" \"$1\"; }");
    } else if (id.type == "f2fs") {
        throw Error(ErrorKind::kUnsupported,
                    "cannot " + what_for(id) + ": it holds encrypted files, or its superblock is damaged");
    } else {
        // With checksums in its metadata all of them change; tune2fs wants it to be checked before, and asks.
        script(
            "e2fsck -f -p \"$1\" >/tmp/new-ids.log 2>&1; [ $? -le 2 ] || { cat /tmp/new-ids.log >&2; exit 1; "
            "}; "
            "printf 'y\\ny\\n' | tune2fs -U \"$2\" \"$1\"");
    }
}

void apply_by_agent(Session& session, const std::vector<IdChange>& ids) {
    using What = NewIdentifier::What;
    std::vector<NewIdentifier> wanted;
    std::vector<const IdChange*> of;
    const auto add = [&](const IdChange& id, What what) {
        wanted.push_back({what, id.device, id.new_id});
        of.push_back(&id);
    };
    for (const IdChange& id : ids)
        if (changes(id, IdKind::kFilesystem) || changes(id, IdKind::kSwap)) add(id, What::kContents);
    for (const IdChange& id : ids) {
        if (changes(id, IdKind::kPartitionTable)) add(id, What::kTable);
        // Those of an MBR follow the disk's.
        if (changes(id, IdKind::kPartition) && id.type == "gpt") add(id, What::kPartition);
    }
    for (const size_t left : session.set_identifiers(wanted)) apply_contents(session, *of[left]);
}

void apply_groups(Session& session, const std::vector<IdChange>& ids) {
    for (size_t i = 0; i < ids.size(); ++i) {
        if (!changes(ids[i], IdKind::kVolumeGroup)) continue;
        std::vector<std::string> arguments = {
            "sh", "-c", "g=$1; shift; lvm pvchange -q -y -u \"$@\" && lvm vgchange -q -y -u \"$g\"", "sh",
            ids[i].device};
        for (size_t j = i + 1; j < ids.size() && ids[j].kind == IdKind::kPhysicalVolume; ++j)
            arguments.push_back(ids[j].device);
        run_tool(session, std::move(arguments), true,
                 "give the volume group " + ids[i].device + " new identifiers");
    }
}

// LVM has chosen by itself.
void fill_in_lvm(const FilesystemReport& report, std::vector<IdChange>& ids) {
    for (IdChange& id : ids) {
        if (changes(id, IdKind::kVolumeGroup)) {
            for (const VolumeGroupInfo& group : report.volume_groups)
                if (group.name == id.device) id.new_id = group.uuid;
        } else if (changes(id, IdKind::kPhysicalVolume)) {
            for (const FilesystemInfo& volume : report.filesystems)
                if (volume.device == id.device) id.new_id = volume.uuid;
        }
    }
}

void apply_array(Session& session, const IdChange& id) {
    // A number that the agent gives to none.
    std::vector<std::string> arguments = {
        "sh", "-c",
        "u=$1; shift; mdadm --assemble --config=none --run --update=uuid \"--uuid=$u\" /dev/md120 \"$@\" && "
        "mdadm --stop /dev/md120",
        "sh", array_id(id.new_id)};
    arguments.insert(arguments.end(), id.parts.begin(), id.parts.end());
    run_tool(session, std::move(arguments), true, what_for(id));
}

// Of partitions and disks while nothing is put together from them; what is on a volume is there only then.
bool is_bare(const std::string& device) { return device.starts_with("/dev/sd"); }

void apply_below(Session& session, const std::vector<IdChange>& ids) {
    for (const IdChange& id : ids)
        if (changes(id, IdKind::kLuks))
            run_tool(session, {"cryptsetup", "-q", "luksUUID", "--uuid", id.new_id, id.device},
                     is_bare(id.device), what_for(id));
    for (const IdChange& id : ids)
        if (changes(id, IdKind::kArray)) apply_array(session, id);
    for (const IdChange& id : ids)
        if (changes(id, IdKind::kGroupName))
            run_tool(session, {"lvm", "vgrename", "-q", "-y", id.old_id, id.new_id}, false,
                     "give the volume group " + id.device + " another name");
}

}  // namespace

void apply_new_ids(Session& session, const NewIdsPlan& plan, const std::function<void()>& in_tree) {
    std::vector<IdChange> ids = plan.ids;
    if (std::ranges::any_of(ids, [](const IdChange& id) { return changes(id, IdKind::kVolumeGroup); })) {
        // An encrypted volume that takes more memory to unlock than the appliance has gets it where disks are
        // listed.
        session.filesystems();
        apply_groups(session, ids);
        fill_in_lvm(session.filesystems(), ids);
    }
    if (!plan.root.empty()) {
        session.mount_os(plan.root);
        for (const IdFileChange& file : plan.files) {
            const std::string before = read_guest_file(session, file.path);
            const std::string after = rewrite_ids(before, ids);
            if (after != before) write_text(session, file.path, after);
        }
        if (in_tree) in_tree();
        session.unmount();
    }
    apply_by_agent(session, ids);
    apply_below(session, ids);
}

}  // namespace inspect
