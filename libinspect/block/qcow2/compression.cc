// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2/compression.h"

#include <zlib.h>
#include <zstd.h>

#include <memory>
#include <new>
#include <string>

#include <inspect/error.h>

namespace inspect {

namespace {

// QEMU reads no larger deflate window than this; whoever writes one larger can be read here all the same.
constexpr int kDeflateWindow = -12;
constexpr int kInflateWindow = -15;
// A frame may ask for a window of this size (16 MiB) to be kept while it is read, which is more than any
// level of compression wants for a cluster.
constexpr int kMaxZstdWindowLog = 24;

[[noreturn]] void damaged(const std::string& why) {
    throw Error(ErrorKind::kCorrupt, "a compressed cluster of the qcow2 image can't be read: " + why);
}

unsigned char* bytes(std::span<std::byte> span) { return reinterpret_cast<unsigned char*>(span.data()); }
// zlib's next_in is not const unless the whole program wants it so; it is only read.
unsigned char* bytes(std::span<const std::byte> span) {
    return const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(span.data()));  // NOLINT
}

void inflate_cluster(std::span<const std::byte> in, std::span<std::byte> out) {
    z_stream stream{};
    stream.next_in = bytes(in);
    stream.avail_in = static_cast<uInt>(in.size());
    stream.next_out = bytes(out);
    stream.avail_out = static_cast<uInt>(out.size());
    if (::inflateInit2(&stream, kInflateWindow) != Z_OK) throw std::bad_alloc();
    const int result = ::inflate(&stream, Z_FINISH);
    const std::string why = stream.msg != nullptr ? stream.msg : "it ends too early";
    const bool full = stream.avail_out == 0;
    ::inflateEnd(&stream);
    if ((result != Z_STREAM_END && result != Z_BUF_ERROR) || !full) damaged(why);
}

void unzstd_cluster(std::span<const std::byte> in, std::span<std::byte> out) {
    const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(::ZSTD_createDCtx(), ::ZSTD_freeDCtx);
    if (!context) throw std::bad_alloc();
    ::ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMaxZstdWindowLog);
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    while (to.pos < to.size) {
        const size_t before = from.pos + to.pos;
        const size_t result = ::ZSTD_decompressStream(context.get(), &to, &from);
        if (::ZSTD_isError(result) != 0) damaged(::ZSTD_getErrorName(result));
        if (from.pos + to.pos == before) damaged("it ends too early");
    }
}

size_t deflate_cluster(std::span<const std::byte> in, std::span<std::byte> out) {
    z_stream stream{};
    if (::deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kDeflateWindow, 9, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        throw std::bad_alloc();
    }
    stream.next_in = bytes(in);
    stream.avail_in = static_cast<uInt>(in.size());
    stream.next_out = bytes(out);
    stream.avail_out = static_cast<uInt>(out.size());
    const bool fits = ::deflate(&stream, Z_FINISH) == Z_STREAM_END;
    ::deflateEnd(&stream);
    return fits ? out.size() - stream.avail_out : 0;
}

}  // namespace

void decompress_cluster(Qcow2Compression kind, std::span<const std::byte> in, std::span<std::byte> out) {
    if (kind == Qcow2Compression::kZstd) {
        unzstd_cluster(in, out);
    } else {
        inflate_cluster(in, out);
    }
}

size_t compress_cluster(Qcow2Compression kind, std::span<const std::byte> in, std::span<std::byte> out) {
    if (kind == Qcow2Compression::kZlib) return deflate_cluster(in, out);
    const size_t result = ::ZSTD_compress(out.data(), out.size(), in.data(), in.size(), ZSTD_CLEVEL_DEFAULT);
    return ::ZSTD_isError(result) != 0 ? 0 : result;
}

}  // namespace inspect
