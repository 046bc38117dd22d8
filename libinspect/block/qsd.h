// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What we don't read ourselves, read by QEMU: a qemu-storage-daemon of our own opens the image and exports it
// to us by NBD. docs/nbd.md says how the two find each other without a name that others could see.
//
// The daemon is never left to guess: the format is what the caller says. It runs with the user's rights, as a
// qemu-img of his would.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/disk.h>

#include "block/nbd_bridge.h"

namespace inspect {

// As QEMU defines them (docs of its -drive cache=).
enum class QsdCache { kWriteback, kNone, kWritethrough, kDirectsync, kUnsafe };

struct QsdImage {
    // "raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vhdx", "vpc", "parallels", "dmg", "bochs", "cloop" or
    // "luks".
    std::string format = {};
    // A file's or block device's path, or what QEMU calls it: rbd:POOL/IMAGE[:OPTION=VALUE...],
    // iscsi://[USER@]HOST[:PORT]/TARGET/LUN, ssh://[USER@]HOST[:PORT]/PATH, http:// and https://, ftp:// and
    // ftps://, nfs://HOST/PATH, NBD URIs without TLS. A relative path that begins like one of these is
    // written as ./rbd:x.
    std::string location = {};
    bool read_only = true;
    QsdCache cache = QsdCache::kWriteback;
    // Let the image name other files, which are opened then: a backing file, extents, a data file. Not to be
    // allowed to an image whose format was detected: its guest could have made it one that names any file of
    // the host.
    bool allow_other_files = false;
    // Read an image although another program writes it.
    bool force_share = false;
    // For an encrypted image (LUKS, or LUKS in qcow2): tried in their order, whatever their ids.
    std::vector<EncryptionKey> keys = {};
};

// Starts the daemon and opens the image. The daemon ends, and closes the image in an orderly way, with what
// is returned; it doesn't flush. Throws Error: kNotFound (no daemon: the message names the package; no
// image), kUsage (an unknown format), kBusy (another program holds the image), kDenied (also: it is encrypted
// and no key was given, or none that fits), or what the daemon complained of.
std::unique_ptr<NbdBridge> open_with_qsd(const QsdImage& image);

// The formats that QsdImage::format may name.
bool qsd_knows_format(std::string_view format);
// The daemon's command line but for the socket, for tests. `key_fd` is where the daemon reads the passphrase;
// -1: there is none.
std::vector<std::string> qsd_arguments(const QsdImage& image, int key_fd = -1);

}  // namespace inspect
