// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Storage that fails, for tests: a device and a journal file that keep in mind what was written since the
// last flush, and lose any part of it when the power is cut. (The model is LevelDB's fault injection.)
//
// One FaultPlan counts the operations of all that share it. At the chosen operation either the power is cut
// (PowerCut is thrown, from this and every later operation, before it does anything) or an Error is thrown
// once. After a cut, crash() makes of each what may be found after the restart.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "block/block_device.h"
#include "block/journal_file.h"
#include "block/recovery.h"

namespace inspect {

// Not an Error: no program handles this.
struct PowerCut {};

class FaultPlan {
  public:
    // Operations are counted from 0. With both set one fails, and later the power is cut.
    void cut_at(uint64_t operation) { cut_at_ = operation; }
    void fail_at(uint64_t operation) { fail_at_ = operation; }
    uint64_t operations() const noexcept { return count_; }

    // Called by the faulty objects at the start of each operation that could be interrupted.
    void step();

  private:
    uint64_t count_ = 0;
    std::optional<uint64_t> cut_at_;
    std::optional<uint64_t> fail_at_;
};

// Bytes of which some are on stable storage and some are not. Grows as it is written.
class FaultyBytes {
  public:
    explicit FaultyBytes(std::vector<std::byte> contents = {})
        : now_(contents), stable_(std::move(contents)) {}

    const std::vector<std::byte>& now() const noexcept { return now_; }
    void write(uint64_t offset, std::span<const std::byte> in);
    void resize(uint64_t size);
    void sync();
    // Of each write since the last sync, in order: keeps all, nothing, or every 512-byte sector by itself or
    // not. A resize is kept or not.
    void crash(std::mt19937_64& random);

  private:
    struct Write {
        uint64_t offset;
        std::vector<std::byte> data;
        bool resize = false;  // to `offset` bytes
    };
    std::vector<std::byte> now_;
    std::vector<std::byte> stable_;
    std::vector<Write> unsynced_;
};

class FaultyDevice final : public BlockDevice {
  public:
    // `plan` must outlive this.
    FaultyDevice(std::vector<std::byte> contents, FaultPlan& plan)
        : bytes_(std::move(contents)), plan_(&plan) {}

    uint64_t size() const noexcept override { return bytes_.now().size(); }
    bool read_only() const noexcept override { return false; }
    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void flush() override;
    void discard(uint64_t offset, uint64_t length) override { write_zeroes(offset, length, true); }
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    void reserve(uint64_t offset, uint64_t length) override;
    void resize(uint64_t size) override;
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override;

    const std::vector<std::byte>& contents() const noexcept { return bytes_.now(); }
    // The power is back; what happens from now on is counted by `plan`.
    void crash(std::mt19937_64& random, FaultPlan& plan);
    // The same without a crash.
    void use(FaultPlan& plan) { plan_ = &plan; }

  private:
    FaultyBytes bytes_;
    FaultPlan* plan_;
};

class FaultyJournalFile final : public JournalFile {
  public:
    explicit FaultyJournalFile(FaultPlan& plan, std::string name = "the faulty journal")
        : plan_(&plan), name_(std::move(name)) {}

    std::string name() const override { return name_; }
    bool open() override { return bytes_.has_value(); }
    void create() override;
    uint64_t size() override { return bytes_->now().size(); }
    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void sync() override;
    void remove() override;
    void sync_name() override;

    // As the above. A name that was made or removed since the last sync_name() is or isn't there.
    void crash(std::mt19937_64& random, FaultPlan& plan);
    void use(FaultPlan& plan) { plan_ = &plan; }
    // For tests that want a certain journal.
    void put(std::vector<std::byte> contents) { bytes_.emplace(std::move(contents)); }
    const std::vector<std::byte>& contents() const { return bytes_->now(); }

  private:
    std::optional<FaultyBytes> bytes_;         // under the name now
    std::optional<FaultyBytes> stable_bytes_;  // removed, but not yet for good
    bool stable_name_ = false;
    FaultPlan* plan_;
    std::string name_;
};

// The images of a test, for recovery. They are the caller's and must outlive this.
class FaultyFiles final : public OtherFiles {
  public:
    void add(const std::string& path, BlockDevice& device, JournalFile& journal);
    // The image is gone, what was beside it is not.
    void remove(const std::string& path) { images_[path].first = nullptr; }

    std::shared_ptr<JournalFile> journal(const std::string& path) override;
    std::shared_ptr<JournalFile> beside(const std::string& path) override;
    Image open(const std::string& path, const std::string& journal) override;

  private:
    std::map<std::string, std::pair<BlockDevice*, JournalFile*>> images_;
    FaultPlan unused_;
};

}  // namespace inspect
