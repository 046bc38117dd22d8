// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The redo journal: all that a commit is going to change, in one image or in several, written down before the
// first byte of an image is touched. The format, and why it is as it is, are in docs/journal.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/endian.h"
#include "block/block_device.h"
#include "block/crc32c.h"
#include "block/journal_file.h"

namespace inspect {

namespace journal_format {

inline constexpr char kMagic[8] = {'I', 'N', 'S', 'P', 'J', 'R', 'N', 'L'};
inline constexpr char kMarkMagic[8] = {'I', 'N', 'S', 'P', 'M', 'A', 'R', 'K'};
inline constexpr uint32_t kVersionOfOne = 2;      // of a journal about one image
inline constexpr uint32_t kVersionOfSeveral = 3;  // of a journal about several, and of what points to it
inline constexpr uint32_t kVersionOfUndo = 4;     // of one that says what was (block/undo_log.h)
inline constexpr uint64_t kSectorSize = 512;
inline constexpr uint64_t kMarkOffset = 512;   // of Mark; a sector of its own, so that it can't tear
inline constexpr uint64_t kBodyOffset = 4096;  // of the table, if there is one, then the records
inline constexpr uint64_t kMaxTargets = 256;
inline constexpr uint64_t kMaxPathLength = 4096;
inline constexpr uint64_t kMaxTableLength = 1 << 20;
inline constexpr uint64_t kMaxDataLength = 1 << 20;
inline constexpr uint64_t kZeroCheckedLength = 4096;  // of a kZero record, from its start
inline constexpr uint32_t kRecordMagic = 0x44524352;  // "RCRD"

enum class Kind : uint16_t { kData = 1, kZero = 2, kUnused = 3 };  // kUnused: version 4 alone

struct Header {  // at 0
    char magic[8];
    le32 version;
    le32 table_length;    // bytes, its checksum included; 0 in version 2, which has no table
    le64 image_size;      // before; 0 in version 3, where this is in the table
    le64 new_size;        // after; what is beyond image_size was written to the image itself before the mark;
                          // a smaller one is where the image is cut once the records are applied
    std::byte nonce[16];  // random; every checksum starts from its checksum, so that no old journal's passes
    le32 crc;             // of the above, from 0
};
static_assert(sizeof(Header) == 52);

// An image that the journal is about; in the table, which ends with a le32, the CRC32C of all before it. A
// table of one entry makes the file a pointer: the entry is about the image that it is beside, but the path
// is the journal's.
struct Entry {  // then the path, without a NUL: a name in the same directory, or absolute
    le32 number;
    le32 path_length;
    le64 image_size;
    le64 new_size;
};
static_assert(sizeof(Entry) == 24);

struct Mark {  // at kMarkOffset; zeros until the journal is committed
    char magic[8];
    le64 records;      // how many
    le64 length;       // of the journal file; version 4: of the image, as it is to be
    le32 records_crc;  // of all record headers, in order
    le32 crc;          // of the above
};
static_assert(sizeof(Mark) == 32);

struct Record {  // then ceil(checked / 512) le32: CRC32C of the image's sectors before; then data, if kData
    le32 magic;
    le16 kind;
    le16 target;       // the number of the image in the table; 0 in version 2
    le64 offset;       // in the image; a multiple of 512
    le64 length;       // a multiple of 512, but at the image's end
    le64 checked;      // how many bytes have checksums: kData all, kZero min(length, kZeroCheckedLength)
    le32 payload_crc;  // of the checksums and the data
    le32 crc;          // of the above
};
static_assert(sizeof(Record) == 40);

// One of these structures as it is in the file.
template <typename T>
std::span<const std::byte> record_bytes(const T& object) {
    return std::as_bytes(std::span(&object, 1));
}

// Its checksum: of all but the checksum itself, which is last.
template <typename T>
uint32_t crc_of(const T& object, uint32_t seed) {
    return crc32c(record_bytes(object).first(sizeof(T) - sizeof(le32)), seed);
}

}  // namespace journal_format

// An image that a journal is about.
struct JournalTarget {
    uint64_t size;      // bytes, before
    uint64_t new_size;  // afterwards
    // Where it is: absolute, free of symbolic links. Not needed where there is but one: the journal is beside
    // it.
    std::string path = {};
};

// What is beside an image that a journal elsewhere is about.
struct JournalPointer {
    std::string journal;  // the journal's path
    size_t target;        // the image's number there
    uint64_t size;        // of the image, as in JournalTarget
    uint64_t new_size;
    std::byte nonce[16];  // the journal's
};

// Writes a journal and commits it. Uses bounded memory. The order of calls: any number of add_*, then
// finish(), then commit().
class JournalWriter {
  public:
    // Creates the file. `file` must outlive this; it is beside the first of the targets. A target that is to
    // grow is made longer by the caller, who then writes what is beyond its old size to it (nothing refers to
    // that yet), but only after begin() and, for another than the first, after point_here().
    JournalWriter(JournalFile& file, const std::vector<JournalTarget>& targets);

