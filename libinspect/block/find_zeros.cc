// SPDX-License-Identifier: LGPL-2.1-or-later
#include <algorithm>
#include <vector>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/zeros.h"
#include "block/sparse_copy.h"

namespace inspect {

namespace {

using State = OverlayStore::State;

constexpr uint64_t kStep = 4 << 20;

}  // namespace

void find_zeros(BlockDevice& image, OverlayStore& store, uint64_t unit,
                const std::function<void()>& may_stop) {
    if (unit == 0 || unit % OverlayStore::kBlockSize != 0)
        throw Error(ErrorKind::kUsage, "zeros are looked for in units of whole blocks");
    const uint64_t end = std::min(image.size(), store.size());
    std::vector<std::byte> bytes(unit);
    for (uint64_t step = 0; step < end; step += std::max(kStep, unit)) {
        if (may_stop) may_stop();
        const uint64_t step_end = std::min(end, step + std::max(kStep, unit));
        // What neither the image nor the changes have as data need not be looked at.
        if (!store.next_changed(step) || store.next_changed(step)->offset >= step_end) {
            const std::vector<Extent> extents = image.extents(step, step_end - step);
            if (std::none_of(extents.begin(), extents.end(),
                             [](const Extent& extent) { return extent.kind == ExtentKind::kData; }))
                continue;
        }
        for (uint64_t at = step; at < step_end; at += unit) {
            const uint64_t length = std::min(unit, step_end - at);
            bool zeros = true, data = false;
            for (uint64_t part = at; zeros && part < at + length;) {
                const OverlayStore::Run run = store.run_at(part, at + length);
                part = run.end();
                if (run.state == State::kZero) continue;
                zeros = run.state == State::kLower;
                if (!zeros) break;
                for (const Extent& extent : image.extents(run.offset, run.length)) {
                    if (extent.kind != ExtentKind::kData) continue;
                    data = true;
                    const auto piece = std::span(bytes).first(extent.length);
                    image.read(extent.offset, piece);
                    zeros = zeros && is_all_zeros(piece);
                }
            }
            if (zeros && data) store.set_zero(at, length);
        }
    }
}

}  // namespace inspect
