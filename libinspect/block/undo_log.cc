// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/undo_log.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/uuid.h"
#include "base/zeros.h"
#include "block/crc32c.h"

namespace inspect {

using namespace journal_format;

namespace {

// Blocks are saved together with their neighbours: metadata that is written here is soon written there, and
// each saving is a flush of the journal.
constexpr uint64_t kNeighbourhood = 64 << 10;
// More than this is never written to the journal without a sync. So what a crash may tear is not longer, but
// by a record.
constexpr uint64_t kMaxUnsynced = 4 << 20;
constexpr uint64_t kMaxTorn = kMaxUnsynced + 2 * kMaxDataLength;

Record make_record(Kind kind, uint64_t offset, uint64_t length, std::span<const std::byte> data,
                   uint32_t seed) {
    Record record{};
    record.magic = kRecordMagic;
    record.kind = static_cast<uint16_t>(kind);
    record.offset = offset;
    record.length = length;
    record.payload_crc = crc32c(data, seed);
    record.crc = crc_of(record, seed);
    return record;
}

[[noreturn]] void damaged(const JournalFile& file, const char* what) {
    throw Error(ErrorKind::kCorrupt, "the undo journal '" + file.name() + "' is damaged (" + what +
                                         "), so a change that was cut short can't be taken back; restore the "
                                         "image from a backup, or remove the journal to use it as it is");
}

// Reads an undo journal's beginning and its records. Believes nothing that a checksum doesn't vouch for.
class Reader {
  public:
    explicit Reader(JournalFile& file) : file_(file), size_(file.size()) {
        if (size_ < kBodyOffset) damaged(file_, "it is too short");
        Header header;
        file_.read(0, std::as_writable_bytes(std::span(&header, 1)));
        const bool right = std::memcmp(header.magic, kMagic, sizeof kMagic) == 0 &&
                           header.version == kVersionOfUndo && header.crc == crc_of(header, 0) &&
                           header.image_size != 0;
        if (!right) damaged(file_, "its header makes no sense");
        image_size_ = header.image_size;
        seed_ = crc32c(header.nonce);
    }

    uint64_t image_size() const noexcept { return image_size_; }
    uint32_t seed() const noexcept { return seed_; }

    // The size that the image is to have, if the change was complete.
    std::optional<uint64_t> finished() const {
        Mark mark;
        file_.read(kMarkOffset, std::as_writable_bytes(std::span(&mark, 1)));
        if (is_all_zeros(record_bytes(mark))) return std::nullopt;
        if (std::memcmp(mark.magic, kMarkMagic, sizeof kMarkMagic) != 0 || mark.crc != crc_of(mark, seed_))
            damaged(file_, "its mark is wrong");
        return mark.length;
    }

    // Visits the records up to the first that isn't complete, which was being written when all ended. The
    // last one's end. With `data` that is read and checked, too.
    uint64_t for_each(bool data,
                      const std::function<void(const Record&, std::span<const std::byte>)>& visit) const {
        uint64_t at = kBodyOffset;
        std::vector<std::byte> payload;
        Record record;
        for (uint64_t next = 0; (next = read_record(at, record)) != 0; at = next) {
            if (data && !read_payload(record, next, payload)) break;
            visit(record, payload);
        }
        if (size_ - at > kMaxTorn) damaged(file_, "a record is wrong");
        return at;
    }

  private:
    // The end of a record that is there, 0 if none is.
    uint64_t read_record(uint64_t at, Record& record) const {
        if (size_ - at < sizeof record) return 0;
        file_.read(at, std::as_writable_bytes(std::span(&record, 1)));
        if (record.magic != kRecordMagic || record.crc != crc_of(record, seed_)) return 0;
        const bool data = record.kind == static_cast<uint16_t>(Kind::kData);
        const bool known = data || record.kind == static_cast<uint16_t>(Kind::kZero) ||
                           record.kind == static_cast<uint16_t>(Kind::kUnused);
        if (!known || record.length == 0 || !range_fits(record.offset, record.length, image_size_) ||
            record.target != 0 || record.checked != 0 || (data && record.length > kMaxDataLength))
            damaged(file_, "a record makes no sense");
        const uint64_t end = at + sizeof record + (data ? uint64_t{record.length} : 0);
        return end <= size_ ? end : 0;
    }

    bool read_payload(const Record& record, uint64_t end, std::vector<std::byte>& payload) const {
        payload.resize(record.kind == static_cast<uint16_t>(Kind::kData) ? uint64_t{record.length} : 0);
        file_.read(end - payload.size(), payload);
        return crc32c(payload, seed_) == record.payload_crc;
    }

