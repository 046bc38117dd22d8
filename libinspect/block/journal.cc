// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/journal.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/uuid.h"
#include "base/zeros.h"
#include "block/crc32c.h"

namespace inspect {

using namespace journal_format;

namespace {

constexpr size_t kBufferSize = 1 << 20;

uint64_t sectors(uint64_t length) { return (length + kSectorSize - 1) / kSectorSize; }

std::string directory_part(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }

// How a file says where another is: of one in the same directory only the name, so that the directory can be
// moved.
std::string name_beside(const std::string& from, const std::string& path) {
    const std::string directory = directory_part(path);
    return directory_part(from) == directory ? path.substr(directory.size()) : path;
}

void append_to(std::vector<std::byte>& bytes, std::span<const std::byte> more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
}

void add_entry(std::vector<std::byte>& table, size_t number, const JournalTarget& target,
               const std::string& path) {
    Entry entry{};
    entry.number = static_cast<uint32_t>(number);
    entry.path_length = static_cast<uint32_t>(path.size());
    entry.image_size = target.size;
    entry.new_size = target.new_size;
    append_to(table, record_bytes(entry));
    append_to(table, std::as_bytes(std::span(path)));
}

// A file's first bytes, up to the first record: the header, zeros where the mark will be, the table if there
// is one. `target` is the image of a journal without a table.
std::vector<std::byte> sealed_start(std::span<const std::byte> nonce, const JournalTarget& target,
                                    std::vector<std::byte> table) {
    Header header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    std::memcpy(header.nonce, nonce.data(), sizeof header.nonce);
    if (table.empty()) {
        header.version = kVersionOfOne;
        header.image_size = target.size;
        header.new_size = target.new_size;
    } else {
        const le32 crc = crc32c(table, crc32c(nonce));
        append_to(table, record_bytes(crc));
        header.version = kVersionOfSeveral;
        header.table_length = static_cast<uint32_t>(table.size());
    }
    header.crc = crc_of(header, 0);
    std::vector<std::byte> start(kBodyOffset);
    std::memcpy(start.data(), &header, sizeof header);
    append_to(start, table);
    return start;
}

}  // namespace

JournalWriter::JournalWriter(JournalFile& file, const std::vector<JournalTarget>& targets)
    : file_(file), targets_(targets) {
    draw_random(std::as_writable_bytes(std::span(nonce_)));
    seed_ = records_crc_ = crc32c(nonce_);
    std::vector<std::byte> table;
    if (targets_.size() > 1) {
        for (size_t i = 0; i < targets_.size(); ++i) {
            add_entry(table, i, targets_[i], name_beside(file_.name(), targets_[i].path));
        }
    }
    const std::vector<std::byte> start = sealed_start(nonce_, targets_[0], table);
    file_.create();
    buffer_.reserve(kBufferSize);
    append(start);
}

void JournalWriter::begin() {
    if (begun_) return;
    write_out();
    file_.sync();
    file_.sync_name();
    begun_ = true;
}

void JournalWriter::point_here(JournalFile& pointer, size_t target) {
    std::vector<std::byte> table;
    add_entry(table, target, targets_[target], name_beside(pointer.name(), file_.name()));
    pointer.write(0, sealed_start(nonce_, targets_[target], table));
    pointer.sync();
    pointer.sync_name();
}

void JournalWriter::set_target(size_t target) { target_ = target; }

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
    record.kind = static_cast<uint16_t>(kind);
    record.target = static_cast<uint16_t>(target_);
    record.offset = offset;
    record.length = length;
    record.checked = old.size();
    record.payload_crc = crc32c(data, crc32c(crc_bytes, seed_));
    record.crc = crc_of(record, seed_);
    records_crc_ = crc32c(record_bytes(record), records_crc_);
    ++records_;
    append(record_bytes(record));
    append(crc_bytes);
    append(data);
}

void JournalWriter::finish() {
    write_out();
    file_.sync();
    if (!begun_) file_.sync_name();
    begun_ = true;
}

void JournalWriter::commit() {
    Mark mark{};
    std::memcpy(mark.magic, kMarkMagic, sizeof kMarkMagic);
    mark.records = records_;
    mark.length = written_;
    mark.records_crc = records_crc_;
    mark.crc = crc_of(mark, seed_);
    file_.write(kMarkOffset, record_bytes(mark));
    file_.sync();
}

void JournalWriter::revoke() {
    file_.write(kMarkOffset, record_bytes(Mark{}));
    file_.sync();
}

void JournalReader::damaged(const char* what) const {
    throw Error(ErrorKind::kCorrupt,
                "the journal '" + file_.name() + "' is damaged (" + what +
                    "), so a change that was cut short can't be finished; restore the image "
                    "from a backup, or remove the journal to use the image as it is");
}

