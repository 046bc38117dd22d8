// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Work on numbered items by several threads, while the one that called shows how far it is.
#pragma once

#include <cstddef>
#include <functional>

namespace inspect {

// Calls `work(0)` to `work(count - 1)`, each once, in several threads, roughly in order. Meanwhile `tick` is
// called some times a second, and once at the end, in the calling thread. The first exception that either
// throws is thrown again here, after the calls under way have ended; no further ones are begun then.
void work_in_parallel(size_t count, unsigned threads, const std::function<void(size_t)>& work,
                      const std::function<void()>& tick);

// For work that computes and waits for storage by turns.
unsigned useful_threads();

}  // namespace inspect
