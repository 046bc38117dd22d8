// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What can be done with a disk image without looking at what its guest has in it: no appliance is started.
// All functions are thread-safe: each opens, and locks, the image for itself. All sizes are in bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <inspect/disk.h>

namespace inspect {

// A file of an image's chain.
struct ImageFileInfo {
    std::string path;  // a path or URI, as the image above names it, resolved
    std::string format;
    uint64_t file_size = 0;       // 0 for what is no local file
    uint64_t allocated_size = 0;  // of storage that the file takes
    uint64_t virtual_size = 0;    // of the disk
};

struct ImageSnapshot {
    std::string id;  // bytes, not necessarily UTF-8; so are names
    std::string name;
    int64_t time_ns = 0;         // when it was taken, since the epoch
    uint64_t vm_clock_ns = 0;    // how long the guest had run
    uint64_t vm_state_size = 0;  // of the memory that was saved with it; 0: the disk alone
    uint64_t disk_size = 0;
};

struct ImageBitmap {
    std::string name;
    uint64_t granularity = 0;  // of the disk, that one bit is about
    bool enabled = false;      // it follows changes
    bool usable = false;       // what it says holds
};

struct ImageInfo {
    std::string path;
    std::string format;
    bool format_was_detected = false;
    bool encrypted = false;  // the image itself, with LUKS, not what its guest has in it
    uint64_t virtual_size = 0;
    uint64_t file_size = 0;
    uint64_t allocated_size = 0;
    // What of the disk is in this image or those below it: allocated and not known to be zeros.
    uint64_t data_size = 0;
    // What it stands on, the nearest first: backing files, and a data file.
    std::vector<ImageFileInfo> chain;
    // What a commit that was cut short had left, and what was done about it: "", "discarded", "finished",
    // "pending" (shown, but not finished: the image may not be written now).
    std::string recovery;

    // qcow2 alone; 0, empty or false for the others.
    uint32_t version = 0;
    uint64_t cluster_size = 0;
    uint32_t refcount_bits = 0;
    std::string compression;
    bool extended_l2 = false;
    bool lazy_refcounts = false;
    bool dirty = false;  // refcounts need a repair before it can be written
    std::vector<ImageSnapshot> snapshots;
    std::vector<ImageBitmap> bitmaps;
};

// Opens the image and what it stands on, for reading. Throws Error as Session's constructor does.
ImageInfo image_info(const DiskSpec& disk);

// Makes a new image of an empty disk: a local file, sparse, readable and writable as the umask has it.
// `format` is "raw" or "qcow2", `size` in bytes, a multiple of 512 and not 0. Throws Error; kDenied when
// there is a file of that name, kUnsupported for other formats. Thread-safe.
void create_image(const std::string& path, const std::string& format, uint64_t size);

enum class RecoveryResult {
    kNothing,    // no change had been cut short
    kDiscarded,  // one had not been committed: the image is as before it
    kFinished,   // one had been committed, and is in the image now
};

// Finishes or discards a change to a local image file or block device that was cut short, as the next command
// that opens it would. Throws Error; kBusy while another program has the image, kCorrupt when the image was
// changed since (nothing is touched then).
RecoveryResult recover_image(const std::string& path);

// A local image that appears under its name when it is complete, or not at all: until publish() it has
// another name beside that one, and the destructor removes it. All throw Error. Not thread-safe.
class NewImage {
  public:
    // kDenied when there is something of that name, unless that is to be replaced.
    explicit NewImage(const std::string& name, bool replace = false);
    ~NewImage();
    NewImage(const NewImage&) = delete;
    NewImage& operator=(const NewImage&) = delete;

    // Where it is until publish().
    const std::string& path() const noexcept;
    // Makes it an empty disk, as create_image() does; once more if need be.
    void create(const std::string& format, uint64_t size);
    // Makes it a copy of a local image's file, byte for byte; nothing must have been written to it. Holes
    // stay holes; where the file system can, the two share their blocks. `progress` is told how many bytes
    // are done, and may throw to end it. What a qcow2 image stands on is not copied: kUnsupported where its
    // name would mean something else from here, and where the data are in a file of their own.
    void copy(const DiskSpec& from, const std::function<void(uint64_t done, uint64_t size)>& progress);
    // Makes it durable and gives it its name.
    void publish();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

struct ServeOptions {
    std::string socket_path;  // a Unix socket; or
    uint16_t port = 0;        // a port on the loopback interface; 0 lets the system choose
    std::string export_name;
    bool writable = false;
    WriteMode write_mode = WriteMode::kAtomic;
    bool once = false;  // end when there was a client and the last one has gone
    int stop_fd = -1;   // end when this becomes readable; the caller's, neither read nor closed. -1: none
    // Called once, in the thread that called, when clients can connect, with the URI for them; what it throws
    // ends the server.
    std::function<void(const std::string& uri)> on_ready;
};

// Serves the disk as an NBD export until it is to end. What clients wrote is then in the image: all of it, in
// one commit, or, in the direct mode, as it came. True when the image was changed by a commit. Throws Error:
// what opening the image throws, kUsage (a socket's path that is too long, an export's name), kBusy (the
// port), kDenied (the socket's place), and what the commit throws.
bool serve_image(const DiskSpec& disk, const ServeOptions& options);

}  // namespace inspect