    // Syncs the header and the table: from now on an image that grew and was not committed is cut back.
    void begin();
    // Writes a pointer into `pointer`, a file that was just created beside the target, and syncs it and its
    // name. After begin(), and before anything is added that is about this target.
    void point_here(JournalFile& pointer, size_t target);

    // What is added from now on is about this target; they come in their order. Without this: the first.
    void set_target(size_t target);
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
    // Takes the mark back after a commit() that has thrown, and syncs that: the change won't happen.
    void revoke();

  private:
    void add(journal_format::Kind kind, uint64_t offset, uint64_t length, std::span<const std::byte> data,
             std::span<const std::byte> old);
    void append(std::span<const std::byte> bytes);
    void write_out();

    JournalFile& file_;
    const std::vector<JournalTarget> targets_;
    std::byte nonce_[16];
    uint32_t seed_ = 0;
    uint32_t records_crc_ = 0;
    uint64_t records_ = 0;
    uint64_t written_ = 0;  // bytes of the file
    size_t target_ = 0;
    bool begun_ = false;
    std::vector<std::byte> buffer_;
};

enum class JournalState {
    kNone,         // no file
    kUncommitted,  // was never committed: the images are untouched and the journal means nothing
    kCommitted,    // the images are, or are about to become, what the journal says
    kPointer,      // the journal is elsewhere
    kUndo,         // the image itself was being written: it is to become what it was (block/undo_log.h)
};

// Reads a journal that some program left. Believes nothing that a checksum doesn't vouch for.
class JournalReader {
  public:
    // Opens the file and finds out its state. `file` must outlive this. Throws Error(kCorrupt) for a file
    // that no crash of ours can have left, Error(kUnsupported) for one of a later version.
    explicit JournalReader(JournalFile& file);

    JournalState state() const noexcept { return state_; }
    std::string name() const { return file_.name(); }

    // What it is about, the paths absolute. Empty for a pointer, and for a journal that was not committed and
    // whose beginning was lost: then no image has grown yet.
    const std::vector<JournalTarget>& targets() const noexcept { return targets_; }
    // For a pointer.
    const JournalPointer& pointer() const noexcept { return pointer_; }
    // True when it is the journal that `pointer` means.
    bool is_meant_by(const JournalPointer& pointer) const noexcept;

    // The images that a journal is about, in the order of targets(). Null ones are left out.
    using Images = std::span<BlockDevice* const>;

    // For a committed journal. Checks all of it, and that every sector it is about is in its image as it was
    // before or as it is to be. Throws Error(kCorrupt) when the journal is damaged or when an image has been
    // changed by something else since.
    void verify(Images images);
    // Writes what the journal says to the images, checking its checksums once more. Call verify() first
    // unless the journal was written just now. Their sizes stay, and nothing is flushed.
    void apply(Images images);
    // The same, and then cuts off those that are to be smaller, and flushes.
    void carry_out(Images images);

  private:
    struct Change {
        journal_format::Kind kind;
        size_t target;
        uint64_t offset;
        uint64_t length;
        std::span<const le32> old_crcs;
        std::span<const std::byte> data;
    };
    void read_targets(const journal_format::Header& header);
    void read_table(uint64_t length);
    void check_sizes(Images images) const;
    void for_each(Images images, const std::function<void(const Change&)>& visit);
    std::string image_name(size_t target) const;
    [[noreturn]] void damaged(const char* what) const;

    JournalFile& file_;
    JournalState state_ = JournalState::kNone;
    std::vector<JournalTarget> targets_;
    JournalPointer pointer_{};
    std::byte nonce_[16] = {};
    uint32_t seed_ = 0;
    uint64_t records_offset_ = journal_format::kBodyOffset;
    journal_format::Mark mark_{};
};

// The size to which an image that is now `now` bytes long is to be cut back, because a change that was not
// committed had begun to make it longer. nullopt: it hadn't.
std::optional<uint64_t> size_to_restore(uint64_t now, uint64_t size, uint64_t new_size) noexcept;

}  // namespace inspect
