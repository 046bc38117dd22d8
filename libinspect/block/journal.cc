// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/journal.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/crc32c.h"

namespace inspect {

using namespace journal_format;

namespace {

constexpr size_t kBufferSize = 1 << 20;

template <typename T>
std::span<const std::byte> bytes_of(const T& object, size_t length = sizeof(T)) {
    return std::as_bytes(std::span(&object, 1)).first(length);
}

template <typename T>
uint32_t crc_of(const T& object, uint32_t seed) {  // all but the checksum itself, which is last
    return crc32c(bytes_of(object, sizeof(T) - sizeof(le32)), seed);
}

uint64_t sectors(uint64_t length) { return (length + kSectorSize - 1) / kSectorSize; }

bool all_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

JournalWriter::JournalWriter(JournalFile& file, uint64_t image_size, uint64_t new_size) : file_(file) {
    Header header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersion;
    header.image_size = image_size;
    header.new_size = new_size;
    if (::getrandom(header.nonce, sizeof header.nonce, 0) != sizeof header.nonce) {
        throw Error::from_errno("cannot get random bytes for a journal", errno);
    }
    header.crc = crc_of(header, 0);
    seed_ = records_crc_ = crc32c(header.nonce);
    file_.create();
    buffer_.reserve(kBufferSize);
    append(bytes_of(header));
    buffer_.resize(kRecordsOffset);  // the mark's sector is zeros for now
}

void JournalWriter::begin() {
    write_out();
    file_.sync();
    file_.sync_name();
}

void JournalWriter::append(std::span<const std::byte> bytes) {
    if (buffer_.size() + bytes.size() > kBufferSize) write_out();
    if (bytes.size() >= kBufferSize) {
        file_.write(written_, bytes);
        written_ += bytes.size();
        return;
    }
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void JournalWriter::write_out() {
    if (buffer_.empty()) return;
    file_.write(written_, buffer_);
    written_ += buffer_.size();
    buffer_.clear();
}

void JournalWriter::add_data(uint64_t offset, std::span<const std::byte> data,
                             std::span<const std::byte> old) {
    add(Kind::kData, offset, data.size(), data, old);
}

void JournalWriter::add_zero(uint64_t offset, uint64_t length, std::span<const std::byte> old_start) {
    add(Kind::kZero, offset, length, {}, old_start);
}

void JournalWriter::add(Kind kind, uint64_t offset, uint64_t length, std::span<const std::byte> data,
                        std::span<const std::byte> old) {
    std::vector<le32> crcs;
    crcs.reserve(sectors(old.size()));
    for (size_t at = 0; at < old.size(); at += kSectorSize) {
        crcs.emplace_back(crc32c(old.subspan(at, std::min<size_t>(kSectorSize, old.size() - at)), seed_));
    }
    const auto crc_bytes = std::as_bytes(std::span(crcs));
    Record record{};
    record.magic = kRecordMagic;
    record.kind = static_cast<uint32_t>(kind);
    record.offset = offset;
    record.length = length;
    record.checked = old.size();
    record.payload_crc = crc32c(data, crc32c(crc_bytes, seed_));
    record.crc = crc_of(record, seed_);
    records_crc_ = crc32c(bytes_of(record), records_crc_);
    ++records_;
    append(bytes_of(record));
    append(crc_bytes);
    append(data);
}

void JournalWriter::finish() { begin(); }

void JournalWriter::commit() {
    Mark mark{};
    std::memcpy(mark.magic, kMarkMagic, sizeof kMarkMagic);
    mark.records = records_;
    mark.length = written_;
    mark.records_crc = records_crc_;
    mark.crc = crc_of(mark, seed_);
    file_.write(kMarkOffset, bytes_of(mark));
    file_.sync();
}

void JournalReader::damaged(const char* what) const {
    throw Error(ErrorKind::kCorrupt,
                "the journal '" + file_.name() + "' is damaged (" + what +
                    "), so a change that was cut short can't be finished; restore the image "
                    "from a backup, or remove the journal to use the image as it is");
}

JournalReader::JournalReader(JournalFile& file) : file_(file) {
    if (!file_.open()) return;
    const uint64_t size = file_.size();
    std::byte start[kRecordsOffset] = {};  // what is not there yet counts as zeros
    file_.read(0, std::span(start).first(std::min<uint64_t>(size, sizeof start)));
    Header header;
    std::memcpy(&header, start, sizeof header);
    std::memcpy(&mark_, start + kMarkOffset, sizeof mark_);
    const bool marked = !all_zero(bytes_of(mark_));
    state_ = JournalState::kUncommitted;
    if (all_zero(std::span(start).first(kSectorSize)) && !marked) return;  // a crash before it was synced
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
        throw Error(ErrorKind::kCorrupt,
                    "'" + file_.name() + "' has the name of the image's journal but is none; move it away");
    }
    const bool intact = header.crc == crc_of(header, 0);
    if (intact && header.version != kVersion) {
        throw Error(ErrorKind::kUnsupported,
                    "the journal '" + file_.name() +
                        "' was written by a later version of this program; use that to "
                        "finish the change");
    }
    if (intact) {
        image_size_ = header.image_size;
        new_size_ = header.new_size;
    }
    if (!marked) return;
    if (!intact) damaged("its header's checksum is wrong");
    seed_ = crc32c(header.nonce);
    if (std::memcmp(mark_.magic, kMarkMagic, sizeof kMarkMagic) != 0 || mark_.crc != crc_of(mark_, seed_)) {
        damaged("its commit mark is wrong");
    }
    if (mark_.length != size) damaged("its length is wrong");
    state_ = JournalState::kCommitted;
}

std::optional<uint64_t> JournalReader::size_to_restore(uint64_t size) const noexcept {
    if (state_ != JournalState::kUncommitted || size <= image_size_ || size > new_size_) return std::nullopt;
    return image_size_;
}

// Every record's checksum is checked before it is visited; what it says is within the image.
void JournalReader::for_each(uint64_t image_size, const std::function<void(const Entry&)>& visit) {
    // One that is to become smaller may not be so yet.
    if (image_size != new_size_ && !(image_size == image_size_ && new_size_ < image_size_)) {
        throw Error(ErrorKind::kCorrupt,
                    "the journal '" + file_.name() + "' is for an image of " + std::to_string(new_size_) +
                        " bytes, but the image has " + std::to_string(image_size) +
                        ": it was replaced or resized since a change to it was cut short; "
                        "remove the journal to use the image as it is");
    }
    const uint64_t end = mark_.length, records_end = std::min(image_size_, new_size_);
    uint64_t at = kRecordsOffset, image_at = 0;
    uint32_t records_crc = seed_;
    std::vector<std::byte> payload;
    for (uint64_t i = 0; i < mark_.records; ++i) {
        Record record;
        if (at > end || end - at < sizeof record) damaged("it ends within its records");
        file_.read(at, std::as_writable_bytes(std::span(&record, 1)));
        at += sizeof record;
        if (record.magic != kRecordMagic || record.crc != crc_of(record, seed_)) {
            damaged("a record's checksum is wrong");
        }
        records_crc = crc32c(bytes_of(record), records_crc);
        const uint64_t offset = record.offset, length = record.length, checked = record.checked;
        const bool data = record.kind == static_cast<uint32_t>(Kind::kData);
        const bool possible = (data || record.kind == static_cast<uint32_t>(Kind::kZero)) && length > 0 &&
                              offset >= image_at && range_fits(offset, length, records_end) &&
                              offset % kSectorSize == 0 &&
                              (length % kSectorSize == 0 || offset + length == records_end) &&
                              checked == (data ? length : std::min(length, kZeroCheckedLength)) &&
                              (!data || length <= kMaxDataLength);
        if (!possible) damaged("a record makes no sense");
        image_at = offset + length;
        const uint64_t crc_bytes = sectors(checked) * sizeof(le32);
        payload.resize(crc_bytes + (data ? length : 0));
        if (end - at < payload.size()) damaged("it ends within a record");
        file_.read(at, payload);
        at += payload.size();
        if (crc32c(payload, seed_) != record.payload_crc) damaged("a record's data has a wrong checksum");
        visit({data ? Kind::kData : Kind::kZero,
               offset,
               length,
               {reinterpret_cast<const le32*>(payload.data()), sectors(checked)},
               std::span<const std::byte>(payload).subspan(crc_bytes)});
    }
    if (at != end) damaged("it goes on behind its records");
    if (mark_.records_crc != records_crc) damaged("records are missing");
}

void JournalReader::verify(BlockDevice& image) {
    static constexpr std::byte kZeros[kSectorSize] = {};
    std::vector<std::byte> now;
    for_each(image.size(), [&](const Entry& entry) {
        const uint64_t checked =
            entry.kind == Kind::kData ? entry.length : std::min(entry.length, kZeroCheckedLength);
        now.resize(checked);
        image.read(entry.offset, now);
        for (size_t i = 0; i < entry.old_crcs.size(); ++i) {
            const size_t at = i * kSectorSize, n = std::min<size_t>(kSectorSize, now.size() - at);
            const std::span<const std::byte> sector(now.data() + at, n);
            const std::byte* wanted = entry.kind == Kind::kData ? entry.data.data() + at : kZeros;
            if (std::memcmp(sector.data(), wanted, n) == 0) continue;
            if (crc32c(sector, seed_) == entry.old_crcs[i]) continue;
            throw Error(
                ErrorKind::kCorrupt,
                "the image was changed by another program (at offset " + std::to_string(entry.offset + at) +
                    ") since a change to it, which the journal '" + file_.name() +
                    "' holds, was cut short; finishing it now would destroy both; remove the journal to use "
                    "the image as it is, or restore the image");
        }
    });
}

void JournalReader::apply(BlockDevice& target) {
    for_each(target.size(), [&](const Entry& entry) {
        if (entry.kind == Kind::kData) {
            target.write(entry.offset, entry.data);
        } else {
            target.write_zeroes(entry.offset, entry.length, true);
        }
    });
}

}  // namespace inspect