// What messages call a target.
std::string JournalReader::image_name(size_t target) const {
    return targets_[target].path.empty() ? "the image" : "the image '" + targets_[target].path + "'";
}

JournalReader::JournalReader(JournalFile& file) : file_(file) {
    if (!file_.open()) return;
    const uint64_t size = file_.size();
    std::byte start[kBodyOffset] = {};  // what is not there yet counts as zeros
    file_.read(0, std::span(start).first(std::min<uint64_t>(size, sizeof start)));
    Header header;
    std::memcpy(&header, start, sizeof header);
    std::memcpy(&mark_, start + kMarkOffset, sizeof mark_);
    const bool marked = !is_all_zeros(record_bytes(mark_));
    state_ = JournalState::kUncommitted;
    if (is_all_zeros(std::span(start).first(kSectorSize)) && !marked) return;  // a crash before it was synced
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
        throw Error(ErrorKind::kCorrupt,
                    "'" + file_.name() + "' has the name of the image's journal but is none; move it away");
    }
    const bool intact = header.crc == crc_of(header, 0);
    if (header.version == kVersionOfUndo) {  // its header was written when all else was in place
        if (!intact || header.image_size == 0) damaged("its header's checksum is wrong");
        targets_.push_back({header.image_size, header.image_size});
        state_ = JournalState::kUndo;
        return;
    }
    if (intact) read_targets(header);
    if (state_ == JournalState::kPointer || !marked) return;
    if (!intact) damaged("its header's checksum is wrong");
    if (targets_.empty()) damaged("what it says of its images is wrong");
    if (std::memcmp(mark_.magic, kMarkMagic, sizeof kMarkMagic) != 0 || mark_.crc != crc_of(mark_, seed_)) {
        damaged("its commit mark is wrong");
    }
    if (mark_.length != size) damaged("its length is wrong");
    state_ = JournalState::kCommitted;
}

// What an intact header says, and the table behind it. A table that isn't intact leaves no targets.
void JournalReader::read_targets(const Header& header) {
    if (header.version != kVersionOfOne && header.version != kVersionOfSeveral) {
        throw Error(ErrorKind::kUnsupported,
                    "the journal '" + file_.name() +
                        "' was written by a later version of this program; use that to "
                        "finish the change");
    }
    std::memcpy(nonce_, header.nonce, sizeof nonce_);
    seed_ = crc32c(nonce_);
    if (header.version == kVersionOfSeveral) {
        read_table(header.table_length);
    } else if (header.image_size != 0 && header.new_size != 0) {
        targets_.push_back({header.image_size, header.new_size});
    }
}

void JournalReader::read_table(uint64_t length) {
    if (length < sizeof(le32) || length > kMaxTableLength || !range_fits(kBodyOffset, length, file_.size()))
        return;
    std::vector<std::byte> table(length);
    file_.read(kBodyOffset, table);
    le32 crc;
    const std::span<const std::byte> entries = std::span(table).first(length - sizeof crc);
    std::memcpy(&crc, table.data() + entries.size(), sizeof crc);
    if (crc != crc32c(entries, seed_)) return;
    std::vector<JournalTarget> targets;
    uint64_t number = 0;
    for (uint64_t at = 0; at < entries.size();) {
        Entry entry;
        if (entries.size() - at < sizeof entry) return;
        std::memcpy(&entry, entries.data() + at, sizeof entry);
        at += sizeof entry;
        const uint64_t path_length = entry.path_length;
        if (path_length == 0 || path_length > kMaxPathLength || path_length > entries.size() - at) return;
        std::string path(reinterpret_cast<const char*>(entries.data() + at), path_length);
        at += path_length;
        if (path.find('\0') != path.npos || entry.image_size == 0 || entry.new_size == 0) return;
        if (path.find('/') == path.npos) path = directory_part(file_.name()) + path;
        if (path[0] != '/' || targets.size() == kMaxTargets) return;
        targets.push_back({entry.image_size, entry.new_size, std::move(path)});
        number = entry.number;
        if (targets.size() > 1 && number + 1 != targets.size()) return;
    }
    if (targets.empty() || (targets.size() == 1 && (number == 0 || number >= kMaxTargets))) return;
    if (targets.size() > 1) {
        targets_ = std::move(targets);
        records_offset_ = kBodyOffset + length;
        return;
    }
    state_ = JournalState::kPointer;
    pointer_ = {targets[0].path, number, targets[0].size, targets[0].new_size, {}};
    std::memcpy(pointer_.nonce, nonce_, sizeof nonce_);
}

