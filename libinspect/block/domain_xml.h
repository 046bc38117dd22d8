// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A libvirt domain's disks, from its XML (libvirt's docs/formatdomain.rst, "Hard drives, floppy disks,
// CDROMs").
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace inspect {

// What a <disk> says of an image, in our words.
struct DomainDisk {
    std::string target = {};  // what the guest's bus calls it: "vda"
    // A path, or rbd:, iscsi://, ssh://, http(s)://, ftp(s)://, nfs:// or nbd://, as QsdImage and NbdUri take
    // it. Empty for a volume of a storage pool, until somebody asks libvirt for its path.
    std::string location = {};
    std::string pool = {}, volume = {};
    std::string format = "raw";  // the driver's type; libvirt's default is raw, never a guess
    std::string cache =
        {};  // "none", "writeback", "writethrough", "directsync", "unsafe"; empty: QEMU's default
    std::string serial = {};
    bool read_only = false;
    bool shareable = false;  // other machines use it, too
    bool optional = false;   // the machine starts without it when it isn't there
};

struct DomainDisks {
    std::string name;               // of the domain; may be empty in handwritten XML
    std::vector<DomainDisk> disks;  // in the XML's order
};

// The hard disks of the domain. CD and floppy drives are left out, and so are drives with nothing in them.
// `origin` is what messages call the XML: its file, or the domain. Throws Error: kUsage (no domain's XML, or
// more than 4 MiB), kUnsupported (a disk that is encrypted, or of a kind that can't be opened: all or none is
// said of them).
DomainDisks parse_domain_xml(std::string_view xml, const std::string& origin);

}  // namespace inspect
