// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/commit.h"

#include <algorithm>
#include <array>
#include <optional>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/differences.h"
#include "block/format.h"
#include "block/iovec.h"

namespace inspect {

namespace {

using Run = OverlayStore::Run;
using State = OverlayStore::State;
constexpr uint64_t kBlockSize = OverlayStore::kBlockSize;
constexpr uint64_t kChunk = journal_format::kMaxDataLength;

// Walks an overlay's changes and hands what differs from the image to a journal.
class Collector {
  public:
    Collector(const OverlayStore& store, BlockDevice& image, JournalFile& journal, uint64_t new_size)
        : store_(store), image_(image), journal_(journal), old_size_(image.size()), new_size_(new_size) {}

    void collect() {
        if (new_size_ > old_size_) {
            open_writer().begin();
            image_.resize(new_size_);
        }
        for (auto run = store_.next_changed(0); run; run = store_.next_changed(run->end())) {
            collect_up_to(*run, std::min(old_size_, new_size_), &Collector::add_zeros, &Collector::add_data);
            if (run->end() <= old_size_) continue;
            const uint64_t from = std::max(run->offset, old_size_);
            collect_up_to({from, run->end() - from, run->state}, new_size_, nullptr, &Collector::append_data);
        }
        if (new_size_ > old_size_) image_.flush();
        if (new_size_ < old_size_) open_writer();  // that alone is a change
    }

    // Nothing when no change was found.
    std::optional<JournalWriter>& writer() { return writer_; }

  private:
    using Add = void (Collector::*)(const Run&);

    // The part of a run before `limit`: zeros as a whole, data in chunks.
    void collect_up_to(const Run& run, uint64_t limit, Add zeros, Add data) {
        const uint64_t end = std::min(run.end(), limit);
        if (run.offset >= end) return;
        if (run.state == State::kZero) {
            if (zeros) (this->*zeros)({run.offset, end - run.offset, run.state});
            return;
        }
        for (uint64_t at = run.offset; at < end;) {
            const uint64_t length = std::min(kChunk, end - at);
            (this->*data)({at, length, run.state});
            at += length;
        }
    }

    JournalWriter& open_writer() {
        if (!writer_) writer_.emplace(journal_, old_size_, new_size_);
        return *writer_;
    }

    // Beyond the end that the image had, where nothing is that would have to be kept.
    void append_data(const Run& run) {
        new_.resize(run.length);
        const iovec piece = to_iovec(std::span(new_));
        store_.read(run.state, run.offset, {&piece, 1});
        image_.write(run.offset, new_);
    }

    void add_data(const Run& run) {
        new_.resize(run.length);
        old_.resize(run.length);
        const iovec piece = to_iovec(std::span(new_));
        store_.read(run.state, run.offset, {&piece, 1});
        image_.read(run.offset, old_);
        // Blocks that were rewritten with what they had are left alone.
        for_each_difference(new_, old_, kBlockSize, [&](uint64_t at, uint64_t length) {
            open_writer().add_data(run.offset + at, std::span(new_).subspan(at, length),
                                   std::span(old_).subspan(at, length));
            // Room in the image's holes now, so that step 3 doesn't run out of it.
            image_.reserve(run.offset + at, length);
        });
    }

    void add_zeros(const Run& run) {
        uint64_t done = run.offset;
        for (const Extent& extent : image_.extents(run.offset, run.length)) {
            if (extent.kind == ExtentKind::kHole) continue;
            const uint64_t begin = std::max(align_down(extent.offset, kBlockSize), done);
            const uint64_t end = std::min(align_up(extent.offset + extent.length, kBlockSize), run.end());
            if (begin >= end) continue;
            old_.resize(std::min(end - begin, journal_format::kZeroCheckedLength));
            image_.read(begin, old_);
            open_writer().add_zero(begin, end - begin, old_);
            done = end;
        }
    }

    const OverlayStore& store_;
    BlockDevice& image_;
    JournalFile& journal_;
    const uint64_t old_size_;
    const uint64_t new_size_;
    std::optional<JournalWriter> writer_;
    std::vector<std::byte> new_, old_;
};

void check_first_sector(const OverlayStore& store) {
    std::array<std::byte, kFormatSector> sector = {};
    const auto bytes = std::span(sector).first(std::min<uint64_t>(sector.size(), store.size()));
    if (bytes.empty()) return;
    const Run run = store.run_at(0, bytes.size());
    if (run.state != State::kMemory && run.state != State::kSpill) return;
    const iovec piece = to_iovec(bytes);
    store.read(run.state, 0, {&piece, 1});
    refuse_foreign_format(bytes);
}

// What reads as zeros already, so that no journal need know of it.
void give_back_zeros(const OverlayStore& store, BlockDevice& image) {
    for (auto run = store.next_changed(0); run && run->offset < image.size();
         run = store.next_changed(run->end()))
        if (run->state == State::kZero)
            image.discard(run->offset, std::min(run->end(), image.size()) - run->offset);
}

void discard(JournalFile& journal) {
    journal.remove();
    journal.sync_name();
}

// For a change that was never committed: the image is as it was but for, perhaps, its length.
void discard(const JournalReader& reader, BlockDevice& image, JournalFile& journal) {
    if (auto size = reader.size_to_restore(image.size())) {
        image.resize(*size);
        image.flush();
    }
    discard(journal);
}

void finish(JournalReader& reader, BlockDevice& image, JournalFile& journal) {
    reader.apply(image);
    if (image.size() > reader.new_size()) image.resize(reader.new_size());
    image.flush();
    discard(journal);
}

}  // namespace

bool commit(const OverlayStore& store, BlockDevice& image, JournalFile& journal,
            const CommitOptions& options) {
    const uint64_t new_size = options.new_size ? options.new_size : image.size();
    const uint64_t old_size = image.size();
    if (options.new_size ? store.size() < new_size : store.size() != new_size) {
        throw Error(ErrorKind::kUsage, "the overlay and the image have different sizes");
    }
    if (options.protect_first_sector) check_first_sector(store);
    Collector collector(store, image, journal, new_size);
    try {
        collector.collect();
        if (!collector.writer()) {
            if (options.give_back) give_back_zeros(store, image);
            return false;
        }
        collector.writer()->finish();
        collector.writer()->commit();
    } catch (const Error&) {
        if (collector.writer()) {
            try {
                discard(journal);  // first: a mark that came through although its sync failed must not count
                if (image.size() > old_size) image.resize(old_size);
            } catch (const Error&) {
                // It lacks the mark, or has one that may count: either way the next open knows what to do.
            }
        }
        throw;
    }
    try {
        JournalReader reader(journal);
        if (reader.state() != JournalState::kCommitted) {
            throw Error(ErrorKind::kInternal, "the journal changed while it was in use");
        }
        finish(reader, image, journal);
    } catch (const Error& error) {
        throw error.with_context("the change is safe in '" + journal.name() +
                                 "' and will be finished when the image is next opened, but not now");
    }
    if (options.give_back) give_back_zeros(store, image);
    return true;
}

Recovery recover(BlockDevice& image, JournalFile& journal) {
    JournalReader reader(journal);
    switch (reader.state()) {
        case JournalState::kNone:
            return Recovery::kNothing;
        case JournalState::kUncommitted:
            discard(reader, image, journal);
            return Recovery::kDiscarded;
        case JournalState::kCommitted:
            break;
    }
    reader.verify(image);
    finish(reader, image, journal);
    return Recovery::kFinished;
}

}  // namespace inspect