    JournalFile& file_;
    const uint64_t size_;
    uint64_t image_size_ = 0;
    uint32_t seed_ = 0;
};

}  // namespace

// The header comes last: a file without it is one that was being made, and its image is as it was.
void UndoLog::create(JournalFile& file, uint64_t image_size, const RangeSet& holes, const RangeSet& unused) {
    Header header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersionOfUndo;
    header.image_size = header.new_size = image_size;
    draw_random(std::as_writable_bytes(std::span(header.nonce)));
    header.crc = crc_of(header, 0);
    const uint32_t seed = crc32c(header.nonce);

    file.create();
    uint64_t at = 0;
    std::vector<std::byte> bytes(kBodyOffset);
    const auto write_out = [&] {
        file.write(at, bytes);
        at += bytes.size();
        bytes.clear();
    };
    const auto add = [&](Kind kind, const RangeSet& ranges) {
        for (const RangeSet::Range& range : ranges.ranges()) {
            const uint64_t end = std::min(range.end, image_size);
            if (range.begin >= end) continue;
            const Record record = make_record(kind, range.begin, end - range.begin, {}, seed);
            const auto more = record_bytes(record);
            bytes.insert(bytes.end(), more.begin(), more.end());
            if (bytes.size() > kMaxDataLength) write_out();
        }
    };
    add(Kind::kUnused, unused);
    add(Kind::kZero, holes);
    write_out();
    file.sync();
    file.sync_name();
    file.write(0, record_bytes(header));
    file.sync();
}

UndoLog::UndoLog(JournalFile& file) : file_(file) {
    const Reader reader(file_);
    if (reader.finished())
        throw Error(ErrorKind::kUsage, "the change that '" + file_.name() + "' is about is complete");
    image_size_ = reader.image_size();
    seed_ = reader.seed();
    end_ = reader.for_each(false, [&](const Record& record, std::span<const std::byte>) {
        mark_saved(record.offset, record.length);
    });
}

bool UndoLog::saved(uint64_t block) const {
    const auto chunk = saved_.find(block / kChunkBlocks);
    return chunk != saved_.end() && (!chunk->second || (*chunk->second)[block % kChunkBlocks]);
}

// The image's last block may be a part of one.
void UndoLog::mark_saved(uint64_t offset, uint64_t length) {
    const uint64_t end = offset + length;
    const uint64_t last = (end == image_size_ ? align_up(end, kBlockSize) : end) / kBlockSize;
    for (uint64_t block = align_up(offset, kBlockSize) / kBlockSize; block < last; ++block) {
        const auto [chunk, fresh] = saved_.try_emplace(block / kChunkBlocks);
        if (block % kChunkBlocks == 0 && last - block >= kChunkBlocks) {
            chunk->second.reset();
            block += kChunkBlocks - 1;
            continue;
        }
        if (fresh) chunk->second = std::make_unique<std::bitset<kChunkBlocks>>();
        if (chunk->second) chunk->second->set(block % kChunkBlocks);
    }
}

void UndoLog::save(BlockDevice& image, uint64_t offset, uint64_t length) {
    if (offset >= image_size_ || length == 0) return;
    if (failed_)
        throw Error(ErrorKind::kUsage, "'" + file_.name() + "' could not be written: nothing may be changed");
    const uint64_t end = offset + std::min(length, image_size_ - offset);
    const auto first_unsaved = [&](uint64_t from, uint64_t to) {
        uint64_t block = from / kBlockSize;
        while (block * kBlockSize < to && saved(block)) ++block;
        return std::min(block * kBlockSize, to);
    };
    if (first_unsaved(offset, end) >= end) return;
    failed_ = true;
    const uint64_t stop = std::min(align_up(end, kNeighbourhood), image_size_);
    for (uint64_t at = first_unsaved(align_down(offset, kNeighbourhood), stop); at < stop;) {
        uint64_t until = at + kBlockSize;
        while (until < stop && until - at < kMaxDataLength && !saved(until / kBlockSize)) until += kBlockSize;
        until = std::min(until, stop);
        save_range(image, at, until - at);
        at = first_unsaved(until, stop);
    }
    sync();
    failed_ = false;
}

void UndoLog::save_range(BlockDevice& image, uint64_t offset, uint64_t length) {
    old_.resize(length);
    image.read(offset, old_);
    if (is_all_zeros(old_)) {
        append(Kind::kZero, offset, length, {});
    } else {
        append(Kind::kData, offset, length, old_);
    }
    mark_saved(offset, length);
    if (unsynced_ >= kMaxUnsynced) sync();
}

void UndoLog::append(Kind kind, uint64_t offset, uint64_t length, std::span<const std::byte> data) {
    const Record record = make_record(kind, offset, length, data, seed_);
    const auto head = record_bytes(record);
    record_.assign(head.begin(), head.end());
    record_.insert(record_.end(), data.begin(), data.end());
    file_.write(end_, record_);
    end_ += record_.size();
    unsynced_ += record_.size();
}

void UndoLog::sync() {
    if (unsynced_ == 0) return;
    file_.sync();
    unsynced_ = 0;
}

void UndoLog::finish(uint64_t size) {
    Mark mark{};
    std::memcpy(mark.magic, kMarkMagic, sizeof kMarkMagic);
    mark.length = size;
    mark.crc = crc_of(mark, seed_);
    try {
        file_.write(kMarkOffset, record_bytes(mark));
        file_.sync();
    } catch (const Error&) {
        // It may have come through all the same.
        file_.write(kMarkOffset, record_bytes(Mark{}));
        file_.sync();
        throw;
    }
}

Recovery undo(BlockDevice& image, JournalFile& file) {
    const Reader reader(file);
    const std::optional<uint64_t> finished = reader.finished();
    const uint64_t size = finished.value_or(reader.image_size());
    if (image.size() < size) {
        throw Error(ErrorKind::kCorrupt,
                    "the journal '" + file.name() + "' is for an image of at least " + std::to_string(size) +
                        " bytes, but this one has " + std::to_string(image.size()) +
                        ": it was replaced or cut since a change to it was cut short; remove the journal to "
                        "use it as it is");
    }
    if (!finished) {
        reader.for_each(true, [](const Record&, std::span<const std::byte>) {});
        reader.for_each(true, [&](const Record& record, std::span<const std::byte> data) {
            if (record.kind == static_cast<uint16_t>(Kind::kData)) image.write(record.offset, data);
            if (record.kind == static_cast<uint16_t>(Kind::kZero))
                image.write_zeroes(record.offset, record.length, true);
        });
    }
    if (image.size() > size) image.resize(size);
    image.flush();
    return finished ? Recovery::kFinished : Recovery::kDiscarded;
}

}  // namespace inspect
