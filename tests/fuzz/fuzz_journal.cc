// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arbitrary bytes as the journal beside a small image, or as what is beside two images that are changed
// together. What recovery does with them: it finishes, discards or refuses, never crashes, never writes
// outside of the images, and a refusal leaves the images as they were.
//
// The journal may also be one that says what was (block/undo_log.h): then the image changes when it is
// discarded, and a second time makes no difference.
//
// Checksums would stop nearly every input at the door. So the first byte of the input says whether they are
// put right before recovery sees them, as a journal of a malicious owner's would be.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include <inspect/error.h>

#include "block/crc32c.h"
#include "block/faulty.h"
#include "block/memory_device.h"
#include "block/overlay.h"
#include "block/recovery.h"

using namespace inspect;
using namespace inspect::journal_format;

namespace {

using Bytes = std::vector<std::byte>;

constexpr uint64_t kImageSize = 20'000;
constexpr uint64_t kSmallerSize = 5 * kSectorSize;
constexpr std::string_view kNames[] = {"a", "b"};

// The first byte of the input.
struct Mode {
    explicit Mode(uint8_t byte)
        : as_it_is(byte % 4 == 0),
          lengths_too(byte % 4 >= 2),
          several((byte & 4) != 0),
          open_second((byte & 8) != 0),
          shrink((byte & 16) != 0),
          swapped((byte & 32) != 0),
          undo((byte & 64) != 0),
          marked((byte & 128) != 0) {}
    bool as_it_is;     // the input is the journal
    bool lengths_too;  // kinds, offsets and lengths are put right as well
    bool several;      // two images; the second one has a pointer beside it
    bool open_second;
    bool shrink;   // they are to be smaller
    bool swapped;  // the input is the pointer, and the journal is empty but right
    bool undo;     // the input is the records of an undo journal
    bool marked;   // which is complete
};

template <typename T>
void put(Bytes& bytes, uint64_t at, const T& object) {
    if (bytes.size() < at + sizeof object) bytes.resize(at + sizeof object);
    std::memcpy(bytes.data() + at, &object, sizeof object);
}

template <typename T>
void seal(Bytes& bytes, uint64_t at, uint32_t seed) {
    const std::span<std::byte> body(bytes.data() + at, sizeof(T) - sizeof(le32));
    const le32 crc = crc32c(body, seed);
    std::memcpy(body.data() + body.size(), &crc, sizeof crc);
}

void add_entry(Bytes& table, uint32_t number, uint64_t new_size, std::string_view path) {
    Entry entry{};
    entry.number = number;
    entry.path_length = static_cast<uint32_t>(path.size());
    entry.image_size = kImageSize;
    entry.new_size = new_size;
    put(table, table.size(), entry);
    for (const char c : path) table.push_back(static_cast<std::byte>(c));
}

// A file up to its first record; without a table when that is empty.
Bytes start_of(Bytes table, uint64_t new_size) {
    Header header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = table.empty() ? kVersionOfOne : kVersionOfSeveral;
    header.image_size = kImageSize;
    header.new_size = new_size;
    if (!table.empty()) {
        const le32 crc = crc32c(table, crc32c(header.nonce));
        put(table, table.size(), crc);
        header.table_length = static_cast<uint32_t>(table.size());
    }
    Bytes start(kBodyOffset);
    put(start, 0, header);
    seal<Header>(start, 0, 0);
    start.insert(start.end(), table.begin(), table.end());
    return start;
}

Bytes pointer(uint64_t new_size) {
    Bytes table;
    add_entry(table, 1, new_size, "a.insp-journal");
    return start_of(table, new_size);
}

// A journal with these records that is right in all that is calculated: magics, checksums, the old sectors.
Bytes journal_of(std::span<const std::byte> records, const Bytes& image, const Mode& mode) {
    const uint64_t new_size = mode.shrink ? kSmallerSize : kImageSize;
    Bytes table;
    for (uint32_t i = 0; mode.several && i < 2; ++i) add_entry(table, i, new_size, kNames[i]);
    Bytes bytes = start_of(table, new_size);
    uint64_t at = bytes.size(), count = 0;
    bytes.insert(bytes.end(), records.begin(), records.end());
    const uint32_t seed = crc32c(Header{}.nonce);
    uint32_t records_crc = seed;
    while (bytes.size() - at >= sizeof(Record)) {
        Record record;
        std::memcpy(&record, bytes.data() + at, sizeof record);
        record.magic = kRecordMagic;
        if (mode.lengths_too) {
            record.kind = static_cast<uint16_t>(1 + (record.kind & 1));
            record.target = static_cast<uint16_t>(mode.several ? record.target & 1 : 0);
            record.offset = record.offset % new_size / kSectorSize * kSectorSize;
            record.length =
                std::min<uint64_t>((1 + record.length % 8) * kSectorSize, new_size - record.offset);
            record.checked = uint64_t{record.length};
        }
        const uint64_t checked = std::min<uint64_t>(record.checked, kImageSize);
        const uint64_t crcs = (checked + kSectorSize - 1) / kSectorSize;
        const uint64_t payload =
            crcs * 4 + (record.kind == 1 ? std::min<uint64_t>(record.length, 1 << 20) : 0);
        const uint64_t next = at + sizeof record;
        if (payload > bytes.size() - next) break;
        for (uint64_t i = 0; i < crcs && record.offset < kImageSize; ++i) {
            const uint64_t sector = record.offset + i * kSectorSize;
            if (sector >= kImageSize) break;
            const le32 crc =
                crc32c(std::span(image).subspan(sector, std::min(kSectorSize, kImageSize - sector)), seed);
            std::memcpy(bytes.data() + next + i * 4, &crc, sizeof crc);
        }
        record.payload_crc = crc32c(std::span(bytes).subspan(next, payload), seed);
        put(bytes, at, record);
        seal<Record>(bytes, at, seed);
        records_crc = crc32c(std::span(bytes).subspan(at, sizeof record), records_crc);
        at = next + payload;
        ++count;
    }
    bytes.resize(at);
    Mark mark{};
    std::memcpy(mark.magic, kMarkMagic, sizeof kMarkMagic);
    mark.records = count;
    mark.length = at;
    mark.records_crc = records_crc;
    put(bytes, kMarkOffset, mark);
    seal<Mark>(bytes, kMarkOffset, seed);
    return bytes;
}

// An undo journal with these records; what is left over is one that was being written.
Bytes undo_journal_of(std::span<const std::byte> records, const Mode& mode) {
    Header header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersionOfUndo;
    header.image_size = header.new_size = kImageSize;
    Bytes bytes(kBodyOffset);
    put(bytes, 0, header);
    seal<Header>(bytes, 0, 0);
    const uint32_t seed = crc32c(Header{}.nonce);
    if (mode.marked) {
        Mark mark{};
        std::memcpy(mark.magic, kMarkMagic, sizeof kMarkMagic);
        mark.length = mode.shrink ? kSmallerSize : kImageSize;
        put(bytes, kMarkOffset, mark);
        seal<Mark>(bytes, kMarkOffset, seed);
    }
    uint64_t at = bytes.size();
    bytes.insert(bytes.end(), records.begin(), records.end());
    while (bytes.size() - at >= sizeof(Record)) {
        Record record;
        std::memcpy(&record, bytes.data() + at, sizeof record);
        record.magic = kRecordMagic;
        if (mode.lengths_too) {
            record.kind = static_cast<uint16_t>(1 + record.kind % 3);
            record.target = 0;
            record.checked = 0;
            record.offset = record.offset % kImageSize;
            record.length = std::min<uint64_t>(1 + record.length % 3000, kImageSize - record.offset);
        }
        const uint64_t next = at + sizeof record;
        const uint64_t payload = record.kind == 1 ? std::min<uint64_t>(record.length, 1 << 20) : 0;
        if (payload > bytes.size() - next) break;
        record.payload_crc = crc32c(std::span(bytes).subspan(next, payload), seed);
        put(bytes, at, record);
        seal<Record>(bytes, at, seed);
        at = next + payload;
    }
    return bytes;
}

// Two images of the same contents, and what is beside them.
struct Scene {
    Scene(const Bytes& before, const Bytes& journal, const Bytes& beside_second) {
        for (size_t i = 0; i < 2; ++i) {
            const std::string path = "/vm/" + std::string(kNames[i]);
            images[i] = std::make_unique<FaultyDevice>(before, plan);
            beside[i] = std::make_unique<FaultyJournalFile>(plan, path + ".insp-journal");
            files.add(path, *images[i], *beside[i]);
        }
        beside[0]->put(journal);
        if (!beside_second.empty()) beside[1]->put(beside_second);
    }
    FaultPlan plan;
    std::array<std::unique_ptr<FaultyDevice>, 2> images;
    std::array<std::unique_ptr<FaultyJournalFile>, 2> beside;
    FaultyFiles files;
};

void require(bool condition) {
    if (!condition) std::abort();
}

// What a reader sees by way of his overlay.
Bytes shown(Scene& scene, size_t opened) {
    FoundJournal found(*scene.beside[opened], &scene.files);
    const Bytes& now = scene.images[opened]->contents();
    auto store = std::make_shared<OverlayStore>(OverlayStore::create(now.size(), {}));
    MemoryDevice image(now);
    Overlay overlay(std::make_unique<MemoryDevice>(now), store);
    found.show(image, overlay);
    Bytes seen(now.size());
    overlay.read(0, seen);
    return seen;
}

bool is_undo_journal(Scene& scene) {
    try {
        return JournalReader(*scene.beside[0]).state() == JournalState::kUndo;
    } catch (const Error&) {
        return false;
    }
}

void fuzz_undo(Scene& scene, const Bytes& before, const Bytes& journal) {
    try {
        recover(*scene.images[0], *scene.beside[0]);
    } catch (const Error&) {
        require(scene.images[0]->contents() == before);
        return;
    }
    require(!scene.beside[0]->open());
    require(scene.images[0]->size() <= kImageSize);
    Scene again(scene.images[0]->contents(), journal, {});
    recover(*again.images[0], *again.beside[0]);
    require(again.images[0]->contents() == scene.images[0]->contents());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0 || size > 1 << 16) return 0;
    const Mode mode(data[0]);
    Bytes before(kImageSize);
    for (size_t i = 0; i < before.size(); ++i) before[i] = static_cast<std::byte>(i * 31 >> 3);
    const auto input = std::as_bytes(std::span(data, size)).subspan(1);
    const uint64_t new_size = mode.shrink ? kSmallerSize : kImageSize;

