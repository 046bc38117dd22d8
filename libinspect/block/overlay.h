// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Overlay: a writable device over another that it never changes. Reads see what was written; writes go to an
// OverlayStore. This is what a guest gets for its disk. Blocks of zeros are remembered as such, however they
// were written: they take no room, here or in the image that they are committed to.
#pragma once

#include <array>
#include <memory>

#include "block/block_device.h"
#include "block/overlay_store.h"

namespace inspect {

// Not durable: flush() has nothing to do, because a session's changes count only once they are committed.
class Overlay final : public BlockDevice {
  public:
    // `store` must be for a device of lower->size() bytes, or for a larger one, a multiple of its block size:
    // then this can grow up to that. Else Error(kUsage). Both are shared or owned as their types say. `lower`
    // is only read.
    Overlay(std::unique_ptr<BlockDevice> lower, std::shared_ptr<OverlayStore> store);

    uint64_t size() const noexcept override { return size_; }
    bool read_only() const noexcept override { return false; }

    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void readv(uint64_t offset, std::span<const iovec> out) override;
    void writev(uint64_t offset, std::span<const iovec> in) override;
    void flush() override {}
    // Throws Error(kNoSpace) beyond what the store is for.
    void resize(uint64_t size) override;
    // Whole blocks become zeros; the ends of the range that are not whole blocks keep what they have.
    void discard(uint64_t offset, uint64_t length) override;
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override;

  private:
    using Run = OverlayStore::Run;
    using State = OverlayStore::State;

    void read_lower(uint64_t offset, std::span<const iovec> out);
    void read_run(const Run& run, std::span<const iovec> out);
    void write_in_block(const Run& run, std::span<const iovec> in);
    void write_zero_bytes(uint64_t offset, uint64_t length);

    std::unique_ptr<BlockDevice> lower_;
    std::shared_ptr<OverlayStore> store_;
    const uint64_t lower_size_;
    uint64_t size_;
};

}  // namespace inspect
