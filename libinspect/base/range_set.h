// SPDX-License-Identifier: LGPL-2.1-or-later
//
// RangeSet: parts of a disk, in bytes: what is free, what is unchanged.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace inspect {

class RangeSet {
  public:
    struct Range {
        uint64_t begin, end;  // [begin, end)
    };

    // In any order; what overlaps or touches becomes one. Ascending additions are cheap. The range doesn't
    // wrap.
    void add(uint64_t offset, uint64_t length) {
        if (length == 0) return;
        Range added{offset, offset + length};
        auto first = std::ranges::lower_bound(ranges_, added.begin, {}, &Range::end);
        auto last = first;
        for (; last != ranges_.end() && last->begin <= added.end; ++last) {
            added.begin = std::min(added.begin, last->begin);
            added.end = std::max(added.end, last->end);
        }
        if (first == last) {
            ranges_.insert(first, added);
        } else {
            *first = added;
            ranges_.erase(first + 1, last);
        }
    }

    bool empty() const noexcept { return ranges_.empty(); }
    const std::vector<Range>& ranges() const noexcept { return ranges_; }
    uint64_t total() const {
        uint64_t sum = 0;
        for (const Range& range : ranges_) sum += range.end - range.begin;
        return sum;
    }
    bool covers(uint64_t offset, uint64_t length) const {
        const auto found = std::ranges::upper_bound(ranges_, offset, {}, &Range::end);
        return length == 0 ||
               (found != ranges_.end() && found->begin <= offset && found->end - offset >= length);
    }
    // Calls `part(offset, length)` for what of [offset, offset + length) is not in the set, ascending.
    template <typename Part>
    void for_each_gap(uint64_t offset, uint64_t length, Part part) const {
        const uint64_t end = offset + length;
        for (auto it = std::ranges::upper_bound(ranges_, offset, {}, &Range::end);
             it != ranges_.end() && it->begin < end; ++it) {
            if (it->begin > offset) part(offset, it->begin - offset);
            offset = it->end;
        }
        if (offset < end) part(offset, end - offset);
    }

  private:
    std::vector<Range> ranges_;  // ascending, apart
};

}  // namespace inspect
