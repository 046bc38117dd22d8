// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Some requests of a piece of work are under way at a time, so that the server works while data travels. All
// are of one kind: reads and writes together could block each other with their data.
#include "block/nbd_exchange.h"

#include <algorithm>
#include <optional>
#include <system_error>

#include "base/checked.h"
#include "block/iovec.h"

namespace inspect {

using namespace nbd;

namespace {

// Real answers have less; one that never ends must not keep us for ever, nor fill the memory.
constexpr uint32_t kMaxChunks = 1u << 16;
constexpr uint32_t kMaxDescriptors = 1u << 17;
constexpr size_t kMaxGaps = 64;

ErrorKind error_kind(uint32_t wire_error) {
    switch (wire_error) {
        case kEperm:
            return ErrorKind::kDenied;
        case kEnospc:
            return ErrorKind::kNoSpace;
        case kEnotsup:
            return ErrorKind::kUnsupported;
        default:
            return ErrorKind::kCorrupt;
    }
}

const char* verb(Command command) {
    switch (command) {
        case kCmdRead:
            return "read";
        case kCmdWrite:
            return "write";
        case kCmdFlush:
            return "flush";
        case kCmdTrim:
            return "discard";
        case kCmdWriteZeroes:
            return "clear";
        default:
            return "examine";
    }
}

ExtentKind extent_kind(uint32_t flags) {
    if ((flags & kStateZero) == 0) return ExtentKind::kData;  // also of a hole that reads as anything
    return (flags & kStateHole) != 0 ? ExtentKind::kHole : ExtentKind::kZero;
}

}  // namespace

void NbdExchange::run(const NbdWork& work) {
    if (broken()) throw Error(ErrorKind::kCorrupt, broken_);
    std::optional<Error> error;  // of the server's; nothing new is begun after the first
    uint64_t begun = 0;          // bytes of the work
    size_t under_way = 0;
    try {
        while (true) {
            for (Part& part : parts_) {
                if (part.cookie != 0) continue;
                // A request without a length is a request all the same.
                if (error || (begun == work.length && (work.length > 0 || under_way > 0))) break;
                part = {.cookie = next_cookie_++,
                        .offset = work.offset + begun,
                        .length = static_cast<uint32_t>(std::min(work.length - begun, work.piece))};
                send(work, part);
                begun += part.length;
                ++under_way;
            }
            if (under_way == 0) break;
            Part& part = receive(work);
            if (!part.done) continue;
            if (part.error != kOk && !error) error = failure(work, part);
            part.cookie = 0;
            if (--under_way == 0 && work.length == 0) break;
        }
    } catch (const std::exception& fatal) {  // where we are in the stream is unknown from here on
        broken_ = fatal.what();
        throw;
    }
    if (error) throw *error;
}

void NbdExchange::send(const NbdWork& work, const Part& part) {
    const Request request{kRequestMagic, work.flags,  uint16_t{work.command},
                          part.cookie,   part.offset, part.length};
    std::span<const std::byte> data;
    if (work.out != nullptr) data = {work.out + (part.offset - work.offset), part.length};
    iovec pieces[] = {to_iovec(std::as_bytes(std::span(&request, 1))), to_iovec(data)};
    stream_.write(pieces);
}

// One reply, or one chunk of one.
NbdExchange::Part& NbdExchange::receive(const NbdWork& work) {
    // Both kinds begin with 16 bytes that mean the same: magic, two 16-bit numbers or one of 32, cookie.
    const auto head = stream_.read_object<SimpleReply>();
    if (head.magic == kSimpleReplyMagic) {
        Part& part = part_of(head.cookie);
        receive_simple(work, part, head.error);
        return part;
    }
    if (head.magic != kStructuredReplyMagic || !terms_.structured_replies) {
        throw nonsense("something that is no reply");
    }
    const uint32_t length = stream_.read_object<be32>();
    Part& part = part_of(head.cookie);
    const uint32_t flags_and_type = head.error;
    const auto flags = static_cast<uint16_t>(flags_and_type >> 16);
    if (++part.chunks > kMaxChunks) throw nonsense("a reply without end");
    receive_chunk(work, part, static_cast<uint16_t>(flags_and_type), length);
    if ((flags & kChunkDone) != 0) {
        if (part.error == kOk) check_complete(work, part);
        part.done = true;
    }
    return part;
}

NbdExchange::Part& NbdExchange::part_of(uint64_t cookie) {
    for (Part& part : parts_) {
        if (part.cookie == cookie && cookie != 0) return part;
    }
    throw nonsense("a reply to a request that was not made");
}

void NbdExchange::receive_simple(const NbdWork& work, Part& part, uint32_t error) {
    if (part.chunks > 0) throw nonsense("a simple reply after a structured one");
    part.error = error;
    part.done = true;
    if (error != kOk) return;
    if (work.command == kCmdRead && !terms_.structured_replies) {
        stream_.read(destination(work, part, part.offset, part.length));
    } else if (work.command == kCmdRead || work.command == kCmdBlockStatus) {
        throw nonsense("a simple reply where a structured one is due");
    }
}

void NbdExchange::receive_chunk(const NbdWork& work, Part& part, uint16_t type, uint32_t length) {
    switch (type) {
        case kChunkNone:
            if (length != 0) throw nonsense("a chunk that is too long");
            return;
        case kChunkOffsetData: {
            if (length <= sizeof(be64)) throw nonsense("a chunk that is too short");
            const uint64_t offset = stream_.read_object<be64>();
            return stream_.read(destination(work, part, offset, length - sizeof(be64)));
        }
        case kChunkOffsetHole: {
            if (length != sizeof(be64) + sizeof(be32)) throw nonsense("a hole of the wrong form");
            const uint64_t offset = stream_.read_object<be64>();
            const uint32_t hole = stream_.read_object<be32>();
            std::ranges::fill(destination(work, part, offset, hole), std::byte{0});
            return;
        }
        case kChunkBlockStatus:
            return receive_status(work, part, length);
        default:
            if ((type & kChunkErrorBit) == 0) throw nonsense("a chunk of an unknown kind");
            return receive_error(part, type, length);
    }
}

// Where data goes that a reply brings. Every byte must come once: a server that sends some twice would leave
// others as they happened to be in the caller's memory.
std::span<std::byte> NbdExchange::destination(const NbdWork& work, Part& part, uint64_t offset,
                                              uint64_t length) {
    if (work.command != kCmdRead || length == 0 || offset < part.offset ||
        !range_fits(offset - part.offset, length, part.length)) {
        throw nonsense("data that was not asked for");
    }
    if (!add_interval(part.received, {offset, offset + length})) throw nonsense("the same data twice");
    return {work.in + (offset - work.offset), length};
}

// Adds to a sorted list of separate intervals. False when it overlaps one, or there are too many.
bool NbdExchange::add_interval(std::vector<Interval>& all, Interval added) {
    const auto next =
        std::find_if(all.begin(), all.end(), [&](const Interval& i) { return i.begin >= added.begin; });
    if (next != all.end() && added.end > next->begin) return false;
    if (next != all.begin() && (next - 1)->end > added.begin) return false;
    const bool joins_next = next != all.end() && added.end == next->begin;
    const bool joins_before = next != all.begin() && (next - 1)->end == added.begin;
    if (joins_before) {
        (next - 1)->end = joins_next ? next->end : added.end;
        if (joins_next) all.erase(next);
    } else if (joins_next) {
        next->begin = added.begin;
    } else {
        all.insert(next, added);
    }
    return all.size() <= kMaxGaps;
}

void NbdExchange::receive_status(const NbdWork& work, Part& part, uint32_t length) {
    constexpr uint32_t kSize = sizeof(BlockDescriptor);
    if (work.command != kCmdBlockStatus || length < sizeof(be32) + kSize ||
        (length - sizeof(be32)) % kSize != 0 || length / kSize > kMaxDescriptors) {
        throw nonsense("a block status of the wrong form");
    }
    if (stream_.read_object<be32>() != terms_.allocation_context || part.has_status) {
        throw nonsense("a block status that was not asked for");
    }
    part.has_status = true;
    uint64_t at = part.offset;
    const uint64_t end = part.offset + part.length;
    for (uint32_t left = (length - sizeof(be32)) / kSize; left > 0; --left) {
        const auto descriptor = stream_.read_object<BlockDescriptor>();
        if (descriptor.length == 0) throw nonsense("an extent of no length");
        // The last may reach beyond what was asked; what is further on is of no use.
        const uint64_t known = std::min<uint64_t>(descriptor.length, end - at);
        const ExtentKind kind = extent_kind(descriptor.flags);
        if (known == 0) continue;
        if (!work.extents->empty() && work.extents->back().kind == kind) {
            work.extents->back().length += known;
        } else {
            work.extents->push_back({at, known, kind});
        }
        at += known;
    }
}

void NbdExchange::receive_error(Part& part, uint16_t type, uint32_t length) {
    constexpr uint32_t kHead = sizeof(be32) + sizeof(be16);
    if (length < kHead || length > kHead + kMaxString + sizeof(be64))
        throw nonsense("an error of the wrong form");
    const uint32_t error = stream_.read_object<be32>();
    const uint16_t message = stream_.read_object<be16>();
    if (error == kOk || message > length - kHead) throw nonsense("an error of the wrong form");
    if (type == kChunkErrorOffset && message + kHead + sizeof(be64) != length) {
        throw nonsense("an error of the wrong form");
    }
    part.error = error;
    part.message = nbd_printable(stream_.take(message));
    stream_.skip(length - kHead - message);  // the offset, or what later versions may add
}

void NbdExchange::check_complete(const NbdWork& work, const Part& part) const {
    if (work.command == kCmdRead && part.length > 0 &&
        (part.received.size() != 1 || part.received[0].end - part.received[0].begin != part.length)) {
        throw nonsense("a reply with data missing");
    }
    if (work.command == kCmdBlockStatus && !part.has_status)
        throw nonsense("a reply without the block status");
}

Error NbdExchange::failure(const NbdWork& work, const Part& part) const {
    std::string what = "cannot " + std::string(verb(work.command));
    if (work.length > 0) {
        what += " " + std::to_string(part.length) + " bytes at offset " + std::to_string(part.offset);
    }
    what += ": " + stream_.peer() + " says: ";
    what += part.error == kEshutdown ? "it is shutting down"
                                     : std::generic_category().message(static_cast<int>(part.error & 0xfff));
    if (!part.message.empty()) what += " (" + part.message + ")";
    return Error(error_kind(part.error), what);
}

Error NbdExchange::nonsense(const std::string& what) const {
    return Error(ErrorKind::kCorrupt, stream_.peer() + " does not keep to the NBD protocol: it sent " + what);
}

}  // namespace inspect
