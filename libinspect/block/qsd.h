// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What we don't read ourselves, read by QEMU: a qemu-storage-daemon of our own opens the image and exports it
// to us by NBD. docs/nbd.md says how the two find each other without a name that others could see.
//
// The daemon is never left to guess: the format is what the caller says. It runs with the user's rights, as a
// qemu-img of his would.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/subprocess.h"
#include "block/block_device.h"
#include "block/nbd_device.h"

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
    // Read an image although another program writes it.
    bool force_share = false;
    // The file with the passphrase of an encrypted image (LUKS, or LUKS in qcow2); empty: none.
    std::string key_file = {};
};

// Not thread-safe, except as BlockDevice is.
class QsdDevice final : public BlockDevice {
  public:
    // Starts the daemon and opens the image. Throws Error: kNotFound (no daemon: the message names the
    // package; no image), kUsage (an unknown format), kBusy (another program holds the image), or what the
    // daemon complained of.
    explicit QsdDevice(const QsdImage& image);
    // Ends the daemon, which closes the image in an orderly way. Does not flush.
    ~QsdDevice() override;

    // To hand the connection to another process (NbdDevice::release()); this must outlive its use.
    NbdDevice& connection() noexcept { return *device_; }

    uint64_t size() const noexcept override { return device_->size(); }
    bool read_only() const noexcept override { return device_->read_only(); }
    void read(uint64_t offset, std::span<std::byte> out) override { device_->read(offset, out); }
    void write(uint64_t offset, std::span<const std::byte> in) override { device_->write(offset, in); }
    void readv(uint64_t offset, std::span<const iovec> out) override { device_->readv(offset, out); }
    void writev(uint64_t offset, std::span<const iovec> in) override { device_->writev(offset, in); }
    void flush() override { device_->flush(); }
    void discard(uint64_t offset, uint64_t length) override { device_->discard(offset, length); }
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override {
        device_->write_zeroes(offset, length, may_unmap);
    }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        return device_->extents(offset, length);
    }

  private:
    std::unique_ptr<Subprocess> daemon_;
    std::unique_ptr<NbdDevice> device_;
};

// The formats that QsdImage::format may name.
bool qsd_knows_format(std::string_view format);
// The daemon's command line but for the socket, for tests.
std::vector<std::string> qsd_arguments(const QsdImage& image);

}  // namespace inspect
