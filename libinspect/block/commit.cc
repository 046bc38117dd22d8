// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/commit.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/differences.h"
#include "block/format.h"
#include "block/iovec.h"
#include "block/journal.h"
#include "block/recovery.h"

namespace inspect {

namespace {

using Run = OverlayStore::Run;
using State = OverlayStore::State;
constexpr uint64_t kBlockSize = OverlayStore::kBlockSize;
constexpr uint64_t kChunk = journal_format::kMaxDataLength;

// Writes the journal of a commit as it is found out what differs.
class Transaction {
  public:
    explicit Transaction(std::span<const CommitTarget> targets) : targets_(targets) {
        for (const CommitTarget& target : targets_) {
            const uint64_t size = target.image->size(), wanted = target.options.new_size;
            const uint64_t new_size = wanted != 0 ? wanted : size;
            const bool fits =
                wanted != 0 ? target.store->size() >= new_size : target.store->size() == new_size;
            if (!fits) throw Error(ErrorKind::kUsage, "the overlay and the image have different sizes");
            sizes_.push_back({size, new_size, target.path});
        }
        joined_.resize(targets_.size());
    }

    const JournalTarget& sizes(size_t target) const { return sizes_[target]; }

    // For what changes in this target. Targets come in their order.
    JournalWriter& writer(size_t target) {
        if (!writer_) writer_.emplace(*targets_[0].journal, sizes_);
        if (!joined_[target] && target > 0) {
            writer_->begin();
            targets_[target].journal->create();
            joined_[target] = true;
            writer_->point_here(*targets_[target].journal, target);
        }
        joined_[target] = true;
        writer_->set_target(target);
        return *writer_;
    }

    bool empty() const { return !writer_; }

    void commit() {
        writer_->finish();
        marking_ = true;
        writer_->commit();
    }

    // Steps 3 and 4.
    void carry_out() {
        JournalFile& journal = *targets_[0].journal;
        JournalReader reader(journal);
        if (reader.state() != JournalState::kCommitted)
            throw Error(ErrorKind::kInternal, "the journal changed while it was in use");
        std::vector<BlockDevice*> images(targets_.size());
        for (size_t i = 0; i < targets_.size(); ++i)
            if (joined_[i]) images[i] = targets_[i].image;
        reader.carry_out(images);
        remove_journals();
    }

    // After an error on the way to the end of commit(). When this fails as well, the journal lacks the mark,
    // or has one that may count: either way the next open knows what to do.
    void abandon() {
        if (!writer_) return;
        try {
            if (marking_) writer_->revoke();  // a mark that came through although its sync failed
            for (size_t i = 0; i < targets_.size(); ++i)
                if (joined_[i]) restore_size(*targets_[i].image, sizes_[i].size, sizes_[i].new_size);
            remove_journals();
        } catch (const Error&) {
        }
    }

  private:
    void remove_journals() {
        for (size_t i = 1; i < targets_.size(); ++i)
            if (joined_[i]) remove_for_good(*targets_[i].journal);
        remove_for_good(*targets_[0].journal);
    }

    const std::span<const CommitTarget> targets_;
    std::vector<JournalTarget> sizes_;
    std::vector<bool>
        joined_;  // something changes in it; there is a pointer beside it, if it isn't the first
    std::optional<JournalWriter> writer_;  // nothing when no change was found
    bool marking_ = false;
};

// Walks an overlay's changes and hands what differs from the image to a transaction.
class Collector {
  public:
    Collector(const CommitTarget& target, size_t number, Transaction& transaction)
        : store_(*target.store),
          image_(*target.image),
          number_(number),
          transaction_(transaction),
          old_size_(transaction.sizes(number).size),
          new_size_(transaction.sizes(number).new_size) {}

