// SPDX-License-Identifier: GPL-2.0-or-later
#include "sparsify.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <optional>

#include "failure.h"
#include "lvm.h"
#include "sysfs.h"
#include "tool_text.h"

namespace inspect::agent {

namespace {

// File systems that say what is free when they are mounted read-only, and say it right if they were unmounted
// cleanly or don't care. Not NTFS: its log may know better, and only writing to it would settle that.
constexpr std::string_view kToldReadOnly[] = {"ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "exfat"};

void skip(proto::Sparsified& result, std::string reason) {
    result.set_way(proto::Sparsified::SKIPPED);
    result.set_reason(std::move(reason));
}

bool stands_on(const Volume& volume, VolumeKind kind) {
    return volume.kind == kind || std::any_of(volume.parts.begin(), volume.parts.end(),
                                              [&](const Volume* part) { return stands_on(*part, kind); });
}

// Whether what the kernel's device is told to be free gets down to the disks.
bool takes_discards(const std::string& node) {
    struct stat status;
    if (::stat(node.c_str(), &status) < 0) fail_errno("cannot stat", node);
    const std::string device = "/sys/dev/block/" + std::to_string(major(status.st_rdev)) + ":" +
                               std::to_string(minor(status.st_rdev));
    // A partition has the queue of its disk.
    std::string most = read_line(device + "/queue/discard_max_bytes");
    if (most.empty()) most = read_line(device + "/../queue/discard_max_bytes");
    return !most.empty() && most != "0";
}

std::string why_no_discards(const Volume& volume) {
    if (stands_on(volume, VolumeKind::kDecrypted))
        return "it is encrypted, and the storage would show which parts of it are in use (--allow-discards "
               "says that it may)";
    if (volume.kind == VolumeKind::kLogical)
        return "it has snapshots or is one, or is on a RAID of a level that takes no discards";
    if (stands_on(volume, VolumeKind::kArray)) return "a RAID of this level takes no discards";
    return "its device takes no discards";
}

// Of an open device.
void discard(int fd, uint64_t offset, uint64_t length, const std::string& device) {
    // Progress for a large one, and none that the kernel would refuse.
    constexpr uint64_t kStep = uint64_t{1} << 30;
    for (uint64_t end = offset + length; offset < end; offset += kStep) {
        uint64_t range[2] = {offset, std::min(kStep, end - offset)};
        if (::ioctl(fd, BLKDISCARD, range) < 0) fail_errno("cannot discard what is free on", device);
    }
}

// Keeps a device from being written to while it is mounted: a mount that is read-only may still replay a
// journal, and XFS writes to its log when it is mounted and unmounted even if there is nothing to replay.
class WriteProtection {
  public:
    explicit WriteProtection(const std::string& node) : device_(::open(node.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (!device_) fail_errno("cannot open", node);
        set(true);
    }
    ~WriteProtection() { set(false); }
    WriteProtection(const WriteProtection&) = delete;
    WriteProtection& operator=(const WriteProtection&) = delete;

    void set(bool on) {
        const int read_only = on ? 1 : 0;
        ::ioctl(device_.get(), BLKROSET, &read_only);
    }

  private:
    Fd device_;
};

class Sparsifier {
  public:
    Sparsifier(const ResizeContext& context, Volume& volume, proto::Sparsified& result)
        : context_(context), disks_(context.disks), volume_(volume), result_(result) {}

    void zero() {
        // Nothing may stand on it: it would be gone as well.
        const Fd device(::open(volume_.node.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
        if (!device) {
            if (errno == EBUSY)
                throw Failure(proto::BUSY, "cannot zero " + volume_.device + ": other volumes stand on it",
                              EBUSY);
            fail_errno("cannot open", volume_.device);
        }
        // Zeros in encryption would be anything but zeros on the disk.
        if (stands_on(volume_, VolumeKind::kDecrypted)) {
            require_discards();
            discard(device.get(), 0, volume_.size, volume_.device);
        } else if (::fallocate(device.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                               static_cast<off_t>(volume_.size)) < 0) {
            fail_errno("cannot zero", volume_.device);
        }
        volume_.superblock.reset();
        done(proto::Sparsified::ZEROED, volume_.size);
    }

    void swap_space() {
        const Fd device(::open(volume_.node.c_str(), O_RDWR | O_CLOEXEC));
        if (!device) fail_errno("cannot open", volume_.device);
        std::string start(64 << 10, '\0');
        const ssize_t n = ::pread(device.get(), start.data(), start.size(), 0);
        start.resize(n > 0 ? static_cast<size_t>(n) : 0);
        const uint64_t header = swap_header_length(start);
        if (header == 0) return skip(result_, "its header isn't understood");
        if (!takes_discards(volume_.node)) return skip(result_, why_no_discards(volume_));
        if (volume_.size > header) discard(device.get(), header, volume_.size - header, volume_.device);
        done(proto::Sparsified::CLEARED, volume_.size - header);
    }

    void file_system(const std::string& type, bool read_only, bool no_filling) {
        if (read_only && std::ranges::count(kToldReadOnly, type) == 0)
            return skip(result_, "what its file system calls free is known only to who writes to it");
        if (read_only && is_ext(type) && disks_.superblock(volume_).needs_recovery)
            return skip(result_, "it was not unmounted cleanly");
        if (is_ext(type)) check_ext();
        // f2fs would put the discards off, and forget those that there is no time for at the end.
        const std::string options = type == "f2fs" ? "nodiscard" : "";
        // btrfs looks only at the mount whether parts of the device that it has no use for yet may be
        // discarded. It writes nothing where there is no log to replay.
        std::optional<WriteProtection> protection;
        if (read_only && type != "btrfs") protection.emplace(volume_.node);
        auto work = [&](const std::string& path) {
            const Fd root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            if (!root) fail_errno("cannot open", path);
            if (!takes_discards(volume_.node)) return skip(result_, why_no_discards(volume_));
            fstrim_range range{.start = 0, .len = ULLONG_MAX, .minlen = 0};
            if (protection) protection->set(false);  // discards count as writing
            const int trimmed = ::ioctl(root.get(), FITRIM, &range);
            const int error = errno;
            if (protection) protection->set(true);
            errno = error;
            if (trimmed == 0) return done(proto::Sparsified::DISCARDED, range.len);
            if (errno != EOPNOTSUPP && errno != ENOTTY && errno != ENOSYS)
                fail_errno("cannot discard what is free on", volume_.device);
            if (read_only) return skip(result_, "its file system can't tell what is free");
            if (no_filling)
                return skip(result_,
                            "its file system can't tell what is free, and zeros in its place would take "
                            "room; --write-mode=atomic finds it");
            if (stands_on(volume_, VolumeKind::kDecrypted))
                return skip(result_,
                            "its file system can't tell what is free, and zeros in encryption are none");
            done(proto::Sparsified::FILLED, fill(root.get()));
        };
        // ext4 believes its bitmaps only if it has seen the journal, even a clean one.
        with_mounted(context_.mounts, volume_, read_only, work, options, true);
    }

  private:
    void done(proto::Sparsified::Way way, uint64_t bytes) {
        result_.set_way(way);
        result_.set_bytes(bytes);
    }

    void require_discards() {
        if (!takes_discards(volume_.node))
            throw Failure(proto::UNSUPPORTED,
                          "cannot zero " + volume_.device + ": " + why_no_discards(volume_));
    }

    // A bitmap that takes a file's blocks for free would cost the file. The kernel believes it if its
    // checksum is right or it has none.
    void check_ext() {
        Programs programs(context_.connection);
        if (disks_.superblock(volume_).needs_recovery)
            programs.run({"/usr/sbin/e2fsck", "-E", "journal_only", volume_.node});
        const ProgramResult result = programs.run({"/usr/sbin/e2fsck", "-f", "-n", volume_.node});
        if (result.child.succeeded()) return;
        throw Failure(proto::CORRUPT,
                      "the file system on " + volume_.device +
                          " has errors, so what it says is free may not be: " + result.output);
    }

    // Where the file system can't say what is free: a file takes it all, and its zeros are seen on the way to
    // the image.
    uint64_t fill(int root) {
        static constexpr char kName[] = ".insp-sparsify";
        Fd file(::openat(root, kName, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!file) fail_errno("cannot make a file of zeros on", volume_.device);
        ::unlinkat(root, kName, 0);
        static constexpr char kZeros[256 << 10] = {};
        uint64_t bytes = 0;
        for (;;) {
            const ssize_t n = ::write(file.get(), kZeros, sizeof kZeros);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0 && (errno == ENOSPC || errno == EFBIG)) break;
            if (n < 0) fail_errno("cannot write a file of zeros on", volume_.device);
            bytes += static_cast<uint64_t>(n);
            context_.connection.check_cancelled();
        }
        // Not before the zeros are on the disk.
        if (::fsync(file.get()) < 0 && errno != ENOSPC)
            fail_errno("cannot write a file of zeros on", volume_.device);
        return bytes;
    }

    const ResizeContext& context_;
    Disks& disks_;
    Volume& volume_;
    proto::Sparsified& result_;
};

}  // namespace

uint64_t swap_header_length(std::string_view start) {
    for (uint64_t page = 4 << 10; page <= 64 << 10; page *= 2) {
        constexpr size_t kSignature = 10;
        if (start.size() < page) break;
        const std::string_view signature = start.substr(page - kSignature, kSignature);
        if (signature == "SWAPSPACE2" || signature == "SWAP-SPACE") return page;
    }
    return 0;
}

std::vector<FreeStretch> free_stretches(std::string_view report, std::string_view group) {
    std::vector<FreeStretch> stretches;
    for_each_line(report, [&](std::string_view line) {
        LvmFields fields = parse_lvm_line(line);
        if (!fields.contains("PVSEG_SIZE") || fields["VG_NAME"] != group) return;
        if (lvm_number(fields["VG_MISSING_PV_COUNT"]) != 0)
            throw Failure(proto::CORRUPT,
                          "the volume group " + std::string(group) + " misses a physical volume");
        if (!fields["LV_NAME"].empty()) return;
        const uint64_t extent = lvm_number(fields["VG_EXTENT_SIZE"]), size = lvm_number(fields["PV_SIZE"]);
        const uint64_t first = lvm_number(fields["PE_START"]), start = lvm_number(fields["PVSEG_START"]);
        const uint64_t count = lvm_number(fields["PVSEG_SIZE"]);
        FreeStretch stretch{fields["PV_NAME"], 0, 0};
        uint64_t last = 0;
        if (extent == 0 || first == 0 || __builtin_mul_overflow(start, extent, &stretch.offset) ||
            __builtin_add_overflow(stretch.offset, first, &stretch.offset) ||
            __builtin_mul_overflow(count, extent, &stretch.length) ||
            __builtin_add_overflow(stretch.offset, stretch.length, &last) || last - first > size)
            throw Failure(proto::CORRUPT,
                          "what LVM says of the volume group " + std::string(group) + " makes no sense");
        if (stretch.length > 0) stretches.push_back(std::move(stretch));
    });
    return stretches;
}

void sparsify_volume(const ResizeContext& context, const proto::SparsifyVolume& request,
                     proto::Sparsified& result) {
    Volume& volume = context.disks.get(request.device());
    if (volume.read_only())
        throw Failure(proto::DENIED,
                      volume.device + (volume.degraded ? " is a degraded RAID" : " is on a read-only disk"),
                      EROFS);
    context.disks.make_node(volume);
    Sparsifier sparsifier(context, volume, result);
    if (request.zero()) return sparsifier.zero();
    const std::string type = context.disks.superblock(volume, true).type;
    if (type == "swap") return sparsifier.swap_space();
    sparsifier.file_system(type, request.read_only(), request.no_filling());
}

void sparsify_group(const ResizeContext& context, const proto::SparsifyGroup& request,
                    proto::Sparsified& result) {
    context.disks.assemble();
    std::vector<Volume*> members;
    std::vector<std::string> nodes;
    for (Volume* volume : context.disks.volumes()) {
        if (context.disks.superblock(*volume).type != "LVM2_member") continue;
        context.disks.make_node(*volume);
        members.push_back(volume);
        nodes.push_back(volume->node);
    }
    Programs programs(context.connection);
    std::vector<std::string> arguments = {"pvs", "--segments"};
    const std::string form = std::string(kLvmReportForm) + kFreeExtentFields;
    for (size_t at = 0; at < form.size();) {
        const size_t end = std::min(form.find(' ', at), form.size());
        if (end > at) arguments.push_back(form.substr(at, end - at));
        at = end + 1;
    }
    const ProgramResult report = run_lvm(programs, nodes, arguments);
    require(report, "look at the volume group " + request.group());
    uint64_t bytes = 0;
    for (const FreeStretch& stretch : free_stretches(report.output, request.group())) {
        const auto member = std::find_if(members.begin(), members.end(),
                                         [&](const Volume* volume) { return volume->node == stretch.node; });
        if (member == members.end() || (*member)->read_only()) continue;
        if (!takes_discards(stretch.node)) return skip(result, why_no_discards(**member));
        const Fd device(::open(stretch.node.c_str(), O_RDWR | O_CLOEXEC));
        if (!device) fail_errno("cannot open", (*member)->device);
        discard(device.get(), stretch.offset, stretch.length, (*member)->device);
        bytes += stretch.length;
    }
    result.set_way(proto::Sparsified::DISCARDED);
    result.set_bytes(bytes);
}

}  // namespace inspect::agent
