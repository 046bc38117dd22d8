// SPDX-License-Identifier: GPL-2.0-or-later
//
// RankBitmap: bits that can be counted up to any place, and the place of the nth zero, both without going
// through them. What is moved is numbered by it, in a bit for each place where a table would take 32.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace inspect::agent {

class RankBitmap {
  public:
    // `size` zeros. Throws std::bad_alloc.
    explicit RankBitmap(uint64_t size) : size_(size), words_(size / kWord + 1) {}

    uint64_t size() const { return size_; }
    // `at` is below size(), here and below.
    bool test(uint64_t at) const { return words_[at / kWord] >> (at % kWord) & 1; }
    // Whether it was zero.
    bool set(uint64_t at) {
        uint64_t& word = words_[at / kWord];
        const uint64_t bit = uint64_t{1} << (at % kWord);
        const bool fresh = !(word & bit);
        word |= bit;
        return fresh;
    }

    // To be called after the last set(), before what follows.
    void count() {
        before_.assign(words_.size() / kBlock + 1, 0);
        uint64_t ones = 0;
        for (size_t i = 0; i < words_.size(); ++i) {
            if (i % kBlock == 0) before_[i / kBlock] = ones;
            ones += static_cast<uint64_t>(std::popcount(words_[i]));
        }
        ones_ = ones;
    }
    uint64_t ones() const { return ones_; }
    // How many there are before `at`, which may be size().
    uint64_t ones_before(uint64_t at) const {
        const size_t word = at / kWord;
        uint64_t ones = before_[word / kBlock];
        for (size_t i = word / kBlock * kBlock; i < word; ++i)
            ones += static_cast<uint64_t>(std::popcount(words_[i]));
        const uint64_t mask = (uint64_t{1} << (at % kWord)) - 1;
        return ones + static_cast<uint64_t>(std::popcount(words_[word] & mask));
    }
    uint64_t zeros_before(uint64_t at) const { return at - ones_before(at); }
    // The place of the zero that `number` zeros are before of; there is one.
    uint64_t zero(uint64_t number) const {
        // The last block with no more zeros before it.
        size_t least = 0;
        size_t most = before_.size() - 1;
        while (least < most) {
            const size_t block = least + (most - least + 1) / 2;
            if (block * kBlock * kWord - before_[block] <= number)
                least = block;
            else
                most = block - 1;
        }
        number -= least * kBlock * kWord - before_[least];
        for (size_t i = least * kBlock; i < words_.size(); ++i) {
            uint64_t zeros = ~words_[i];
            const auto here = static_cast<uint64_t>(std::popcount(zeros));
            if (number >= here) {
                number -= here;
                continue;
            }
            for (; number > 0; --number) zeros &= zeros - 1;
            return i * kWord + static_cast<uint64_t>(std::countr_zero(zeros));
        }
        return size_;
    }
    // The first one at `at` or after it; size() when there is none.
    uint64_t next_one(uint64_t at) const { return next(at, 0); }
    uint64_t next_zero(uint64_t at) const { return next(at, ~uint64_t{0}); }

  private:
    static constexpr uint64_t kWord = 64;
    static constexpr size_t kBlock = 16;  // words

    uint64_t next(uint64_t at, uint64_t flip) const {
        if (at >= size_) return size_;
        uint64_t word = (words_[at / kWord] ^ flip) & (~uint64_t{0} << (at % kWord));
        size_t i = at / kWord;
        while (word == 0) {
            if (++i == words_.size()) return size_;
            word = words_[i] ^ flip;
        }
        return std::min(size_, i * kWord + static_cast<uint64_t>(std::countr_zero(word)));
    }

    uint64_t size_;
    std::vector<uint64_t> words_;
    std::vector<uint64_t> before_;  // ones before each block
    uint64_t ones_ = 0;
};

}  // namespace inspect::agent
