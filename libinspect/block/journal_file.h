// SPDX-License-Identifier: LGPL-2.1-or-later
//
// JournalFile: the file operations that the redo journal needs, as a seam. The real one is a file beside the
// image; tests have one that loses what was not synced, fuzzers one that is a piece of memory.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace inspect {

// All functions throw Error. Not thread-safe.
class JournalFile {
  public:
    virtual ~JournalFile() = default;

    // What messages call it.
    virtual std::string name() const = 0;
    // Opens the file if there is one; false if there is none.
    virtual bool open() = 0;
    // Creates it, empty and open; Error(kBusy) if there is one.
    virtual void create() = 0;

    // These need an open file.
    virtual uint64_t size() = 0;
    // Whole, or Error(kCorrupt).
    virtual void read(uint64_t offset, std::span<std::byte> out) = 0;
    virtual void write(uint64_t offset, std::span<const std::byte> in) = 0;
    // The contents are on stable storage.
    virtual void sync() = 0;

    // Removes the name; the file is closed.
    virtual void remove() = 0;
    // That the name is there, or is gone, is on stable storage.
    virtual void sync_name() = 0;
};

class PosixJournalFile final : public JournalFile {
  public:
    // `image_owner` is the image's. A file that was found is believed only when it belongs to that user, to
    // the one who runs this, or to root: another could make us write to an image that he may not write
    // himself.
    PosixJournalFile(std::string path, uid_t image_owner, gid_t image_group);
    // One that is open for reading and writing, for a process that got the descriptor and no more: it can't
    // be opened, created or removed by this.
    explicit PosixJournalFile(Fd fd);

    // While it is open.
    int fd() const noexcept { return fd_.get(); }

    std::string name() const override { return path_; }
    bool open() override;
    void create() override;
    uint64_t size() override;
    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void sync() override;
    void remove() override;
    void sync_name() override;

  private:
    std::string path_;
    uid_t image_owner_ = 0;
    gid_t image_group_ = 0;
    Fd fd_;
};

// Where the journal of an image is. `image_path` is absolute and free of symbolic links.
//
// A regular file's is "<image_path>.insp-journal": any program that finds the image finds it, whoever looks.
// A block device's directory does not survive a reboot, so its journal is
// "$XDG_STATE_HOME/libinspect/journal-<its lasting name>" (~/.local/state without that variable); the
// directory is made, mode 0700, when `create_directory`.
//
// The lasting name of a logical volume, or another device of the device mapper's, is what that knows it by
// for good, "LVM-" and two UUIDs, since such devices get their numbers in the order in which they are made;
// of others it is "<major>-<minor>". `sysfs` is the directory of block devices by their numbers.
std::string lasting_device_name(dev_t device, const std::string& sysfs = "/sys/dev/block");
std::string journal_path(const std::string& image_path, std::optional<dev_t> block_device,
                         bool create_directory);

// Of an image that is no local file: "$XDG_STATE_HOME/libinspect/journal-<64 bits of a hash of `location`>".
// So only this user on this host can finish a change that was cut short.
std::string remote_journal_path(std::string_view location, bool create_directory);

}  // namespace inspect
