// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Session: disk images opened in an appliance. This is the library's front door.
//
//     inspect::SessionOptions options;
//     options.disks.push_back({.path = "guest.img"});
//     inspect::Session session(options);          // read-only; nothing is started yet
//     session.mount_os();                         // as the guest's fstab says
//     session.read_file("/etc/fstab", [](std::span<const std::byte> bytes) { ... });
//
// Nothing touches an image before commit(): a writing session collects its changes aside, and commit() puts
// them into the images completely or not at all. A Session that is destroyed without commit() leaves the
// images as they were; so does a process that is killed at any moment (a commit that had begun is finished by
// the next open).
//
// Paths are absolute in the guest's tree and are resolved inside it: a symlink never leads out. Paths, names
// and targets are byte strings, not necessarily UTF-8. Devices are named /dev/sda, /dev/sda1, /dev/sdb..., in
// the order of the disks, whatever the guest or the appliance calls them; /dev/vda and /dev/hda mean the
// same.
//
// The appliance is started by the first call that needs it. Mounting and the operation after it travel
// together: mount_os() and mount() report their failure from the next call, which then has done nothing;
// mounts that were asked for after the failed one are forgotten, those before it stay.
//
// Errors: every function throws inspect::Error; kEngine means that the appliance is gone and the Session is
// of no more use. Thread-safety: a Session is used by one thread at a time; different Sessions are
// independent. interrupt() may be called from anywhere, a signal handler included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <inspect/disk.h>
#include <inspect/error.h>

namespace inspect {

struct HostMountOptions;  // host_mount.h
struct ResizeWishes;
struct ResizePlan;
struct ResizeStep;
struct SparseCopy;
struct SparsifyResult;
struct SparsifyWishes;

struct MountSpec {
    std::string device;
    std::string mountpoint = "/";
    std::string options = {};  // as for mount -o; empty: none
    std::string fstype = {};   // empty: probed