bool JournalReader::is_meant_by(const JournalPointer& pointer) const noexcept {
    return pointer.target < targets_.size() && std::memcmp(pointer.nonce, nonce_, sizeof nonce_) == 0 &&
           pointer.size == targets_[pointer.target].size &&
           pointer.new_size == targets_[pointer.target].new_size;
}

std::optional<uint64_t> size_to_restore(uint64_t now, uint64_t size, uint64_t new_size) noexcept {
    if (now <= size || now > new_size) return std::nullopt;
    return size;
}

void JournalReader::check_sizes(Images images) const {
    for (size_t i = 0; i < targets_.size(); ++i) {
        if (images[i] == nullptr || images[i]->size() == targets_[i].new_size) continue;
        // One that is to become smaller may not be so yet.
        if (images[i]->size() == targets_[i].size && targets_[i].new_size < targets_[i].size) continue;
        throw Error(ErrorKind::kCorrupt,
                    "the journal '" + file_.name() + "' is for " + image_name(i) + " of " +
                        std::to_string(targets_[i].new_size) + " bytes, but it has " +
                        std::to_string(images[i]->size()) +
                        ": it was replaced or resized since a change to it was cut short; "
                        "remove the journal to use the image as it is");
    }
}

// Every record's checksum is checked before it is visited; what it says is within its image.
void JournalReader::for_each(Images images, const std::function<void(const Change&)>& visit) {
    check_sizes(images);
    const uint64_t end = mark_.length;
    uint64_t at = records_offset_, image_at = 0;
    size_t target = 0;
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
        records_crc = crc32c(record_bytes(record), records_crc);
        if (record.target < target || record.target >= targets_.size()) damaged("a record makes no sense");
        if (record.target > target) image_at = 0;
        target = record.target;
        const uint64_t image_size = std::min(targets_[target].size, targets_[target].new_size);
        const uint64_t offset = record.offset, length = record.length, checked = record.checked;
        const bool data = record.kind == static_cast<uint16_t>(Kind::kData);
        const bool possible = (data || record.kind == static_cast<uint16_t>(Kind::kZero)) && length > 0 &&
                              offset >= image_at && range_fits(offset, length, image_size) &&
                              offset % kSectorSize == 0 &&
                              (length % kSectorSize == 0 || offset + length == image_size) &&
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
        if (images[target] == nullptr) continue;
        visit({data ? Kind::kData : Kind::kZero,
               target,
               offset,
               length,
               {reinterpret_cast<const le32*>(payload.data()), sectors(checked)},
               std::span<const std::byte>(payload).subspan(crc_bytes)});
    }
    if (at != end) damaged("it goes on behind its records");
    if (mark_.records_crc != records_crc) damaged("records are missing");
}

void JournalReader::verify(Images images) {
    static constexpr std::byte kZeros[kSectorSize] = {};
    std::vector<std::byte> now;
    for_each(images, [&](const Change& change) {
        const uint64_t checked =
            change.kind == Kind::kData ? change.length : std::min(change.length, kZeroCheckedLength);
        now.resize(checked);
        images[change.target]->read(change.offset, now);
        for (size_t i = 0; i < change.old_crcs.size(); ++i) {
            const size_t at = i * kSectorSize, n = std::min<size_t>(kSectorSize, now.size() - at);
            const std::span<const std::byte> sector(now.data() + at, n);
            const std::byte* wanted = change.kind == Kind::kData ? change.data.data() + at : kZeros;
            if (std::memcmp(sector.data(), wanted, n) == 0) continue;
            if (crc32c(sector, seed_) == change.old_crcs[i]) continue;
            throw Error(
                ErrorKind::kCorrupt,
                image_name(change.target) + " was changed by another program (at offset " +
                    std::to_string(change.offset + at) + ") since a change to it, which the journal '" +
                    file_.name() +
                    "' holds, was cut short; finishing it now would destroy both; remove the journal to use "
                    "the image as it is, or restore the image");
        }
    });
}

void JournalReader::carry_out(Images images) {
    apply(images);
    for (size_t i = 0; i < targets_.size(); ++i) {
        if (images[i] == nullptr) continue;
        if (images[i]->size() > targets_[i].new_size) images[i]->resize(targets_[i].new_size);
        images[i]->flush();
    }
}

void JournalReader::apply(Images images) {
    for_each(images, [&](const Change& change) {
        if (change.kind == Kind::kData) {
            images[change.target]->write(change.offset, change.data);
        } else {
            images[change.target]->write_zeroes(change.offset, change.length, true);
        }
    });
}

}  // namespace inspect
