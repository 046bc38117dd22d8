// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/compression.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <new>
#include <string>

#include <inspect/error.h>

namespace inspect::repository {

namespace {

// Windows that are larger would take too much memory; restic's levels use at most 8 MiB.
constexpr int kMaxWindowLog = 27;

[[noreturn]] void damaged_compression(const std::string& why) {
    throw Error(ErrorKind::kCorrupt, "it can't be decompressed: " + why);
}

ZSTD_CCtx* compressor() {
    thread_local const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(::ZSTD_createCCtx(),
                                                                                  ::ZSTD_freeCCtx);
    if (!context) throw std::bad_alloc();
    return context.get();
}

ZSTD_DCtx* decompressor() {
    thread_local const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(::ZSTD_createDCtx(),
                                                                                  ::ZSTD_freeDCtx);
    if (!context) throw std::bad_alloc();
    ::ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_and_parameters);
    ::ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
    return context.get();
}

// zstd's levels above the first look harder for what was there before, and the more of it seems to be there
// by chance, the longer. In what has no repetitions (numbers, base64, what is compressed already) that takes
// eight times as long as the first level, and the result is larger. So samples of it are compressed by the
// first level: has that found nothing that makes them smaller than their bytes' frequencies would, it is used
// for all.
constexpr int kFirstLevel = 1, kPatientLevel = 4;  // who asks for that level or more wants the smallest
constexpr size_t kSamples = 4, kSampleSize = 4096;

// What a perfect code of single bytes would make of it.
double entropy_in_bytes(std::span<const std::byte> bytes) {
    std::array<size_t, 256> counts{};
    for (const std::byte byte : bytes) ++counts[std::to_integer<size_t>(byte)];
    double bits = 0;
    for (const size_t count : counts)
        if (count != 0)
            bits += static_cast<double>(count) *
                    std::log2(static_cast<double>(bytes.size()) / static_cast<double>(count));
    return bits / 8;
}

bool seems_to_repeat(std::span<const std::byte> plain) {
    std::array<std::byte, kSamples * kSampleSize> samples;
    if (plain.size() < 2 * samples.size()) return true;
    for (size_t i = 0; i < kSamples; ++i)
        std::ranges::copy(plain.subspan(plain.size() / kSamples * i, kSampleSize),
                          samples.begin() + i * kSampleSize);
    const double entropy = entropy_in_bytes(samples);
    if (entropy < samples.size() / 8.0) return true;  // hardly anything but zeros
    std::array<std::byte, ZSTD_COMPRESSBOUND(samples.size())> out;
    const size_t size = ::ZSTD_compressCCtx(compressor(), out.data(), out.size(), samples.data(),
                                            samples.size(), kFirstLevel);
    return ::ZSTD_isError(size) != 0 || static_cast<double>(size) < entropy;
}

}  // namespace

Bytes compress(std::span<const std::byte> plain, int level) {
    if (plain.empty()) return {};
    if (level > kFirstLevel && level < kPatientLevel && !seems_to_repeat(plain)) level = kFirstLevel;
    thread_local Bytes buffer;
    buffer.resize(std::max(buffer.size(), ::ZSTD_compressBound(plain.size())));
    const size_t size =
        ::ZSTD_compressCCtx(compressor(), buffer.data(), buffer.size(), plain.data(), plain.size(), level);
    if (::ZSTD_isError(size) != 0 || size >= plain.size()) return {};
    return {buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(size)};
}

Bytes decompress(std::span<const std::byte> compressed, size_t size) {
    if (size > kMaxObjectSize) damaged_compression("it claims to be " + std::to_string(size) + " bytes");
    Bytes plain(size);
    const size_t got = ::ZSTD_decompressDCtx(decompressor(), plain.data(), plain.size(), compressed.data(),
                                             compressed.size());
    if (::ZSTD_isError(got) != 0) damaged_compression(::ZSTD_getErrorName(got));
    if (got != size) damaged_compression("it is shorter than it claims to be");
    return plain;
}

Bytes decompress_unknown_size(std::span<const std::byte> compressed) {
    ZSTD_DCtx* const context = decompressor();
    Bytes plain;
    ZSTD_inBuffer from{compressed.data(), compressed.size(), 0};
    while (true) {
        const size_t step = std::max<size_t>(plain.size(), ::ZSTD_DStreamOutSize());
        if (plain.size() + step > kMaxObjectSize) damaged_compression("it grows beyond all bounds");
        const size_t start = plain.size();
        plain.resize(start + step);
        ZSTD_outBuffer to{plain.data() + start, step, 0};
        const size_t before = from.pos;
        const size_t rest = ::ZSTD_decompressStream(context, &to, &from);
        if (::ZSTD_isError(rest) != 0) damaged_compression(::ZSTD_getErrorName(rest));
        plain.resize(start + to.pos);
        if (rest == 0 && from.pos == from.size) return plain;
        if (to.pos == 0 && from.pos == before) damaged_compression("it ends too early");
    }
}

}  // namespace inspect::repository