    void collect() {
        if (new_size_ > old_size_) {
            writer().begin();
            image_.resize(new_size_);
        }
        for (auto run = store_.next_changed(0); run; run = store_.next_changed(run->end())) {
            collect_up_to(*run, std::min(old_size_, new_size_), &Collector::add_zeros, &Collector::add_data);
            if (run->end() <= old_size_) continue;
            const uint64_t from = std::max(run->offset, old_size_);
            collect_up_to({from, run->end() - from, run->state}, new_size_, &Collector::append_zeros,
                          &Collector::append_data);
        }
        if (new_size_ > old_size_) image_.flush();
        if (new_size_ < old_size_) writer();  // that alone is a change
    }

  private:
    using Add = void (Collector::*)(const Run&);

    // The part of a run before `limit`: zeros as a whole, data in chunks.
    void collect_up_to(const Run& run, uint64_t limit, Add zeros, Add data) {
        const uint64_t end = std::min(run.end(), limit);
        if (run.offset >= end) return;
        if (run.state == State::kZero) {
            (this->*zeros)({run.offset, end - run.offset, run.state});
            return;
        }
        for (uint64_t at = run.offset; at < end;) {
            const uint64_t length = std::min(kChunk, end - at);
            (this->*data)({at, length, run.state});
            at += length;
        }
    }

    JournalWriter& writer() { return transaction_.writer(number_); }

    // Beyond the end that the image had, where nothing is that would have to be kept.
    void append_data(const Run& run) {
        new_.resize(run.length);
        const iovec piece = to_iovec(std::span(new_));
        store_.read(run.state, run.offset, {&piece, 1});
        image_.write(run.offset, new_);
    }

    // What a logical volume got may hold anything.
    void append_zeros(const Run& run) { image_.write_zeroes(run.offset, run.length, true); }

    void add_data(const Run& run) {
        new_.resize(run.length);
        old_.resize(run.length);
        const iovec piece = to_iovec(std::span(new_));
        store_.read(run.state, run.offset, {&piece, 1});
        image_.read(run.offset, old_);
        // Blocks that were rewritten with what they had are left alone.
        for_each_difference(new_, old_, kBlockSize, [&](uint64_t at, uint64_t length) {
            writer().add_data(run.offset + at, std::span(new_).subspan(at, length),
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
            writer().add_zero(begin, end - begin, old_);
            done = end;
        }
    }

    const OverlayStore& store_;
    BlockDevice& image_;
    const size_t number_;
    Transaction& transaction_;
    const uint64_t old_size_;
    const uint64_t new_size_;
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
void give_back_zeros(std::span<const CommitTarget> targets) {
    for (const CommitTarget& target : targets) {
        if (!target.options.give_back) continue;
        const uint64_t size = target.image->size();
        for (auto run = target.store->next_changed(0); run && run->offset < size;
             run = target.store->next_changed(run->end()))
            if (run->state == State::kZero)
                target.image->discard(run->offset, std::min(run->end(), size) - run->offset);
    }
}

}  // namespace

bool commit(std::span<const CommitTarget> targets) {
    Transaction transaction(targets);
    for (const CommitTarget& target : targets)
        if (target.options.protect_first_sector) check_first_sector(*target.store);
    try {
        for (size_t i = 0; i < targets.size(); ++i) Collector(targets[i], i, transaction).collect();
        if (transaction.empty()) {
            give_back_zeros(targets);
            return false;
        }
        transaction.commit();
    } catch (const Error&) {
        transaction.abandon();
        throw;
    }
    try {
        transaction.carry_out();
    } catch (const Error& error) {
        throw error.with_context("the change is safe in '" + targets[0].journal->name() +
                                 "' and will be finished when the image is next opened, but not now");
    }
    give_back_zeros(targets);
    return true;
}

bool commit(const OverlayStore& store, BlockDevice& image, JournalFile& journal,
            const CommitOptions& options) {
    const CommitTarget target{&store, &image, &journal, options};
    return commit({&target, 1});
}

}  // namespace inspect
