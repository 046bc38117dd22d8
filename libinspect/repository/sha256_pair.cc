// SPDX-License-Identifier: LGPL-2.1-or-later
//
// FIPS 180-4, and Intel's "SHA Extensions": SHA256RNDS2 does two rounds on a state that is kept as the words
// ABEF and CDGH; SHA256MSG1 and SHA256MSG2 make four words of the message's schedule.
#include "repository/sha256_pair.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "base/endian.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace inspect::repository {

#if defined(__x86_64__)

namespace {

constexpr size_t kBlock = 64, kLengthField = 8;
constexpr unsigned kShaFlag = 1U << 29;  // of CPUID's leaf 7, in EBX

alignas(16) constexpr uint32_t kConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

struct State {
    // The words from the first (A) to the last (H), in the order in which SHA256RNDS2 has them.
    alignas(16) uint32_t abef[4] = {0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667};
    alignas(16) uint32_t cdgh[4] = {0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372};

    void store(std::span<std::byte, 32> digest) const {
        const std::array<be32, 8> words{abef[3], abef[2], cdgh[3], cdgh[2],
                                        abef[1], abef[0], cdgh[1], cdgh[0]};
        std::memcpy(digest.data(), words.data(), sizeof words);
    }
};

// One message's part of four rounds; which ones is known when it is compiled.
struct Lane {
    __m128i abef, cdgh, words[4];

    __attribute__((target("sha,sse4.1"), always_inline)) inline void rounds(const std::byte* block,
                                                                            size_t group) {
        __m128i& now = words[group % 4];
        if (group < 4) {
            const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
            now = _mm_shuffle_epi8(
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + group * sizeof now)), big_endian);
        } else {
            const __m128i last = words[(group + 3) % 4];
            const __m128i seven_ago = _mm_alignr_epi8(last, words[(group + 2) % 4], 4);
            const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, words[(group + 1) % 4]), seven_ago);
            now = _mm_sha256msg2_epu32(sum, last);
        }
        const __m128i input =
            _mm_add_epi32(now, _mm_load_si128(reinterpret_cast<const __m128i*>(kConstants + group * 4)));
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, input);
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(input, 0x0e));
    }
};

__attribute__((target("sha,sse4.1"))) void compress_pair(State& a, State& b, const std::byte* block_a,
                                                         const std::byte* block_b, size_t blocks) {
    const auto load = [](const uint32_t* words) __attribute__((target("sha,sse4.1"))) {
        return _mm_load_si128(reinterpret_cast<const __m128i*>(words));
    };
    Lane first{load(a.abef), load(a.cdgh), {}}, second{load(b.abef), load(b.cdgh), {}};
    for (; blocks > 0; --blocks, block_a += kBlock, block_b += kBlock) {
        const Lane before_first = first, before_second = second;
#pragma GCC unroll 16
        for (size_t group = 0; group < 16; ++group) {
            first.rounds(block_a, group);
            second.rounds(block_b, group);
        }
        first.abef = _mm_add_epi32(first.abef, before_first.abef);
        first.cdgh = _mm_add_epi32(first.cdgh, before_first.cdgh);
        second.abef = _mm_add_epi32(second.abef, before_second.abef);
        second.cdgh = _mm_add_epi32(second.cdgh, before_second.cdgh);
    }
    const auto store = [](uint32_t * words, __m128i value) __attribute__((target("sha,sse4.1"))) {
        _mm_store_si128(reinterpret_cast<__m128i*>(words), value);
    };
    store(a.abef, first.abef);
    store(a.cdgh, first.cdgh);
    store(b.abef, second.abef);
    store(b.cdgh, second.cdgh);
}

// What follows the last whole block of a message: its rest, a one, zeros, and its length in bits.
struct Ending {
    std::array<std::byte, 2 * kBlock> bytes{};
    size_t blocks;

    explicit Ending(std::span<const std::byte> message) {
        const auto rest = message.last(message.size() % kBlock);
        std::ranges::copy(rest, bytes.begin());
        bytes[rest.size()] = std::byte{0x80};
        blocks = rest.size() + 1 + kLengthField > kBlock ? 2 : 1;
        const be64 bits = message.size() * 8;
        std::memcpy(bytes.data() + blocks * kBlock - kLengthField, &bits, sizeof bits);
    }
};

}  // namespace

bool can_hash_pairs() noexcept {
    static const bool can = [] {
        unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
        return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & kShaFlag) != 0 &&
               __builtin_cpu_supports("sse4.1");
    }();
    return can;
}

void hash_pair(std::span<const std::byte> a, std::span<const std::byte> b, std::span<std::byte, 32> digest_a,
               std::span<std::byte, 32> digest_b) noexcept {
    State state_a, state_b;
    compress_pair(state_a, state_b, a.data(), b.data(), a.size() / kBlock);
    const Ending ending_a(a), ending_b(b);
    compress_pair(state_a, state_b, ending_a.bytes.data(), ending_b.bytes.data(), ending_a.blocks);
    state_a.store(digest_a);
    state_b.store(digest_b);
}

#else

bool can_hash_pairs() noexcept { return false; }
void hash_pair(std::span<const std::byte>, std::span<const std::byte>, std::span<std::byte, 32>,
               std::span<std::byte, 32>) noexcept {}

#endif

}  // namespace inspect::repository
