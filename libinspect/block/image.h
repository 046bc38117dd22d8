// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Image: a disk image that the library has opened for a session: found, recovered, locked, its format and
// what it stands on settled, and with an overlay for what the session changes.
//
// The library keeps the Image; the VMM's process gets the descriptors that node() names, and the overlay's,
// and serves the device that they make. When that process has ended the library calls commit(), or just
// destroys the Image, and then the session has changed nothing. (In the direct write mode there is no
// overlay, and what the process wrote is in the image; unless make_undoable() was called, then it is as with
// an overlay.)
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <inspect/disk.h>

#include "base/range_set.h"
#include "block/disk_node.h"
#include "block/host_volume.h"
#include "block/image_file.h"
#include "block/nbd_bridge.h"
#include "block/overlay_store.h"
#include "block/remote_lock.h"

namespace inspect {

// What a format's name means to us. Throws Error(kUsage) for names that nobody knows.
enum class ImageFormat { kRaw, kQcow2, kOther };
ImageFormat parse_image_format(std::string_view name);

struct ImageOptions {
    bool writable = false;
    WriteMode write_mode = WriteMode::kAtomic;
    uint64_t memory_limit = OverlayStore::kDefaultMemoryLimit;  // bytes of changes that are kept in memory
};

class BackupServer;

// Not thread-safe.
class Image {
  public:
    // Opens what `spec` names. Throws Error:
    //   kNotFound     there is no such file, host, export or snapshot; a program that is needed isn't
    //   installed kDenied       it may not be read, or not be written when `writable`; it names files that it
    //   may not
    //                 open (DiskSpec::allow_backing)
    //   kBusy         another program has it in use
    //   kUnsupported  it is a directory, a pipe...; or of a format or with features that can't be opened
    //   kCorrupt      it is empty or shorter than a sector; it contradicts itself; its journal is damaged or
    //                 not its own; its chain of backing files goes in a circle
    static std::unique_ptr<Image> open(const DiskSpec& spec, const ImageOptions& options);
    ~Image();

    // As it was given.
    const std::string& path() const noexcept { return spec_.path; }
    // Of the disk, bytes.
    uint64_t size() const noexcept { return size_; }
    bool writable() const noexcept { return options_.writable; }
    // The format's name ("raw", "qcow2"...), and whether that was found out by looking.
    const std::string& format() const noexcept { return format_; }
    bool format_was_detected() const noexcept { return detected_; }
    // The image is encrypted, and was opened with one of DiskSpec::keys.
    bool encrypted() const noexcept { return encrypted_; }
    // The smallest sector size that the storage can do, bytes.
    uint32_t logical_block_size() const noexcept;
    // The device, with descriptors that this owns: read-only, unless the write mode is direct.
    const DiskNode& node() const noexcept { return node_; }
    // For what the session changes. Null in the direct mode, but for a trial.
    const OverlayStore* overlay() const noexcept { return overlay_.get(); }
    // The local files, the image itself first (if it is one), then what it stands on.
    const std::vector<std::unique_ptr<ImageFile>>& files() const noexcept { return files_; }

    // In the direct mode: until end_trial() there is an overlay, which takes all that is written and is
    // thrown away then, and the sizes that were set with it. For images that make_undoable() can do,
    // otherwise it throws what that does.
    void begin_trial();
    void end_trial() noexcept;

    // In the direct mode, for a local raw or qcow2 image and before node() is used: all that is written from
    // now on is taken back unless commit() comes, by an undo journal (block/undo_log.h), which whoever opens
    // the image after a crash follows. `unused` are parts of the disk whose contents need not come back. Does
    // nothing when it was done. Throws Error(kUnsupported) for other images and kDenied, kNoSpace when the
    // journal can't be made.
    void make_undoable(const RangeSet& unused);

