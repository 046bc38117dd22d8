// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the interface asks for is cut and aligned to what the server takes here; nbd_exchange.h does the
// talking.
#include "block/nbd_device.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/iovec.h"

namespace inspect {

using namespace nbd;

namespace {

constexpr uint64_t kPiece = 512 * 1024;  // of data in one request
constexpr size_t kBounce = 1u << 20;
// Of requests without data. Servers take up to 4 GiB, but must be done with it before the stall timeout.
constexpr uint64_t kClearPiece = 256u << 20;
constexpr uint64_t kStatusPiece = 1u << 30;
// What is remembered of an answer to BLOCK_STATUS. Real ones have less; a hostile one must not fill the
// memory.
constexpr size_t kMaxExtents = 1u << 20;

}  // namespace

NbdDevice::NbdDevice(Fd socket, const std::string& export_name, NbdDeviceOptions options)
    : socket_(std::move(socket)), options_(std::move(options)) {
    prepare_socket();
    stream_->set_deadline(NbdStream::Clock::now() + options_.handshake_timeout);
    terms_ = nbd_client_handshake(*stream_, export_name);
    stream_->set_deadline(std::nullopt);
    if (terms_.can(kReadOnly) && !options_.read_only) {
        exchange_->give_up("the connection was not used");
        throw Error(ErrorKind::kDenied, stream_->peer() + " exports '" + export_name + "' for reading only");
    }
}

NbdDevice::NbdDevice(Fd socket, const NbdTerms& terms, NbdDeviceOptions options)
    : socket_(std::move(socket)), options_(std::move(options)), terms_(terms) {
    prepare_socket();
}

void NbdDevice::prepare_socket() {
    const int on = 1;
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // no harm on a Unix socket
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    stream_ = std::make_unique<NbdStream>(socket_.get(), "the NBD server '" + options_.name + "'",
                                          options_.stall_timeout);
    exchange_ = std::make_unique<NbdExchange>(*stream_, terms_);
}

NbdDevice::~NbdDevice() {
    if (!socket_ || exchange_->broken() || !options_.hang_up) return;
    const Request goodbye{kRequestMagic, uint16_t{0}, uint16_t{kCmdDisconnect}, uint64_t{0}, uint64_t{0}, 0u};
    ::send(socket_.get(), &goodbye, sizeof goodbye, MSG_NOSIGNAL | MSG_DONTWAIT);
}

Fd NbdDevice::release() {
    const std::lock_guard lock(mutex_);
    exchange_->give_up("the connection to '" + options_.name + "' was handed to another process");
    return std::move(socket_);
}

// --- The interface -----------------------------------------------------------------------------------------

void NbdDevice::read(uint64_t offset, std::span<std::byte> out) {
    require_range(offset, out.size());
    const std::lock_guard lock(mutex_);
    read_bytes(offset, out);
}

void NbdDevice::write(uint64_t offset, std::span<const std::byte> in) {
    require_writable();
    require_range(offset, in.size());
    const std::lock_guard lock(mutex_);
    write_bytes(offset, in);
}

// Pieces are small as a rule, and a request costs more than a copy.
void NbdDevice::readv(uint64_t offset, std::span<const iovec> out) {
    if (out.size() == 1) return read(offset, {static_cast<std::byte*>(out[0].iov_base), out[0].iov_len});
    const uint64_t total = iovec_bytes(out);
    require_range(offset, total);
    const std::lock_guard lock(mutex_);
    bounce_.resize(kBounce);
    IovecCursor cursor(out);
    for (uint64_t done = 0; done < total;) {
        const uint64_t length = std::min<uint64_t>(total - done, kBounce);
        read_bytes(offset + done, {bounce_.data(), length});
        for (uint64_t copied = 0, taken = 0; copied < length; copied += taken) {
            const std::byte* from = bounce_.data() + copied;
            for (const iovec& piece : cursor.take(length - copied, taken)) {
                std::memcpy(piece.iov_base, from, piece.iov_len);
                from += piece.iov_len;
            }
        }
        done += length;
    }
}

void NbdDevice::writev(uint64_t offset, std::span<const iovec> in) {
    if (in.size() == 1) return write(offset, {static_cast<const std::byte*>(in[0].iov_base), in[0].iov_len});
    const uint64_t total = iovec_bytes(in);
    require_writable();
    require_range(offset, total);
    const std::lock_guard lock(mutex_);
    bounce_.resize(kBounce);
    IovecCursor cursor(in);
    for (uint64_t done = 0; done < total;) {
        const uint64_t length = std::min<uint64_t>(total - done, kBounce);
        for (uint64_t copied = 0, taken = 0; copied < length; copied += taken) {
            std::byte* to = bounce_.data() + copied;
            for (const iovec& piece : cursor.take(length - copied, taken)) {
                std::memcpy(to, piece.iov_base, piece.iov_len);
                to += piece.iov_len;
            }
        }
        write_bytes(offset + done, {bounce_.data(), length});
        done += length;
    }
}

void NbdDevice::flush() {
    const std::lock_guard lock(mutex_);
    if (!dirty_) return;
    if (terms_.can(kSendFlush)) {
        exchange_->run({.command = kCmdFlush});
    } else if (!terms_.can(kSendFua)) {  // with it, every change was durable by itself
        throw Error(ErrorKind::kUnsupported,
                    stream_->peer() + " offers no way to make changes durable (neither FLUSH nor FUA)");
    }
    dirty_ = false;
}

void NbdDevice::discard(uint64_t offset, uint64_t length) {
    require_writable();
    require_range(offset, length);
    const std::lock_guard lock(mutex_);
    if (!terms_.can(kSendTrim)) return;
    const uint64_t begin = align_up(offset, terms_.minimum_block);
    const uint64_t end = align_down(offset + length, terms_.minimum_block);
    if (begin >= end) return;
    dirty_ = true;
    exchange_->run({.command = kCmdTrim,
                    .flags = durable_flag(),
                    .offset = begin,
                    .length = end - begin,
                    .piece = kClearPiece});
}

void NbdDevice::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
    require_writable();
    require_range(offset, length);
    const std::lock_guard lock(mutex_);
    zero_bytes(offset, length, may_unmap);
}