    // "DEV[:MNT[:OPTS[:FSTYPE]]]" as the virt-* tools spell it. Throws Error(kUsage).
    static MountSpec parse(const std::string& text);
};

struct SessionOptions {
    std::vector<DiskSpec> disks;  // at least one, at most 32; with the engine qemu at most 6
    bool writable = false;
    WriteMode write_mode = WriteMode::kAtomic;
    // What is written goes nowhere, or into a copy (write_copy()): the images are only read. For a writable
    // session.
    bool scratch = false;
    // Encrypted volumes pass on what of them is free: their storage then shows which parts are in use.
    bool allow_discards = false;
    // Of volumes in the disks (of an image that is itself encrypted: DiskSpec::keys). Tried in their order on
    // what they name; at most 256.
    std::vector<EncryptionKey> keys = {};
    // Of the appliance; 0: the default, enough for the common case, and as much more as it takes to unlock a
    // volume whose key derivation wants memory (argon2).
    uint64_t memory_bytes = 0;
    std::string engine;  // "kvm", "qemu", or "auto": what fits this host; empty: $INSP_ENGINE, else "auto"
    bool use_snapshot = true;  // false: a cold boot, and no snapshot is made
    bool verbose = false;  // what happens, and the appliance's kernel log, go to stderr (from any session of
                           // the process)
    std::string appliance_directory;  // empty: $INSP_APPLIANCE, else as installed beside the program
    std::string cache_directory;      // empty: $INSP_CACHE_DIR, else $XDG_CACHE_HOME/libinspect
};

// ---- what the disks hold

struct FilesystemInfo {
    std::string device;  // "/dev/sda1"
    std::string type;    // as blkid names it; empty: unknown
    std::string label;   // bytes
    std::string uuid;
    uint64_t size_bytes = 0;  // of the device; 0: a subvolume has none of its own
    bool mountable = false;
    bool whole_disk = false;  // on a disk without a partition table
    // "lv", "md", "crypt", "subvolume" (of btrfs), or empty: a partition or a whole disk
    std::string kind;
    std::string volume_uuid;         // of the logical volume or the array
    std::string group;               // lv: the volume group; md: the level; crypt: "crypto_LUKS", "BitLocker"
    bool degraded = false;           // an array without all its members: read-only
    std::vector<std::string> parts;  // the devices that it stands on
    uint32_t partition_number = 0;   // 0: not a partition
    std::string partition_uuid;
    std::string partition_label;  // bytes
    std::string partition_type;   // GPT: a GUID; MBR: "0x83"
};

struct DiskInfo {
    std::string device;  // "/dev/sda"
    uint64_t size_bytes = 0;
    uint32_t sector_size = 0;
    std::string partition_table;  // "gpt", "dos" or empty
    std::string table_id;         // the identifier in it: a GUID, or "0x1234abcd"
};

struct VolumeGroupInfo {
    std::string name;
    std::string uuid;
    uint64_t size_bytes = 0;
    uint64_t free_bytes = 0;
    std::vector<std::string> physical_volumes;  // devices
};

struct FilesystemReport {
    std::vector<DiskInfo> disks;
    // Partitions and whole-disk file systems in the disks' order, then what was put together from them.
    std::vector<FilesystemInfo> filesystems;
    std::vector<VolumeGroupInfo> volume_groups;
    std::vector<std::string> warnings;  // what is wrong with the tables
};

struct MountPoint {
    std::string path;
    std::string device;
    std::string options;
    std::string type;
    std::string spec;  // as the guest's fstab names the device
};

struct OperatingSystem {
    std::string root;    // the device of its root file system
    std::string type;    // "linux"
    std::string distro;  // "debian", "fedora", ...
    std::string product_name;
    std::string product_variant;
    int major_version = 0;
    int minor_version = 0;
    std::string version_id;
    std::string build_id;
    std::string osinfo_id;     // as libosinfo spells it: "debian12"
    std::string architecture;  // "x86_64", "aarch64"...; empty: unknown
    std::string hostname;
    std::string machine_id;
    std::string package_format;      // "deb", "rpm"...
    std::string package_management;  // "apt", "dnf"...
    std::vector<MountPoint> mountpoints;
    std::vector<std::string> warnings;
};

// A new identifier, as blkid and sfdisk spell it (Session::set_identifiers()).
struct NewIdentifier {
    enum class What {
        kContents,   // of the file system or swap space on the device
        kTable,      // a disk's own, in its partition table
        kPartition,  // the device's, in a GPT
    };
    What what = What::kContents;
    std::string device;
    std::string value;
};

// ---- files

struct FileStat {
    uint32_t mode = 0;  // type and permissions, as st_mode
    uint64_t inode = 0;
    uint32_t links = 0;
    uint32_t uid = 0;
    uint32_t gid = 0;
    uint64_t size = 0;        // bytes
    uint64_t blocks_512 = 0;  // allocated, in units of 512 bytes
    int64_t atime_ns = 0;     // since the epoch
    int64_t mtime_ns = 0;
    int64_t ctime_ns = 0;
    uint32_t rdev_major = 0;
    uint32_t rdev_minor = 0;
    uint64_t device = 0;
    std::string link_target;  // of a symlink
};

struct DirectoryEntry {
    std::string path;   // relative to the directory that was listed
    uint8_t type = 0;   // DT_REG...; DT_UNKNOWN where the file system doesn't tell
    FileStat stat;      // when asked for
    std::string error;  // not empty: the entry could not be read, and why
};

using Sink = std::function<void(std::span<const std::byte>)>;
// Fills the buffer as far as it can and returns how much; 0 is the end.
using Source = std::function<size_t(std::span<std::byte>)>;

struct WriteOptions {
    enum class Mode {
        kReplace,  // create, or replace the contents; an existing file keeps its metadata
        kAppend,   // to the end; created if missing
        kEdit,     // as virt-edit: a new file with the old one's metadata takes its place
        kCreate,   // fails when it exists
    };
    Mode mode = Mode::kReplace;
    std::optional<uint32_t> permissions = {};
    std::string owner = {};  // "user[:group]", numbers or the guest's names; empty: unchanged, root for new
    std::string backup_suffix = {};  // kEdit: the old file is kept as path + suffix
};

struct TouchOptions {
    bool no_create = false;
    bool access = false;  // neither access nor modification: both
    bool modification = false;
    std::optional<int64_t> time_ns = {};  // since the epoch; absent: now
};

struct CopyOptions {
    // copy_out: owners, set-id bits, devices, FIFOs, ACLs and the security.* and trusted.* attributes are
    // given on the host too; needs root. Without it they are left out, devices and FIFOs with a warning.
    // copy_in always keeps owners, as numbers.
    bool preserve_owner = false;
    bool preserve_xattrs = true;
    // Each entry as it is done, relative to the directory that it is copied to (bytes).
    std::function<void(const std::string& path)> on_entry = {};
    // What could not be kept; missing: take_warnings() has it.
    std::function<void(const std::string& message)> on_warning = {};
};

// ---- programs

struct TerminalSize {
    uint16_t rows = 24;
    uint16_t columns = 80;
    bool operator==(const TerminalSize&) const = default;
};

struct RunOptions {
    // The program and its arguments. Without a slash it is looked for in PATH.
    std::vector<std::string> arguments;
    std::vector<std::string> environment = {};  // "NAME=value", in addition to the appliance's own
    std::string directory = {};                 // to start in; empty: "/"
    // In the guest's tree as its root directory, with /dev, /proc, /sys and a /tmp of its own there
    // meanwhile. Else in the appliance, where the guest's tree (if there is one) is /sysroot.
    bool chroot = false;
    // Arrays, encrypted and logical volumes are not put together for it, so the disks are in nobody's use.
    bool bare_disks = false;