    // Whether commit() could give the disk another size: a regular file that is a raw or qcow2 image, changed
    // atomically or made undoable; or, changed atomically, a logical volume that find_volume() has found.
    bool resizable() const noexcept;
    // For an image that is to have another size: asks the host's lvm about it if it is on a block device.
    // Throws what find_host_volume() does.
    void find_volume();
    // That commit() can give it this size, in bytes, as far as can be found out before. Throws Error:
    // kUnsupported where it isn't resizable(), and what require_resizable() does for a logical volume.
    void require_possible(uint64_t size) const;
    // What sizes commit() can give it are a multiple of, bytes.
    uint64_t size_unit() const noexcept { return volume_ ? volume_->unit : 512; }
    // The session's disk is this large, in bytes, a multiple of 512: more than the image's. What is beyond
    // that reads as zeros. Before anything is written to the overlay. By itself that changes nothing of the
    // image, as long as that isn't committed. Throws Error(kUnsupported) where it isn't resizable().
    void grow_session(uint64_t size);
    // The size in bytes that commit() gives the disk; a multiple of size_unit(), and not more than
    // session_size(). Throws Error(kUnsupported) where it isn't resizable().
    void set_new_size(uint64_t size);
    // Of the session's disk, bytes.
    uint64_t session_size() const noexcept { return session_size_; }

    // Remembers as changes what the image has as data though it is all zeros, so that commit() gives the
    // space back (block/sparse_copy.h). Reads all of the image. When the process that wrote the overlay has
    // ended; without an overlay nothing is done.
    void find_zeros(const std::function<void()>& may_stop);
    // The disk with the session's changes, for reading; good as long as this. The same condition.
    std::unique_ptr<BlockDevice> contents() const;

    // Makes the overlays' changes the images', durably (block/commit.h). All images that are local files or
    // block devices are changed together, atomically; after them those that are elsewhere, each atomically.
    // False when there was nothing to change, and in the direct mode. The processes that wrote the overlays
    // must have ended. Once only for an image. Throws Error, which says what was changed all the same; kBusy
    // when an image was changed or replaced by another program meanwhile, kDenied when one isn't writable.
    static bool commit(std::span<Image* const> images);
    bool commit();

  private:
    class Opener;
    struct Staged;
    Image(DiskSpec spec, const ImageOptions& options);
    void settle_remote_journal();
    void make_overlay();
    bool written_directly() const noexcept;
    void require_undoable() const;
    void require_resizable() const;
    bool begin_commit();
    std::vector<Staged> stage() const;
    bool commit_remote();
    static bool commit_files(std::span<const Staged> staged);
    DiskNode& journalled_node();
    void commit_undoable();
    void take_back() noexcept;

    DiskSpec spec_;  // without the keys, once it is open
    const ImageOptions options_;
    std::string format_;
    bool detected_ = false;
    bool encrypted_ = false;
    bool committed_ = false;
    bool give_back_ = false;  // a commit leaves no room for zeros
    uint64_t size_ = 0;
    uint64_t session_size_ = 0;
    uint64_t new_size_ = 0;  // that a commit gives it
    DiskNode node_;
    std::vector<std::unique_ptr<ImageFile>> files_;
    const ImageFile* data_file_ = nullptr;  // the external one of a qcow2 image; in files_
    std::optional<HostVolume> volume_;      // that the image is, if find_volume() was called
    // Connections that node_ names, and the programs at their other ends.
    std::vector<std::unique_ptr<NbdBridge>> bridges_;
    std::vector<std::unique_ptr<BackupServer>> backups_;
    std::vector<Fd> sockets_;
    // Of an image that is no local file: a writer's lock, and a change that was committed and isn't finished.
    std::optional<RemoteLock> remote_lock_;
    std::shared_ptr<OverlayStore> pending_;
    std::shared_ptr<OverlayStore> overlay_;
    std::optional<PosixJournalFile> undo_journal_;  // open, while there is something to be taken back
};

}  // namespace inspect