std::vector<Extent> NbdDevice::extents(uint64_t offset, uint64_t length) {
    require_range(offset, length);
    if (length == 0) return {};
    const std::lock_guard lock(mutex_);
    if (!terms_.base_allocation) return {{offset, length, ExtentKind::kData}};
    std::vector<Extent> found;
    const auto add = [&found](const Extent& extent) {
        if (!found.empty() && found.back().kind == extent.kind) {
            found.back().length += extent.length;
        } else {
            found.push_back(extent);
        }
    };
    const uint64_t end = offset + length;
    const uint64_t aligned_end = align_up(end, terms_.minimum_block);
    uint64_t at = align_down(offset, terms_.minimum_block);
    while (at < end && found.size() < kMaxExtents) {
        std::vector<Extent> answer;
        const uint64_t asked = std::min(aligned_end - at, kStatusPiece);
        exchange_->run(
            {.command = kCmdBlockStatus, .offset = at, .length = asked, .piece = asked, .extents = &answer});
        at = answer.back().offset + answer.back().length;
        for (Extent& extent : answer) {  // of the answer, what lies in the range
            const uint64_t begin = std::max(extent.offset, offset);
            const uint64_t extent_end = std::min(extent.offset + extent.length, end);
            if (begin < extent_end) add({begin, extent_end - begin, extent.kind});
        }
    }
    if (at < end) add({at, end - at, ExtentKind::kData});
    return found;
}

// --- Alignment ---------------------------------------------------------------------------------------------
// What isn't a whole number of the server's blocks is read, and written back, in whole blocks.

void NbdDevice::read_bytes(uint64_t offset, std::span<std::byte> out) {
    const uint32_t block = terms_.minimum_block;
    std::vector<std::byte> whole;
    while (!out.empty()) {
        const uint64_t into = offset % block;
        const uint64_t aligned = into == 0 ? align_down(out.size(), block) : 0;
        uint64_t length = aligned;
        if (aligned > 0) {
            exchange_->run({.command = kCmdRead,
                            .offset = offset,
                            .length = aligned,
                            .piece = std::min<uint64_t>(kPiece, terms_.maximum_payload),
                            .in = out.data()});
        } else {
            whole.resize(block);
            read_bytes(offset - into, whole);
            length = std::min<uint64_t>(block - into, out.size());
            std::memcpy(out.data(), whole.data() + into, length);
        }
        out = out.subspan(length);
        offset += length;
    }
}

void NbdDevice::overwrite_in_block(uint64_t offset, std::span<const std::byte> in) {
    const uint64_t into = offset % terms_.minimum_block;
    std::vector<std::byte> whole(terms_.minimum_block);
    read_bytes(offset - into, whole);
    std::memcpy(whole.data() + into, in.data(), in.size());
    write_bytes(offset - into, whole);
}

void NbdDevice::write_bytes(uint64_t offset, std::span<const std::byte> in) {
    const uint32_t block = terms_.minimum_block;
    while (!in.empty()) {
        const uint64_t into = offset % block;
        uint64_t length = into == 0 ? align_down(in.size(), block) : 0;
        if (length > 0) {
            dirty_ = true;
            exchange_->run({.command = kCmdWrite,
                            .flags = durable_flag(),
                            .offset = offset,
                            .length = length,
                            .piece = std::min<uint64_t>(kPiece, terms_.maximum_payload),
                            .out = in.data()});
        } else {
            length = std::min<uint64_t>(block - into, in.size());
            overwrite_in_block(offset, in.first(length));
        }
        in = in.subspan(length);
        offset += length;
    }
}

void NbdDevice::zero_bytes(uint64_t offset, uint64_t length, bool may_unmap) {
    static const std::vector<std::byte> zeroes(kPiece);
    const uint32_t block = terms_.minimum_block;
    while (length > 0) {
        const uint64_t into = offset % block;
        uint64_t done = into == 0 ? align_down(length, block) : 0;
        if (done > 0 && terms_.can(kSendWriteZeroes)) {
            dirty_ = true;
            exchange_->run({.command = kCmdWriteZeroes,
                            .flags = static_cast<uint16_t>(durable_flag() | (may_unmap ? 0 : kFlagNoHole)),
                            .offset = offset,
                            .length = done,
                            .piece = kClearPiece});
        } else if (done > 0) {
            done = std::min<uint64_t>(done, zeroes.size());
            write_bytes(offset, std::span(zeroes).first(done));
        } else {
            done = std::min<uint64_t>(block - into, length);
            overwrite_in_block(offset, std::span(zeroes).first(done));
        }
        length -= done;
        offset += done;
    }
}

// Where the server can't flush, every change is made durable by itself.
uint16_t NbdDevice::durable_flag() const {
    return !terms_.can(kSendFlush) && terms_.can(kSendFua) ? uint16_t{kFlagFua} : uint16_t{0};
}

}  // namespace inspect