    // What it reads from stdin; missing: nothing, as from /dev/null. Fills the buffer as far as it can and
    // returns how much; 0: the end; nullopt: nothing just now.
    std::function<std::optional<size_t>(std::span<std::byte>)> input = {};
    // A descriptor that is readable when `input` has something: it is called only then, while the program's
    // output is passed on. -1: `input` always has something, or waits for it itself. The caller's.
    int input_ready_fd = -1;
    // What it writes. Missing: it is dropped. With a terminal all of it comes by on_output.
    Sink on_output = {};
    Sink on_error_output = {};

    // Not 0: the program finds a service at 127.0.0.1, at this port, where otherwise nobody is: there is no
    // network. For each connection that it makes `connect_service` is asked for a stream socket that is
    // connected to the service, and becomes the session's; -1: it can't be reached. It must not throw, and is
    // called while run() is at work. At most 32 connections are open at a time, others wait. Not together
    // with `input` or `terminal`.
    uint16_t service_port = 0;
    std::function<int()> connect_service = {};

    // Its stdin, stdout and stderr are a terminal, of the size that this says: asked at the start, and
    // whenever `input_ready_fd` is readable.
    std::function<TerminalSize()> terminal = {};
};

struct RunResult {
    int exit_status = 0;  // 0 to 255
    int signal = 0;       // not 0: it died of this signal
    // Not empty: why it could not be started (printable); exit_status is then 127 (not found) or 126, as a
    // shell has it.
    std::string not_started = {};
    bool succeeded() const { return exit_status == 0 && signal == 0; }
};

// What a session cost. Times in nanoseconds.
struct SessionStats {
    std::string engine;      // "kvm" or "qemu"; empty: no appliance was started
    bool warm = false;       // restored from a snapshot
    uint64_t setup_ns = 0;   // from the start of the VMM's process to its first KVM_RUN
    uint64_t run_ns = 0;     // inside KVM_RUN
    uint64_t exit_ns = 0;    // handling exits, outside KVM_RUN
    uint64_t engine_ns = 0;  // in this process: opening images, finding the snapshot, starting the VMM
    std::map<std::string, uint64_t> exits;  // by cause: "io", "mmio", ...
    uint64_t block_requests = 0;
    uint64_t block_bytes_read = 0;
    uint64_t block_bytes_written = 0;
    uint64_t channel_bytes_in = 0;   // to the appliance
    uint64_t channel_bytes_out = 0;  // from the appliance
    uint64_t pages_touched = 0;      // of guest memory
    // Of the guest's kernel, where KVM is software; what makes up nearly all of the time there. Elsewhere 0.
    uint64_t emulated_instructions = 0;
    uint64_t peak_rss_bytes = 0;  // of the VMM's process
};

class Session {
  public:
    // Opens the images (locked, recovered if an earlier commit was cut) and starts nothing yet.
    explicit Session(SessionOptions options);
    // For the library's own tests: a session on an engine of theirs.
    struct Impl;
    explicit Session(std::unique_ptr<Impl> impl);
    ~Session();
    Session(Session&&) noexcept;
    Session& operator=(Session&&) noexcept;