    Bytes journal(input.begin(), input.end()), beside_second;
    if (!mode.as_it_is) {
        journal = mode.undo ? undo_journal_of(input, mode) : journal_of(input, before, mode);
    }
    if (mode.several) beside_second = pointer(new_size);
    if (mode.several && mode.swapped) {
        beside_second.assign(input.begin(), input.end());
        journal = journal_of({}, before, mode);
    }
    const size_t opened = mode.several && mode.open_second ? 1 : 0;
    Scene scene(before, journal, beside_second);
    if (is_undo_journal(scene)) {
        fuzz_undo(scene, before, journal);
        return 0;
    }
    Recovery recovery = Recovery::kNothing;
    try {
        recovery = FoundJournal(*scene.beside[opened], &scene.files).recover(*scene.images[opened]);
    } catch (const Error&) {
    }
    for (const auto& image : scene.images) {
        require(image->size() <= kImageSize);
        require(recovery == Recovery::kFinished || image->contents() == before);
    }
    if (recovery != Recovery::kFinished) return 0;
    require(!scene.beside[opened]->open());
    require(mode.as_it_is || scene.images[opened]->size() == new_size);
    Scene again(before, journal, beside_second);
    Bytes seen = shown(again, opened);
    seen.resize(scene.images[opened]->size());
    require(seen == scene.images[opened]->contents());
    return 0;
}
