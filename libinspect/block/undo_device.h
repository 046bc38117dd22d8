// SPDX-License-Identifier: LGPL-2.1-or-later
//
// UndoDevice: the device below it, written directly, but so that all of it can be taken back: before anything
// is overwritten what was there goes to an undo journal (block/undo_log.h).
#pragma once

#include <memory>

#include "block/block_device.h"
#include "block/undo_log.h"

namespace inspect {

class UndoDevice final : public BlockDevice {
  public:
    // `journal` is open, for the device below, and made by UndoLog::create(). Throws what UndoLog does.
    UndoDevice(std::unique_ptr<BlockDevice> device, std::unique_ptr<JournalFile> journal)
        : device_(std::move(device)), journal_(std::move(journal)), log_(*journal_) {}

    uint64_t size() const noexcept override { return device_->size(); }
    bool read_only() const noexcept override { return device_->read_only(); }
    void read(uint64_t offset, std::span<std::byte> out) override { device_->read(offset, out); }
    void readv(uint64_t offset, std::span<const iovec> out) override { device_->readv(offset, out); }
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void writev(uint64_t offset, std::span<const iovec> in) override;
    void flush() override { device_->flush(); }
    // Does nothing: what is there has to be kept.
    void discard(uint64_t offset, uint64_t length) override { require_range(offset, length); }
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    void reserve(uint64_t offset, uint64_t length) override { device_->reserve(offset, length); }
    // Throws Error(kUnsupported) for less than the device had when the journal was made.
    void resize(uint64_t size) override;
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        return device_->extents(offset, length);
    }

  private:
    std::unique_ptr<BlockDevice> device_;
    std::unique_ptr<JournalFile> journal_;
    UndoLog log_;
};

}  // namespace inspect
