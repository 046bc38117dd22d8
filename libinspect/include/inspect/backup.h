// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Backups of guests' disks in a repository: deduplicated, compressed, encrypted, in the format that restic
// reads and writes, too (docs/backup-format.md).
//
//     inspect::BackupRepository repository({.location = "/srv/backups", .password_file = "/etc/backup.key"});
//     repository.create({.name = "web-01", .disks = {{.path = "web-01.qcow2"}}}, {});
//     for (const inspect::BackupSnapshot& snapshot : repository.list()) ...
//
// Every function throws inspect::Error. What was stored before a call is never harmed by it, whatever ends
// the process. Several processes may work on a repository at once; who removes something must be alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <inspect/disk.h>
#include <inspect/error.h>
#include <inspect/session.h>

namespace inspect {

// Where the repository and its password are. What is empty is looked for in the environment as restic does:
// RESTIC_REPOSITORY, RESTIC_REPOSITORY_FILE, RESTIC_PASSWORD, RESTIC_PASSWORD_FILE, RESTIC_PASSWORD_COMMAND;
// a password that is nowhere is asked for on the terminal.
struct BackupAccess {
    std::string location = {};  // a directory, or rest:http://HOST:PORT/PATH/
    std::string password_file = {};
    std::string password_command = {};
};

// Makes an empty repository and returns its id. Throws Error(kUsage) when there is one already.
std::string create_backup_repository(const BackupAccess& access);

// Gives the space of what no snapshot needs any more back: runs `restic prune` on it. Throws Error; kNotFound
// when restic isn't installed.
void prune_backup_repository(const BackupAccess& access);

struct BackupGuest {
    // What the guest is called in the repository. Empty: after its first image, without directory and suffix.
    std::string name = {};
    std::vector<DiskSpec> disks = {};
    std::string domain_xml = {};  // kept with the disks; may be empty
};

// What a guest will be called. Throws Error(kUsage) when that can't be a name.
std::string backup_guest_name(const BackupGuest& guest);

struct BackupProgress {
    uint64_t done = 0;    // bytes of the disk that are dealt with
    uint64_t total = 0;   // of all disks of the guest
    uint64_t read = 0;    // bytes that were read from the images
    uint64_t stored = 0;  // bytes that were written to the repository
};

struct BackupOptions {
    std::vector<std::string> tags = {};
    std::string hostname = {};  // of the snapshot; empty: this host's
    // Leave out what the guest's file systems call free, and the contents of swap spaces.
    bool used_blocks_only = true;
    // What else than ext and swap is on the disks can only be told by an appliance. kAuto: where there is so
    // much of it that asking takes less time than reading all of it might.
    enum class AskAppliance : uint8_t { kAuto, kAlways, kNever };
    AskAppliance ask_appliance = AskAppliance::kAuto;
    // A file that has the size, times and inode of the last backup's is taken to be unchanged, unread.
    bool trust_mtime = false;
    // The name of a persistent bitmap of the (qcow2) images that has followed all changes since the last
    // backup: what it calls clean is not read. Empty: none.
    std::string bitmap = {};
    // Look which operating systems are on the disks, by an appliance, and keep the result with them.
    bool inspect = false;
    // How such an appliance runs: the engine, memory, directories, `use_snapshot` and `verbose`; for
    // `inspect` also the keys. What else there is in it counts for nothing.
    SessionOptions appliance = {};
    uint64_t rate_limit = 0;    // bytes a second, of reading and of writing; 0: none
    int compression_level = 3;  // zstd's
    uint64_t chunk_size = 0;    // bytes, a power of two from 64 KiB to 8 MiB; 0: the usual one
    unsigned threads = 0;       // 0: as many as the host has use for
    // Called some times a second by the thread that called; may throw, which ends the backup.
    std::function<void(const BackupProgress&)> on_progress = {};
};

struct BackupResult {
    std::string snapshot;     // its id
    std::string parent;       // of the guest's backup before; empty: none
    std::string guest;        // its name
    uint64_t disk_size = 0;   // bytes, of all disks
    uint64_t read = 0;        // bytes read from the images
    uint64_t unchanged = 0;   // bytes known to be the parent's without being read
    uint64_t free_space = 0;  // bytes left out as free
    uint64_t swap_space = 0;
    uint64_t new_chunks = 0;
    uint64_t known_chunks = 0;        // that the repository had already
    uint64_t stored = 0;              // bytes written to the repository
    bool changed_while_read = false;  // the images were being written (DiskSpec::force_share)
    std::vector<std::string> warnings = {};
};

struct BackupSnapshot {
    std::string id;
    int64_t time_ns = 0;  // since the epoch
    std::string guest;    // empty: not made by this library
    std::string hostname;
    std::string username;
    std::vector<std::string> tags;
    std::vector<std::string> paths;
    std::string parent;
    std::string program;
};

struct BackupDisk {
    std::string name;  // of its file in the snapshot
    std::string source;
    std::string format;
    uint64_t size = 0;       // bytes
    uint64_t data_size = 0;  // without what is known to be zeros
    uint64_t chunks = 0;
    uint64_t free_space = 0;  // left out
    uint64_t swap_space = 0;
    bool changed_while_read = false;
};

struct BackupInfo {
    BackupSnapshot snapshot;
    std::vector<BackupDisk> disks;
    std::vector<std::string> systems;  // operating systems that an inspection found
    uint64_t stored = 0;               // bytes that its chunks take in the repository
    uint64_t stored_alone = 0;         // of them, those that no other snapshot needs
    bool has_domain_xml = false;
};

struct RestoreOptions {
    std::string format = "raw";  // of a new image: "raw" or "qcow2"
    // An image that exists gets the backup's contents: only what differs is written, in the image itself. A
    // restore that is cut short leaves it partly the one and partly the other; the next one completes it.
    bool overwrite = false;
    std::function<void(const BackupProgress&)> on_progress = {};
};

struct RestoreResult {
    uint64_t size = 0;     // of the disk, bytes
    uint64_t written = 0;  // bytes
};

struct BackupDamage {
    std::string what;  // which file is damaged or missing, and how
};

struct VerifyOptions {
    // Open the newest backup of every guest in an appliance and read its directories.
    bool inspect = false;
    SessionOptions appliance = {};  // as in BackupOptions
    bool read_data = false;  // read every pack; otherwise what the indexes and directories say is compared
    std::function<void(const BackupProgress&)> on_progress = {};
};

struct VerifyReport {
    std::vector<BackupDamage> damage;   // empty: all is well
    std::vector<std::string> affected;  // the snapshots and disks that can't be restored whole
    std::vector<std::string> notes;     // harmless: packs that no index names...
    uint64_t snapshots = 0, packs = 0, blobs = 0, bytes = 0;
};

// Which snapshots to keep: of each guest (host and paths) and kind the newest ones. 0: the rule isn't used.
struct RetentionPolicy {
    unsigned last = 0, hourly = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;
    uint64_t within_seconds = 0;  // all of this age or younger than the newest
    std::vector<std::string> tags = {};
    bool empty() const;
};

struct ForgetOptions {
    std::vector<std::string> snapshots = {};  // these by name, and then no policy; or
    RetentionPolicy policy = {};              // all but what this keeps, of those that the rest selects:
    std::string guest = {};                   // only this one's
    std::string hostname = {};                // only of this host
    std::vector<std::string> tags = {};       // only with all of these
    bool dry_run = false;
    // Whether there is anything but snapshots' names to say which.
    bool selects() const;
};

struct ForgetResult {
    std::vector<BackupSnapshot> kept, removed;
};

struct HostMountOptions;

// Opened with the first call that needs it. Used by one thread at a time.
class BackupRepository {
  public:
    // Opens it: finds the password and derives the key. Throws Error: kNotFound, kDenied (wrong password),
    // kUnsupported (an unknown version of the format), kCorrupt, kUsage (no password to be had).
    // `in_background`: the password is found at once, but a directory's key is derived by a thread of its own
    // while create() reads and hashes; what is wrong is thrown by the first call that needs the repository.
    explicit BackupRepository(const BackupAccess& access, bool in_background = false);
    ~BackupRepository();
    // Waits until it is open. Throws what the constructor would have thrown.
    void wait_until_open();
    BackupRepository(const BackupRepository&) = delete;
    BackupRepository& operator=(const BackupRepository&) = delete;

