// SPDX-License-Identifier: GPL-2.0-or-later
#include "identifiers.h"

#include <fcntl.h>

#include <map>
#include <string>

#include "contents_id.h"
#include "failure.h"
#include "table_ids.h"

namespace inspect::agent {

namespace {

Fd open_writable(const std::string& node, const std::string& device) {
    Fd fd(::open(node.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd) fail_errno("cannot open", device);
    return fd;
}

}  // namespace

void set_identifiers(Disks& disks, const proto::SetIdentifiers& request, proto::IdentifiersSet& result) {
    std::map<std::string, TableIds> tables;  // by disk
    for (int i = 0; i < request.identifiers_size(); ++i) {
        const proto::SetIdentifiers::Identifier& wanted = request.identifiers(i);
        if (wanted.what() == proto::SetIdentifiers::TABLE) {
            tables[wanted.device()].disk = wanted.value();
            continue;
        }
        Volume& volume = disks.get(wanted.device());
        if (wanted.what() == proto::SetIdentifiers::PARTITION) {
            if (!volume.partition) throw Failure(proto::USAGE, volume.device + " is no partition", EINVAL);
            tables["/dev/" + volume.disk->name].partitions[volume.partition->number] = wanted.value();
            continue;
        }
        if (volume.read_only()) throw Failure(proto::DENIED, volume.device + " is read-only", EROFS);
        disks.make_node(volume);
        const Fd fd = open_writable(volume.node, volume.device);
        if (!set_contents_id(fd.get(), volume.size, disks.certain_superblock(volume).type, wanted.value()))
            result.add_left(static_cast<uint32_t>(i));
        volume.superblock.reset();
    }
    for (const auto& [device, ids] : tables) {
        Disk* disk = nullptr;
        for (Disk& one : disks.disks())
            if (device == "/dev/" + one.name) disk = &one;
        if (!disk) throw Failure(proto::NOT_FOUND, "there is no disk " + device, ENOENT);
        const Fd fd = open_writable(disk->node, device);
        set_table_ids(fd.get(), disk->size, disk->sector_size, ids);
    }
}

}  // namespace inspect::agent
