// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_requests.h"

#include <algorithm>
#include <new>
#include <string>
#include <vector>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/log.h"

namespace inspect {

using namespace nbd;

namespace {

// Reads up to this length are answered with one chunk, together with others.
constexpr uint32_t kSmallRead = 64 * 1024;
// Shorter holes are sent as data: a chunk of its own costs as much.
constexpr uint64_t kMinHole = 32 * 1024;
// What TRIM and WRITE_ZEROES do at once with the device locked.
constexpr uint64_t kClearPiece = 64u << 20;
// An answer to BLOCK_STATUS has at most this many extents; clients ask again for the rest.
constexpr size_t kMaxDescriptors = 4096;
// How much of the device is asked for its extents at first, and at most; between them it depends on how
// fragmented it proves to be. (A request may span 4 GiB: a million extents.)
constexpr uint64_t kFirstWindow = 4u << 20;
constexpr uint64_t kLastWindow = 1u << 30;

uint32_t wire_error(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::kDenied:
            return kEperm;
        case ErrorKind::kNoSpace:
            return kEnospc;
        case ErrorKind::kUsage:
            return kEinval;
        case ErrorKind::kUnsupported:
            return kEnotsup;
        default:
            return kEio;
    }
}

uint32_t allocation_flags(ExtentKind kind) {
    switch (kind) {
        case ExtentKind::kHole:
            return kStateHole | kStateZero;
        case ExtentKind::kZero:
            return kStateZero;
        case ExtentKind::kData:
            break;
    }
    return 0;
}

uint16_t allowed_flags(uint16_t type) {
    switch (type) {
        case kCmdRead:
            return kFlagFua | kFlagDf;
        case kCmdWriteZeroes:
            return kFlagFua | kFlagNoHole;  // no FAST_ZERO: a device doesn't say beforehand what is fast
        case kCmdBlockStatus:
            return kFlagFua | kFlagReqOne;
        default:
            return kFlagFua;
    }
}

}  // namespace

NbdRequests::NbdRequests(NbdStream& stream, SharedDevice& device, const NbdExport& offer,
                         const NbdAgreement& agreement, const std::atomic<bool>& stopping)
    : stream_(stream),
      device_(device),
      offer_(offer),
      agreement_(agreement),
      stopping_(stopping),
      buffer_(static_cast<std::byte*>(std::aligned_alloc(kAlignment, kBufferSize))) {
    if (!buffer_) throw std::bad_alloc();
}

void NbdRequests::run() {
    while (true) {
        // Replies wait while there are more requests to do without waiting for the client.
        if (stream_.buffered() < sizeof(Request)) send_all();
        if (!stream_.wait()) return;
        const auto request = stream_.read_object<Request>();
        if (request.magic != kRequestMagic) {
            throw Error(ErrorKind::kCorrupt, stream_.peer() + " sent something that is no request");
        }
        if (request.type == kCmdDisconnect) return send_all();
        handle(request);
    }
}

// Why a request is not even tried.
std::optional<uint32_t> NbdRequests::objection(const Request& request) const {
    if (stopping_) return kEshutdown;
    switch (request.type) {
        case kCmdRead:
        case kCmdWrite:
            if (request.length > kMaxPayload) return kEinval;
            break;
        case kCmdFlush:
            return (request.flags & ~allowed_flags(kCmdFlush)) != 0 ? std::optional<uint32_t>(kEinval)
                                                                    : std::nullopt;
        case kCmdTrim:
        case kCmdCache:
        case kCmdWriteZeroes:
            break;
        case kCmdBlockStatus:
            if (!agreement_.base_allocation || request.length == 0) return kEinval;
            break;
        default:
            return kEinval;
    }
    if ((request.flags & ~allowed_flags(request.type)) != 0) return kEinval;
    const bool changes =
        request.type == kCmdWrite || request.type == kCmdTrim || request.type == kCmdWriteZeroes;
    if (changes && (offer_.transmission_flags & kReadOnly) != 0) return kEperm;
    if (!range_fits(request.offset, request.length, offer_.size)) return changes ? kEnospc : kEinval;
    return std::nullopt;
}