    const std::string& location() const noexcept;

    // Backs the guest up: a snapshot that is complete, or none. Throws Error; kBusy also when an image was
    // changed meanwhile.
    BackupResult create(const BackupGuest& guest, const BackupOptions& options);

    // All that follow throw Error: kCorrupt (what is in the repository contradicts itself or was changed),
    // kNotFound (a part of it is missing, or its server can't be reached), kDenied, kBusy (somebody removes
    // snapshots), kNoSpace.

    // Oldest first; empty when there is none.
    std::vector<BackupSnapshot> list();
    // `name`: "latest", an id or its beginning, or a guest's name for its newest. Throws kNotFound when there
    // is none, kUsage when several ids begin so; so do domain_xml() and restore().
    // `with_sizes`: what it takes in the repository as well, for which all snapshots are looked at.
    BackupInfo info(const std::string& name, bool with_sizes = true);
    // The guest's libvirt XML; empty when there is none.
    std::string domain_xml(const std::string& name);

    // Writes a disk (by its number or name; empty: the only one) to an image file or block device. A new file
    // appears when it is complete and durable, or not at all; of one that exists, and of a block device, see
    // RestoreOptions::overwrite. Throws also kNotFound (no such disk), kUsage (several disks and none named,
    // another format, an image that is larger than the disk), kDenied (it exists), kNoSpace (too small, or no
    // room), and what opening the image throws.
    RestoreResult restore(const std::string& name, const std::string& disk, const std::string& target,
                          const RestoreOptions& options);

    // Damage is in the report, and not thrown.
    VerifyReport verify(const VerifyOptions& options);
    // Removes snapshots. What only they needed stays in the repository until `restic prune`. Throws also
    // kUsage (neither snapshots nor a policy, or both), kNotFound (a snapshot; none is removed then), kBusy
    // (the repository is in use).
    ForgetResult forget(const ForgetOptions& options);

    // Shows the repository on a directory of the host, by FUSE, read-only: guests/NAME/TIME/disk0.raw and so
    // on (docs/backup-format.md), with the snapshots that there are now. Works until somebody unmounts it, as
    // mount_on_host() of host_mount.h, and throws the same. `subdirectory` isn't used. Until then nobody can
    // remove snapshots.
    void mount_on_host(const HostMountOptions& options);

    struct Impl;  // the library's own

  private:
    std::unique_ptr<Impl> impl_;
};

}  // namespace inspect
