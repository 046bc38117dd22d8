// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arbitrary bytes as the journal beside a small image. What recovery does with them: it finishes, discards or
// refuses, never crashes, never writes outside of the image, and a refusal leaves the image as it was.
//
// Checksums would stop nearly every input at the door. So the first byte of the input says whether they are
// put right before recovery sees them, as a journal of a malicious owner's would be.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <inspect/error.h>

#include "block/commit.h"
#include "block/crc32c.h"
#include "block/faulty.h"
#include "block/overlay.h"

using namespace inspect;
using namespace inspect::journal_format;

namespace {

constexpr uint64_t kImageSize = 20'000;

template <typename T>
void seal(std::vector<std::byte>& bytes, uint64_t at, uint32_t seed) {
    std::span<std::byte> body(bytes.data() + at, sizeof(T) - sizeof(le32));
    le32 crc = crc32c(body, seed);
    std::memcpy(body.data() + body.size(), &crc, sizeof crc);
}

// Makes the bytes a journal that is right in all that is calculated: magics, checksums, sizes, the old
// sectors.
void put_right(std::vector<std::byte>& bytes, const std::vector<std::byte>& image, bool lengths_too) {
    Header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersion;
    header.image_size = kImageSize;
    std::memcpy(bytes.data(), &header, sizeof header);
    seal<Header>(bytes, 0, 0);
    const uint32_t seed = crc32c(header.nonce);
    Mark mark;
    std::memcpy(&mark, bytes.data() + kMarkOffset, sizeof mark);
    std::memcpy(mark.magic, kMarkMagic, sizeof kMarkMagic);
    uint64_t at = kRecordsOffset, count = 0;
    uint32_t records_crc = seed;
    while (bytes.size() - at >= sizeof(Record)) {
        Record record;
        std::memcpy(&record, bytes.data() + at, sizeof record);
        record.magic = kRecordMagic;
        if (lengths_too) {
            record.kind = 1 + (record.kind & 1);
            record.offset = record.offset % kImageSize / kSectorSize * kSectorSize;
            record.length =
                std::min<uint64_t>((1 + record.length % 8) * kSectorSize, kImageSize - record.offset);
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
            le32 crc =
                crc32c(std::span(image).subspan(sector, std::min(kSectorSize, kImageSize - sector)), seed);
            std::memcpy(bytes.data() + next + i * 4, &crc, sizeof crc);
        }
        record.payload_crc = crc32c(std::span(bytes).subspan(next, payload), seed);
        std::memcpy(bytes.data() + at, &record, sizeof record);
        seal<Record>(bytes, at, seed);
        records_crc = crc32c(std::span(bytes).subspan(at, sizeof record), records_crc);
        at = next + payload;
        ++count;
    }
    bytes.resize(at);
    mark.records = count;
    mark.length = at;
    mark.records_crc = records_crc;
    std::memcpy(bytes.data() + kMarkOffset, &mark, sizeof mark);
    seal<Mark>(bytes, kMarkOffset, seed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0 || size > 1 << 16) return 0;
    std::vector<std::byte> before(kImageSize);
    for (size_t i = 0; i < before.size(); ++i) before[i] = static_cast<std::byte>(i * 31 >> 3);
    const auto input = std::as_bytes(std::span(data, size)).subspan(1);
    std::vector<std::byte> bytes(input.begin(), input.end());
    if (data[0] % 4 != 0) {
        bytes.insert(bytes.begin(), kRecordsOffset, std::byte{0});
        put_right(bytes, before, data[0] % 4 != 1);
    }

    FaultPlan plan;
    FaultyDevice image(before, plan);
    FaultyJournalFile journal(plan);
    journal.put(bytes);
    Recovery recovery = Recovery::kNothing;
    try {
        recovery = recover(image, journal);
    } catch (const Error&) {
    }
    if (recovery != Recovery::kFinished && image.contents() != before) std::abort();
    if (recovery == Recovery::kFinished) {  // what a reader sees by way of his overlay is the same
        FaultyJournalFile again(plan);
        again.put(bytes);
        JournalReader reader(again);
        // A journal may make the image smaller; larger it was before the mark.
        if (image.size() != reader.new_size() || image.size() > kImageSize) std::abort();
        auto store = std::make_shared<OverlayStore>(OverlayStore::create(kImageSize, {}));
        auto below = std::make_unique<FaultyDevice>(before, plan);
        reader.verify(*below);
        Overlay overlay(std::move(below), store);
        reader.apply(overlay);
        std::vector<std::byte> seen(image.size());
        overlay.read(0, seen);
        if (seen != image.contents()) std::abort();
    }
    return 0;
}