    // -- looking at the disks
    FilesystemReport filesystems();
    // All operating systems; empty when there is none.
    std::vector<OperatingSystem> inspect();

    // -- the guest's tree. Mount either the operating system (root: a device, empty when there is just one)
    // or file systems one by one, "/" first. In a read-only session everything is mounted read-only.
    void mount_os(const std::string& root = {});
    void mount(const MountSpec& spec);

    // Unmounts all of it: what was written is on the disks. Something else may be mounted then.
    void unmount();

    // -- reading. Nothing of the name is kNotFound, here and below; a symlink that leads to nothing too,
    // where it is followed. Symlinks on the way are followed always, the path's last name only if that is
    // asked for.
    FileStat stat(const std::string& path, bool follow_symlink = false);
    // Entries in the order of their names (bytes); recursive: depth first, paths joined by '/'.
    void list_directory(const std::string& path, bool recursive, bool with_stat,
                        const std::function<void(const DirectoryEntry&)>& entry);
    // length 0: to the end of the file.
    void read_file(const std::string& path, const Sink& sink, uint64_t offset = 0, uint64_t length = 0);
    // The file or tree `guest_path` appears in the directory `host_directory` under its own name, never
    // outside it, whatever the guest's names and symlinks say. Of "/" the contents appear. Existing files are
    // replaced, existing directories merged; a file is there when it is complete. What the guest's file
    // system can't read is left out with a warning, and Error(kCorrupt) thrown at the end.
    void copy_out(const std::string& guest_path, const std::string& host_directory,
                  const CopyOptions& options = {});

    // -- changing; a writable session is needed
    void write_file(const std::string& path, const Source& source, const WriteOptions& options = {});
    // Runs `perl -p -e expression` on the file in the appliance. False: nothing changed, nothing written.
    bool edit_file(const std::string& path, const std::string& expression,
                   const std::string& backup_suffix = {});
    // The file or tree `host_path` appears in the guest's directory `guest_directory` under its own name. A
    // file that cannot be read or changes meanwhile ends it with an Error that names it. Sockets are left
    // out, with a warning; SELinux labels are not taken along.
    void copy_in(const std::string& host_path, const std::string& guest_directory,
                 const CopyOptions& options = {});
    // What these seven throw: kNotFound (there is nothing of the name, or no directory to put it in), kUsage
    // (a path, mode or owner that is none; what is there already, or is the wrong kind of file), kDenied (a
    // read-only file system, an immutable file), kNoSpace, kCorrupt. What a call on several files had done
    // before it failed stays in the session; commit() need not be called.
    //
    // Permissions: 0755 unless given, which is exact (there is no umask) and about the last directory alone.
    // `parents`: makes what is missing above it as well, and a directory that is there already is no error.
    void make_directory(const std::string& path, bool parents = false,
                        std::optional<uint32_t> permissions = std::nullopt);
    // A symlink itself is removed. A directory is removed only by `recursive`, with all that is in it (one
    // that something is mounted on: kBusy). `force`: what isn't there is no error.
    void remove(const std::string& path, bool recursive = false, bool force = false);
    // Overwrites what is in a regular file with random bytes where it lies, and removes it. A symlink is not
    // followed. What that is worth on which image: insp-customize(1).
    void scrub(const std::string& path);
    // As mv(1): a symlink itself is moved; where `to` is a directory, or a symlink to one, it goes in there
    // under its own name. A file that is there is replaced, with `no_clobber` it is kUsage. To another file
    // system of the guest it is copied and then removed.
    void rename(const std::string& from, const std::string& to, bool no_clobber = false);
    // `mode` as chmod(1) takes it: "0644", "u=rw,go-w", "a+X". A symlink is followed; those below a directory
    // are left alone.
    void chmod(const std::string& path, const std::string& mode, bool recursive = false);
    // `owner`: "user", "user:group", ":group"; numbers, or the names in the guest's passwd and group. A
    // symlink is followed, except with `no_dereference` or `recursive`: then it gets the owner itself, and so
    // do those below a directory.
    void chown(const std::string& path, const std::string& owner, bool recursive = false,
               bool no_dereference = false);
    // As ln(1): a link `path` to `target`; where `path` is a directory, or a symlink to one, it goes in there
    // under the target's name. A hard link's target must be there, and a symlink isn't followed; a symbolic
    // one's is any text. `force`: a file that is there is replaced, in one step; a directory never is.
    void link(const std::string& target, const std::string& path, bool symbolic = false, bool force = false);
    // As touch(1): a file that isn't there is made, empty, with permissions 0644. A symlink is followed; one
    // that leads to nothing gets a file where it leads.
    void touch(const std::string& path, const TouchOptions& options = {});

