// SPDX-License-Identifier: LGPL-2.1-or-later
//
// SHA-256 of two messages at once. A CPU's SHA instructions wait for one another: each round needs what the
// last one made, so one message leaves the unit idle half of the time. The rounds of a second one fit in
// between, and two take little longer than one. OpenSSL hashes one after the other.
#pragma once

#include <cstddef>
#include <span>

namespace inspect::repository {

// Whether this CPU has the instructions.
bool can_hash_pairs() noexcept;

// The digests of `a` and `b`, which have the same length. Only where can_hash_pairs().
void hash_pair(std::span<const std::byte> a, std::span<const std::byte> b, std::span<std::byte, 32> digest_a,
               std::span<std::byte, 32> digest_b) noexcept;

}  // namespace inspect::repository