void NbdRequests::handle(const Request& request) {
    if (auto error = objection(request)) {
        if (request.type == kCmdWrite) stream_.skip(request.length);
        return finish(request, *error);
    }
    switch (request.type) {
        case kCmdRead:
            return read(request);
        case kCmdWrite:
            return write(request);
        case kCmdFlush:
            return finish(request, attempt(request, [&] {
                              device_.alone([](BlockDevice& device) { device.flush(); });
                          }));
        case kCmdTrim:
        case kCmdWriteZeroes:
            return clear(request);
        case kCmdCache:
            return cache(request);
        case kCmdBlockStatus:
            return block_status(request);
    }
}

// --- READ --------------------------------------------------------------------------------------------------

void NbdRequests::read(const Request& request) {
    if (request.length <= kSmallRead) return read_small(request);
    send_all();  // the buffer is needed as a whole
    if (!agreement_.structured_replies) return read_simple(request);
    if ((request.flags & kFlagDf) == 0) return read_structured(request);
    if (request.length > kPiece) return finish(request, kEoverflow);
    if (!send_data_chunk(request, request.offset, request.length, true)) return;
}

// One reply, made in the buffer of replies.
void NbdRequests::read_small(const Request& request) {
    const bool structured = agreement_.structured_replies && request.length > 0;
    const size_t head = structured ? sizeof(Chunk) + sizeof(be64) : sizeof(SimpleReply);
    std::byte* reply = room(head + request.length);
    const uint32_t error = attempt(request, [&] {
        device_.read(request.offset, {reply + head, request.length});
    });
    if (error != kOk || request.length == 0) return finish(request, error);
    if (structured) {
        put(Chunk{kStructuredReplyMagic, kChunkDone, uint16_t{kChunkOffsetData}, request.cookie,
                  static_cast<uint32_t>(sizeof(be64)) + request.length});
        put(request.offset);
    } else {
        put(SimpleReply{kSimpleReplyMagic, uint32_t{kOk}, request.cookie});
    }
    end_ += request.length;
}

// Data and holes as the device tells them apart.
void NbdRequests::read_structured(const Request& request) {
    std::vector<Extent> extents;
    const uint32_t error = attempt(request, [&] {
        extents = device_.alone(
            [&](BlockDevice& device) { return device.extents(request.offset, request.length); });
    });
    if (error != kOk) return finish(request, error);
    const uint64_t end = request.offset + request.length;
    uint64_t at = request.offset;  // all before is sent
    const auto send_data_until = [&](uint64_t limit) {
        while (at < limit) {
            // Pieces end where the device's blocks end, too.
            const uint64_t piece_end = std::min(limit, align_down(at + kPiece, kAlignment));
            if (!send_data_chunk(request, at, piece_end - at, piece_end == end)) return false;
            at = piece_end;
        }
        return true;
    };
    for (const Extent& extent : extents) {
        if (extent.kind == ExtentKind::kData || extent.length < kMinHole) continue;
        if (!send_data_until(extent.offset)) return;
        at = extent.offset + extent.length;
        send_hole_chunk(request, extent.offset, extent.length, at == end);
    }
    send_data_until(end);
}

// False when the device failed: the error has been sent then and ends the reply.
bool NbdRequests::send_data_chunk(const Request& request, uint64_t offset, uint64_t length, bool last) {
    send_all();
    std::byte* data = buffer_.get() + kAlignment;
    const uint32_t error = attempt(request, [&] { device_.read(offset, {data, length}); });
    if (error != kOk) {
        finish(request, error);
        return false;
    }
    start_ = end_ = kAlignment - sizeof(Chunk) - sizeof(be64);
    put(Chunk{kStructuredReplyMagic, last ? kChunkDone : uint16_t{0}, uint16_t{kChunkOffsetData},
              request.cookie, static_cast<uint32_t>(sizeof(be64) + length)});
    put(be64(offset));
    end_ += length;
    send_all();
    return true;
}

