// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The redo journal: all that a commit is going to change in an image, written down before the first byte of
// the image is touched. The format, and why it is as it is, are in docs/journal.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/endian.h"
#include "block/block_device.h"
#include "block/journal_file.h"

namespace inspect {

namespace journal_format {

inline constexpr char kMagic[8] = {'I', 'N', 'S', 'P', 'J', 'R', 'N', 'L'};
inline constexpr char kMarkMagic[8] = {'I', 'N', 'S', 'P', 'M', 'A', 'R', 'K'};
inline constexpr uint32_t kVersion = 2;
inline constexpr uint64_t kSectorSize = 512;
inline constexpr uint64_t kMarkOffset = 512;      // of Mark; a sector of its own, so that it can't tear
inline constexpr uint64_t kRecordsOffset = 4096;  // of the first record
inline constexpr uint64_t kMaxDataLength = 1 << 20;
inline constexpr uint64_t kZeroCheckedLength = 4096;  // of a kZero record, from its start
inline constexpr uint32_t kRecordMagic = 0x44524352;  // "RCRD"

enum class Kind : uint32_t { kData = 1, kZero = 2 };

struct Header {  // at 0
    char magic[8];
    le32 version;
    le32 reserved;
    le64 image_size;      // before
    le64 new_size;        // after; what is beyond image_size was written to the image itself before the mark;
                          // a smaller one is where the image is cut once the records are applied
    std::byte nonce[16];  // random; every checksum starts from its checksum, so that no old journal's passes
    le32 crc;             // of the above, from 0
};
static_assert(sizeof(Header) == 52);

struct Mark {  // at kMarkOffset; zeros until the journal is committed
    char magic[8];
    le64 records;      // how many
    le64 length;       // of the journal file
    le32 records_crc;  // of all record headers, in order
    le32 crc;          // of the above
};
static_assert(sizeof(Mark) == 32);

struct Record {  // then ceil(checked / 512) le32: CRC32C of the image's sectors before; then data, if kData
    le32 magic;
    le32 kind;
    le64 offset;       // in the image; a multiple of 512
    le64 length;       // a multiple of 512, but at the image's end
    le64 checked;      // how many bytes have checksums: kData all, kZero min(length, kZeroCheckedLength)
    le32 payload_crc;  // of the checksums and the data
    le32 crc;          // of the above
};
static_assert(sizeof(Record) == 40);

}  // namespace journal_format

// Writes a journal and commits it. Uses bounded memory. The order of calls: any number of add_*, then
// commit().
class JournalWriter {
  public:
    // Creates the file. `file` must outlive this. When the image is to grow the caller gives its new_size
    // (else image_size), calls begin(), and then makes the image that long and writes what is beyond
    // image_size to it: nothing refers to that yet.
    JournalWriter(JournalFile& file, uint64_t image_size, uint64_t new_size);

    // Syncs the header, from which an image that grew and was not committed is cut back.
    void begin();

    // Records that [offset, offset + data.size()) is to be `data`, where now is `old`, of the same size.
    // At most kMaxDataLength bytes; offsets ascend over all records and ranges don't overlap. Sectors are
    // whole but for the last of the image.
    void add_data(uint64_t offset, std::span<const std::byte> data, std::span<const std::byte> old);
    // Records that [offset, offset + length) is to be zeros; old_start are the first
    // min(length, kZeroCheckedLength) bytes of what is there now.
    void add_zero(uint64_t offset, uint64_t length, std::span<const std::byte> old_start);

    // Writes out and syncs all but the mark.
    void finish();
    // After finish(): the mark, synced. When this returns the change will happen; when it throws it may.
    void commit();

  private:
    void add(journal_format::Kind kind, uint64_t offset, uint64_t length, std::span<const std::byte> data,
             std::span<const std::byte> old);
    void append(std::span<const std::byte> bytes);
    void write_out();

    JournalFile& file_;
    uint32_t seed_ = 0;
    uint32_t records_crc_ = 0;
    uint64_t records_ = 0;
    uint64_t written_ = 0;  // bytes of the file
    std::vector<std::byte> buffer_;
};

enum class JournalState {
    kNone,         // no file
    kUncommitted,  // was never committed: the image is untouched and the journal means nothing
    kCommitted,    // the image is, or is about to become, what the journal says
};

// Reads a journal that some program left. Believes nothing that a checksum doesn't vouch for.
class JournalReader {
  public:
    // Opens the file and finds out its state. `file` must outlive this. Throws Error(kCorrupt) for a file
    // that no crash of ours can have left, Error(kUnsupported) for one of a later version.
    explicit JournalReader(JournalFile& file);

    JournalState state() const noexcept { return state_; }

    // For an uncommitted journal: the size to which an image that is now `size` bytes long is to be cut back,
    // because the change that was not committed had begun to make it longer.
    std::optional<uint64_t> size_to_restore(uint64_t size) const noexcept;

    // For a committed journal: the image's size once all is done. A smaller one than it has is the caller's
    // to make, after apply().
    uint64_t new_size() const noexcept { return new_size_; }

    // For a committed journal. Checks all of it, and that every sector it is about is in `image` as it was
    // before or as it is to be. Throws Error(kCorrupt) when the journal is damaged or when the image has been
    // changed by something else since.
    void verify(BlockDevice& image);
    // Does what the journal says to `target`, checking its checksums once more. Call verify() first unless
    // the journal was written just now. Does not flush.
    void apply(BlockDevice& target);

  private:
    struct Entry {
        journal_format::Kind kind;
        uint64_t offset;
        uint64_t length;
        std::span<const le32> old_crcs;
        std::span<const std::byte> data;
    };
    void for_each(uint64_t image_size, const std::function<void(const Entry&)>& visit);
    [[noreturn]] void damaged(const char* what) const;

    JournalFile& file_;
    JournalState state_ = JournalState::kNone;
    uint64_t image_size_ = 0;  // 0 while the header isn't intact
    uint64_t new_size_ = 0;
    uint32_t seed_ = 0;
    journal_format::Mark mark_{};
};

}  // namespace inspect
