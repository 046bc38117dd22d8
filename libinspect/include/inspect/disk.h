// SPDX-License-Identifier: LGPL-2.1-or-later
//
// DiskSpec: a disk image to be opened, and how.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/error.h>

namespace inspect {

// What writing means, as QEMU defines it for its cache modes. Changes that are made atomically are durable
// when the commit returns, in all of them.
enum class CacheMode {
    kWriteback,     // the host's page cache; a flush of the guest reaches the storage
    kNone,          // past the page cache (O_DIRECT); a flush of the guest reaches the storage
    kWritethrough,  // the host's page cache; every write reaches the storage
    kDirectsync,    // past the page cache; every write reaches the storage
    kUnsafe,        // the host's page cache; flushes are ignored: a crash of the host may cost the image
};

// "writeback", "none", "writethrough", "directsync", "unsafe". Throws Error(kUsage) for another word.
CacheMode parse_cache_mode(std::string_view name);
std::string_view cache_mode_name(CacheMode mode) noexcept;

enum class WriteMode {
    kAtomic,  // changes are collected aside and reach the images at commit(), completely or not at all
    kDirect,  // the appliance writes to the images; what was written stays, whatever happens
};

// What is done about a qcow2 image that is marked dirty (the program that wrote it last did not close it) or
// corrupt, before it is opened. qemu-img(1) does it, in the image, whatever the session does later.
enum class Repair {
    kNone,   // nothing: a corrupt image is refused, a dirty one can be read
    kLeaks,  // qemu-img check -r leaks: clusters that nothing refers to are freed
    kAll,    // qemu-img check -r all: all that can be; what is wrong for good may be covered up
};

// What unlocks an encrypted volume of a guest (LUKS, BitLocker), or an encrypted image (LUKS, in qcow2 too).
struct EncryptionKey {
    // A volume's device ("/dev/sda2", "/dev/vg/lv") or UUID; an image's path or the file's name in it; "all".
    std::string id;
    // A passphrase, recovery password or the contents of a key file: bytes, up to 32 KiB.
    std::string secret;

    ~EncryptionKey();  // overwrites the secret

    // "ID:key:SECRET" or "ID:file:PATH", as libguestfs spells them. Of a file the first line is a key, and
    // all of it another one if that is more. Throws Error: kUsage (another form), kUnsupported ("ID:clevis":
    // there is no network), kNotFound, kDenied (the file).
    static std::vector<EncryptionKey> parse(const std::string& text);
};

struct DiskSpec {
    // An image file, a block device, or nbd://, nbd+unix://, nbds://; rbd:, iscsi://, ssh://, https:// and so
    // on as qemu-storage-daemon knows them. backup:REPOSITORY[:SNAPSHOT[:DISK]], a disk in a backup, which is
    // only read (inspect/backup.h). A path that begins like one of these is written as ./nbd://x.
    std::string path;
    // "raw", "qcow2", or a format that qemu-storage-daemon knows. Empty: detected, for local files; what is
    // remote is raw then. Detected images open no other file (but see allow_backing), and can't be made to
    // look like another format by their guest.
    std::string format = {};
    uint32_t sector_size = 512;  // logical, 512 or 4096 bytes
    bool read_only = false;      // true: opened read-only even in a writable session
    // qcow2: the disk as it was in this internal snapshot (its id or name), read-only.
    std::string snapshot = {};
    // An image whose format was detected may open the backing and data files that it names.
    bool allow_backing = false;
    // Read an image that another program is writing: what is read may make no sense.
    bool force_share = false;
    CacheMode cache = CacheMode::kWriteback;
    // backup: where the repository's password is; empty: as the environment says (inspect/backup.h).
    std::string password_file = {};
    std::string password_command = {};
    // Of the image itself, not of those that it stands on. The image must be a local file.
    Repair repair = Repair::kNone;
    // Those that are meant for the image, or for an image that it stands on, are tried in their order, if it
    // is encrypted: qcow2 with LUKS in it, or of the format "luks".
    std::vector<EncryptionKey> keys = {};
};

// Throws Error(kUsage) for what is wrong with it by itself, whatever the image is: a format that nobody
// knows, a sector size, a location that isn't understood. Nothing is opened.
void require_valid(const DiskSpec& disk);

// The hard disks of a libvirt domain, in the order of its XML, with their formats, cache modes and whether
// they are read-only. `domain` is a name, a UUID or the number of a running one, `uri` libvirt's connection
// (empty: its default). Asks virsh(1). Throws Error: kNotFound (no virsh, no such domain), kUnsupported (a
// disk that can't be opened).
std::vector<DiskSpec> domain_disks(const std::string& domain, const std::string& uri);
// The same from a file with the domain's XML, without libvirt (unless a disk is a volume of a storage pool).
std::vector<DiskSpec> domain_xml_disks(const std::string& path, const std::string& uri);
// The names, or the UUIDs, of all domains, running or not, as libvirt lists them. Throws Error as
// domain_disks().
std::vector<std::string> domain_names(const std::string& uri, bool uuids = false);
// The domain's XML as libvirt would start it the next time. Throws Error as domain_disks() does.
std::string domain_xml(const std::string& domain, const std::string& uri);
// The same from a file: up to 4 MiB of it.
std::string domain_xml_file(const std::string& path);

}  // namespace inspect