void NbdRequests::send_hole_chunk(const Request& request, uint64_t offset, uint64_t length, bool last) {
    put(Chunk{kStructuredReplyMagic, last ? kChunkDone : uint16_t{0}, uint16_t{kChunkOffsetHole},
              request.cookie, static_cast<uint32_t>(sizeof(be64) + sizeof(be32))});
    put(be64(offset));
    put(be32(static_cast<uint32_t>(length)));
}

// A simple reply says first whether the data can be read. So what fails later can only be told by hanging up.
void NbdRequests::read_simple(const Request& request) {
    std::byte* data = buffer_.get() + kAlignment;
    for (uint64_t done = 0; done < request.length;) {
        const uint64_t at = request.offset + done;
        const uint64_t length =
            std::min<uint64_t>(align_down(at + kPiece, kAlignment) - at, request.length - done);
        const uint32_t error = attempt(request, [&] { device_.read(at, {data, length}); });
        if (error != kOk && done == 0) return finish(request, error);
        if (error != kOk) throw Error(ErrorKind::kCorrupt, "a read failed after its reply had begun");
        start_ = end_ = kAlignment - (done == 0 ? sizeof(SimpleReply) : 0);
        if (done == 0) put(SimpleReply{kSimpleReplyMagic, uint32_t{kOk}, request.cookie});
        end_ += length;
        send_all();
        done += length;
    }
}

// --- Changes -----------------------------------------------------------------------------------------------

void NbdRequests::write(const Request& request) {
    uint32_t error = kOk;
    // After a failure the rest is taken from the stream all the same: it is no request.
    const auto write_piece = [&](uint64_t offset, std::span<const std::byte> data) {
        if (error != kOk) return;
        error = attempt(request,
                        [&] { device_.alone([&](BlockDevice& device) { device.write(offset, data); }); });
    };
    if (request.length <= NbdStream::kBufferSize) {
        write_piece(request.offset, stream_.take(request.length));
    } else {
        send_all();
        std::byte* data = buffer_.get();
        for (uint64_t done = 0; done < request.length;) {
            const uint64_t at = request.offset + done;
            const uint64_t length =
                std::min<uint64_t>(align_down(at + kPiece, kAlignment) - at, request.length - done);
            stream_.read({data, length});
            write_piece(at, {data, length});
            done += length;
        }
    }
    finish(request, error);
}

void NbdRequests::clear(const Request& request) {
    uint32_t error = kOk;
    const uint64_t end = request.offset + request.length;
    for (uint64_t at = request.offset; at < end && error == kOk;) {
        if (stopping_) {
            error = kEshutdown;
            break;
        }
        const uint64_t length = std::min(end, align_down(at + kClearPiece, kClearPiece)) - at;
        error = attempt(request, [&] {
            device_.alone([&](BlockDevice& device) {
                if (request.type == kCmdTrim) return device.discard(at, length);
                device.write_zeroes(at, length, (request.flags & kFlagNoHole) == 0);
            });
        });
        at += length;
    }
    finish(request, error);
}

// The device's caches, the kernel's among them, are filled by reading.
void NbdRequests::cache(const Request& request) {
    send_all();
    uint32_t error = kOk;
    const uint64_t end = request.offset + request.length;
    for (uint64_t at = request.offset; at < end && error == kOk;) {
        if (stopping_) {
            error = kEshutdown;
            break;
        }
        const uint64_t length = std::min(end, align_down(at + kPiece, kAlignment)) - at;
        error = attempt(request, [&] { device_.read(at, {buffer_.get(), length}); });
        at += length;
    }
    finish(request, error);
}

// --- BLOCK_STATUS ------------------------------------------------------------------------------------------

