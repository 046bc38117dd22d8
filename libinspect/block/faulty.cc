// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/faulty.h"

#include <algorithm>
#include <utility>

#include <inspect/error.h>

#include "base/checked.h"

namespace inspect {

namespace {

void put(std::vector<std::byte>& bytes, uint64_t offset, std::span<const std::byte> in) {
    if (bytes.size() < offset + in.size()) bytes.resize(offset + in.size());
    std::copy(in.begin(), in.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
}

}  // namespace

void FaultPlan::step() {
    const uint64_t operation = count_++;
    if (cut_at_ && operation >= *cut_at_) throw PowerCut{};
    if (fail_at_ && operation == *fail_at_) throw Error(ErrorKind::kNoSpace, "an injected failure");
}

void FaultyBytes::write(uint64_t offset, std::span<const std::byte> in) {
    put(now_, offset, in);
    unsynced_.push_back({offset, {in.begin(), in.end()}, false});
}

void FaultyBytes::resize(uint64_t size) {
    now_.resize(size);
    unsynced_.push_back({size, {}, true});
}

void FaultyBytes::sync() {
    stable_ = now_;
    unsynced_.clear();
}

void FaultyBytes::crash(std::mt19937_64& random) {
    constexpr uint64_t kSector = 512;
    for (const Write& write : unsynced_) {
        const uint64_t fate = random() % 4;  // 0: lost, 1: kept, else torn
        if (fate == 0) continue;
        if (write.resize) {
            if (fate == 1 || random() % 2 == 0) stable_.resize(write.offset);
            continue;
        }
        const uint64_t end = write.offset + write.data.size();
        for (uint64_t at = write.offset; at < end;) {
            const uint64_t next = std::min(align_down(at, kSector) + kSector, end);
            if (fate == 1 || random() % 2 == 0) {
                put(stable_, at, std::span(write.data).subspan(at - write.offset, next - at));
            }
            at = next;
        }
    }
    now_ = stable_;
    unsynced_.clear();
}

void FaultyDevice::read(uint64_t offset, std::span<std::byte> out) {
    require_range(offset, out.size());
    std::copy_n(bytes_.now().begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
}

void FaultyDevice::write(uint64_t offset, std::span<const std::byte> in) {
    require_range(offset, in.size());
    plan_->step();
    bytes_.write(offset, in);
}

void FaultyDevice::flush() {
    plan_->step();
    bytes_.sync();
}

void FaultyDevice::write_zeroes(uint64_t offset, uint64_t length, bool) {
    require_range(offset, length);
    plan_->step();
    bytes_.write(offset, std::vector<std::byte>(length));
}

void FaultyDevice::reserve(uint64_t offset, uint64_t length) {
    require_range(offset, length);
    plan_->step();
}

void FaultyDevice::resize(uint64_t size) {
    plan_->step();
    bytes_.resize(size);
}

std::vector<Extent> FaultyDevice::extents(uint64_t offset, uint64_t length) {
    require_range(offset, length);
    if (length == 0) return {};
    return {{offset, length, ExtentKind::kData}};
}

void FaultyDevice::crash(std::mt19937_64& random, FaultPlan& plan) {
    bytes_.crash(random);
    plan_ = &plan;
}

void FaultyJournalFile::create() {
    plan_->step();
    if (bytes_) throw Error(ErrorKind::kBusy, "the faulty journal is there already");
    bytes_.emplace();
}

void FaultyJournalFile::read(uint64_t offset, std::span<std::byte> out) {
    if (!range_fits(offset, out.size(), size())) {
        throw Error(ErrorKind::kCorrupt, "the faulty journal is shorter than it says");
    }
    std::copy_n(bytes_->now().begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
}

void FaultyJournalFile::write(uint64_t offset, std::span<const std::byte> in) {
    plan_->step();
    bytes_->write(offset, in);
}

void FaultyJournalFile::sync() {
    plan_->step();
    bytes_->sync();
}

void FaultyJournalFile::remove() {
    plan_->step();
    if (!bytes_) return;
    stable_bytes_ = std::exchange(bytes_, std::nullopt);
}

void FaultyJournalFile::sync_name() {
    plan_->step();
    stable_name_ = bytes_.has_value();
    stable_bytes_.reset();
}

void FaultyJournalFile::crash(std::mt19937_64& random, FaultPlan& plan) {
    plan_ = &plan;
    if (bytes_) {
        if (!stable_name_ && random() % 2 == 0) bytes_.reset();  // made, but not for good
    } else if (stable_bytes_ && stable_name_ && random() % 2 == 0) {
        bytes_ = std::move(stable_bytes_);  // removed, but not for good
    }
    stable_bytes_.reset();
    if (bytes_) bytes_->crash(random);
    stable_name_ = bytes_.has_value();
}

void FaultyFiles::add(const std::string& path, BlockDevice& device, JournalFile& journal) {
    images_[path] = {&device, &journal};
}

std::shared_ptr<JournalFile> FaultyFiles::journal(const std::string& path) {
    for (const auto& [name, image] : images_)
        if (image.second->name() == path) return {std::shared_ptr<void>(), image.second};
    return std::make_shared<FaultyJournalFile>(unused_, path);
}

std::shared_ptr<JournalFile> FaultyFiles::beside(const std::string& path) {
    return journal(path + ".insp-journal");
}

OtherFiles::Image FaultyFiles::open(const std::string& path, const std::string&) {
    const auto found = images_.find(path);
    if (found == images_.end() || found->second.first == nullptr)
        throw Error(ErrorKind::kNotFound, "there is no '" + path + "'");
    return {nullptr,
            {std::shared_ptr<void>(), found->second.first},
            {std::shared_ptr<void>(), found->second.second}};
}

}  // namespace inspect