    // Runs a program in the appliance, which has no network. It finds the disks as /dev/sda, /dev/sda1...,
    // can do with them what it likes, and may be run in a read-only session too: whatever it does to the
    // disks reaches an image by commit() alone. Its own mounts, and all processes that it leaves behind, end
    // with it. When nothing is mounted by this session, a changed partition table is noticed.
    RunResult run(const RunOptions& options);

    // -- resizing the first disk (inspect/resize.h). The other disks of the session may be parts of its
    // volume groups. Looks at the disk and plans; the first call in a session, before anything is mounted.
    // Nothing is changed. Throws what inspect::plan_resize() does.
    ResizePlan plan_resize(const ResizeWishes& wishes);
    // Does the steps of a plan that this session made; a writable session is needed. `on_step` is told each
    // before it is done. What is written reaches the image by commit(). If a step fails the session is over:
    // half a resize can't be committed.
    void resize(const ResizePlan& plan, const std::function<void(const ResizeStep&)>& on_step = {});

    // -- making the images take less room (inspect/sparsify.h). Before anything is mounted; a writable
    // session is needed. Tells the disks what is free on them; commit() then gives the space back, and that
    // of zeros which the images have as data. `on_result` is told each volume when it is done.
    std::vector<SparsifyResult> sparsify(const SparsifyWishes& wishes,
                                         const std::function<void(const SparsifyResult&)>& on_result = {});
    // -- new identifiers (inspect/new_ids.h), while nothing is mounted; a writable session is needed. Those
    // that the superblock or the partition table alone has are written; answered is which others (by their
    // place) want the field's own tools, and are as they were.
    std::vector<size_t> set_identifiers(const std::vector<NewIdentifier>& identifiers);

    // Instead of commit(): makes a new image of what is on the first disk now; the images are left alone.
    void write_copy(const SparseCopy& copy);

    // Unmounts everything, stops the appliance and puts the changes into the images, all or nothing. The
    // Session is over afterwards, and the images are free. True when an image changed. Several images are
    // changed together when they are local; those that are elsewhere are changed after these, one after the
    // other, each completely or not at all: an error or a crash on the way leaves the first ones changed, and
    // the error says so.
    bool commit();

    // -- around it
    // Warnings that came up since the last call (fstab entries that are not there...), printable, at most
    // some 1000.
    std::vector<std::string> take_warnings();
    std::vector<std::byte> random_bytes(uint32_t count);  // from the appliance's kernel; for tests
    void ping();                                          // starts the appliance if needed
    SessionStats stats() const;
    // Makes the running and all later calls throw Error(kCancelled). Async-signal-safe.
    void interrupt() noexcept;

  private:
    friend bool mount_on_host(Session& session, const HostMountOptions& options);

    std::unique_ptr<Impl> impl_;
};

}  // namespace inspect