void NbdRequests::block_status(const Request& request) {
    struct Run {
        uint64_t length;
        uint32_t flags;
    };
    std::vector<Run> runs;
    const size_t wanted = (request.flags & kFlagReqOne) != 0 ? 1 : kMaxDescriptors;
    const uint64_t end = request.offset + request.length;
    uint64_t at = request.offset;
    uint64_t window = kFirstWindow;
    const uint32_t error = attempt(request, [&] {
        // One run more than is wanted shows that the ones before it are complete.
        while (at < end && runs.size() <= wanted) {
            const uint64_t length = std::min(window, end - at);
            const auto extents =
                device_.alone([&](BlockDevice& device) { return device.extents(at, length); });
            for (const Extent& extent : extents) {
                const uint32_t flags = allocation_flags(extent.kind);
                if (!runs.empty() && runs.back().flags == flags) {
                    runs.back().length += extent.length;
                } else {
                    runs.push_back({extent.length, flags});
                }
            }
            at += length;
            if (extents.size() < 64) window = std::min(window * 4, kLastWindow);
        }
    });
    if (error != kOk) return finish(request, error);
    runs.resize(std::min(runs.size(), wanted));
    const size_t length = sizeof(be32) + runs.size() * sizeof(BlockDescriptor);
    room(sizeof(Chunk) + length);
    put(Chunk{kStructuredReplyMagic, kChunkDone, uint16_t{kChunkBlockStatus}, request.cookie,
              static_cast<uint32_t>(length)});
    put(be32(kNbdAllocationContext));
    for (const Run& run : runs) put(BlockDescriptor{static_cast<uint32_t>(run.length), run.flags});
}

// --- Replies -----------------------------------------------------------------------------------------------

// Ends a request that has no data to answer with, or failed. FUA is done here.
void NbdRequests::finish(const Request& request, uint32_t error) {
    const bool changed =
        request.type == kCmdWrite || request.type == kCmdTrim || request.type == kCmdWriteZeroes;
    if (error == kOk && changed && (request.flags & kFlagFua) != 0) {
        error = attempt(request, [&] { device_.alone([](BlockDevice& device) { device.flush(); }); });
    }
    const bool structured =
        agreement_.structured_replies && (request.type == kCmdRead || request.type == kCmdBlockStatus);
    if (!structured) return put(SimpleReply{kSimpleReplyMagic, error, request.cookie});
    if (error == kOk) {
        return put(Chunk{kStructuredReplyMagic, kChunkDone, uint16_t{kChunkNone}, request.cookie, 0u});
    }
    // No message: it would tell the client the names of the host's files.
    put(Chunk{kStructuredReplyMagic, kChunkDone, uint16_t{kChunkError}, request.cookie,
              static_cast<uint32_t>(sizeof(be32) + sizeof(be16))});
    put(be32(error));
    put(be16(uint16_t{0}));
}

template <typename Operation>
uint32_t NbdRequests::attempt(const Request& request, Operation operation) noexcept {
    std::string reason;
    uint32_t result = kEio;
    try {
        try {
            operation();
            return kOk;
        } catch (const Error& error) {
            result = wire_error(error.kind());
            reason = error.message();
        } catch (const std::bad_alloc&) {
            result = kEnomem;
            reason = "no memory";
        }
        log(LogLevel::kVerbose,
            "NBD server: request of type " + std::to_string(request.type) + " failed: " + reason);
    } catch (...) {  // nothing may end more than the request
    }
    return result;
}

std::byte* NbdRequests::room(size_t length) {
    if (kBufferSize - end_ < length) send_all();
    return buffer_.get() + end_;
}

template <typename T>
void NbdRequests::put(const T& object) {
    std::memcpy(room(sizeof object), &object, sizeof object);
    end_ += sizeof object;
}

void NbdRequests::send_all() {
    const std::span<const std::byte> pending(buffer_.get() + start_, end_ - start_);
    start_ = end_ = 0;
    stream_.write(pending);
}

}  // namespace inspect
