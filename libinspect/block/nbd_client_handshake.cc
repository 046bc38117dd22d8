// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_client_handshake.h"

#include <algorithm>
#include <bit>
#include <initializer_list>
#include <limits>
#include <vector>

#include <inspect/error.h>

namespace inspect {

using namespace nbd;

namespace {

// Of one reply. Real ones have some hundred bytes.
constexpr uint32_t kMaxReplyLength = 32 * 1024;
// To one option.
constexpr int kMaxReplies = 256;
constexpr uint32_t kMaxMinimumBlock = 64 * 1024;

class ClientHandshake {
  public:
    ClientHandshake(NbdStream& stream, const std::string& name) : stream_(stream), name_(name) {}

    NbdTerms run() {
        greet();
        ask_for_structured_replies();
        if (terms_.structured_replies) ask_for_allocation();
        if (!go()) export_name();
        check();
        return terms_;
    }

  private:
    struct Reply {
        uint32_t type;
        std::span<const std::byte> data;  // good until the next one
        bool is_error() const { return (type & kRepErrorBit) != 0; }
    };

    void greet() {
        if (stream_.read_object<be64>() != kInitMagic) throw nonsense("it is no NBD server");
        const uint64_t style = stream_.read_object<be64>();
        if (style == kOldstyleMagic) throw too_old();
        if (style != kOptionMagic) throw nonsense("it is no NBD server");
        const uint16_t flags = stream_.read_object<be16>();
        if ((flags & kFixedNewstyle) == 0) throw too_old();
        no_zeroes_ = (flags & kNoZeroes) != 0;
        stream_.write_object(be32(kFixedNewstyle | (no_zeroes_ ? kNoZeroes : 0u)));
    }

    void ask_for_structured_replies() {
        send(kOptStructuredReply, {});
        const Reply reply = receive();
        if (reply.type == kRepAck) {
            terms_.structured_replies = true;
        } else if (!reply.is_error()) {
            throw nonsense("an unexpected reply");
        } else {
            refuse_if_tls(reply);
        }
    }

    void ask_for_allocation() {
        std::vector<std::byte> data;
        append_string(data, name_);
        append(data, be32(1u));
        append_string(data, kBaseAllocation);
        send(kOptSetMetaContext, data);
        for (int i = 0; i < kMaxReplies; ++i) {
            const Reply reply = receive();
            if (reply.type == kRepAck) return;
            if (reply.is_error()) {  // it doesn't know contexts; an export that isn't there, go() reports
                terms_.base_allocation = false;
                return;
            }
            if (reply.type != kRepMetaContext || reply.data.size() < sizeof(be32)) break;
            const std::string_view context(reinterpret_cast<const char*>(reply.data.data()) + sizeof(be32),
                                           reply.data.size() - sizeof(be32));
            if (context != kBaseAllocation) continue;
            terms_.base_allocation = true;
            terms_.allocation_context = get<be32>(reply.data);
        }
        if (!terms_.base_allocation) throw nonsense("an unexpected reply");
        throw nonsense("replies without end");
    }

    // False when the server doesn't know NBD_OPT_GO.
    bool go() {
        std::vector<std::byte> data;
        append_string(data, name_);
        append(data, be16(uint16_t{1}));
        append(data, be16(uint16_t{kInfoBlockSize}));
        send(kOptGo, data);
        bool has_export = false;
        for (int i = 0; i < kMaxReplies; ++i) {
            const Reply reply = receive();
            if (reply.type == kRepErrUnsupported) return false;
            if (reply.is_error()) throw refusal(reply);
            if (reply.type == kRepAck) {
                if (!has_export) throw nonsense("no size");
                return true;
            }
            if (reply.type != kRepInfo || reply.data.size() < sizeof(be16))
                throw nonsense("an unexpected reply");
            const uint16_t type = get<be16>(reply.data);
            if (type == kInfoExport) {
                const auto info = get<InfoExport>(reply.data);
                terms_.size = info.size;
                terms_.transmission_flags = info.flags;
                has_export = true;
            } else if (type == kInfoBlockSize) {
                const auto info = get<InfoBlockSize>(reply.data);
                terms_.minimum_block = info.minimum;
                terms_.maximum_payload = info.maximum;
            }
        }
        throw nonsense("replies without end");
    }

    // The way of servers before 2016. They refuse by hanging up.
    void export_name() {
        send(kOptExportName, std::as_bytes(std::span(name_)));
        const auto reply = stream_.read_object<ExportNameReply>();
        terms_.size = reply.size;
        terms_.transmission_flags = reply.flags;
        if (!no_zeroes_) stream_.skip(kExportNameZeroes);
    }

    void check() {
        if (stream_.buffered() > 0) throw nonsense("more than was asked for");
        if (terms_.size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
            throw nonsense("an impossible size, " + std::to_string(terms_.size) + " bytes");
        }
        const uint32_t minimum = terms_.minimum_block;
        if (!std::has_single_bit(minimum) || minimum > kMaxMinimumBlock || terms_.maximum_payload < minimum ||
            terms_.size % minimum != 0) {
            throw nonsense("an impossible block size");
        }
        terms_.maximum_payload = std::min(terms_.maximum_payload, kMaxPayload) / minimum * minimum;
        if ((terms_.transmission_flags & kHasFlags) == 0) terms_.transmission_flags = kHasFlags;
    }

    void send(uint32_t option, std::span<const std::byte> data) {
        option_ = option;
        std::vector<std::byte> message;
        append(message, OptionRequest{kOptionMagic, option, static_cast<uint32_t>(data.size())});
        message.insert(message.end(), data.begin(), data.end());
        stream_.write(message);
    }

    Reply receive() {
        const auto head = stream_.read_object<OptionReply>();
        if (head.magic != kOptionReplyMagic || head.option != option_ || head.length > kMaxReplyLength) {
            throw nonsense("something that is no reply to an option");
        }
        return {head.type, stream_.take(head.length)};
    }

    template <typename T>
    T get(std::span<const std::byte> data) const {
        if (data.size() < sizeof(T)) throw nonsense("a reply that is too short");
        T object;
        std::memcpy(&object, data.data(), sizeof object);
        return object;
    }
    template <typename T>
    static void append(std::vector<std::byte>& data, const T& object) {
        const auto bytes = std::as_bytes(std::span(&object, 1));
        data.insert(data.end(), bytes.begin(), bytes.end());
    }
    static void append_string(std::vector<std::byte>& data, std::string_view text) {
        append(data, be32(static_cast<uint32_t>(text.size())));
        const auto bytes = std::as_bytes(std::span(text));
        data.insert(data.end(), bytes.begin(), bytes.end());
    }

    void refuse_if_tls(const Reply& reply) const {
        if (reply.type == kRepErrTlsRequired) {
            throw Error(ErrorKind::kUnsupported,
                        stream_.peer() + " demands encryption; use nbds:// (or nbds+unix://)");
        }
    }
    Error refusal(const Reply& reply) const {
        refuse_if_tls(reply);
        std::string detail;
        if (!reply.data.empty()) detail = ": " + nbd_printable(reply.data);
        switch (reply.type) {
            case kRepErrUnknown:
                return Error(ErrorKind::kNotFound,
                             stream_.peer() + " has no export '" + name_ + "'" + detail);
            case kRepErrPolicy:
                return Error(ErrorKind::kDenied,
                             stream_.peer() + " does not give us its export '" + name_ + "'" + detail);
            case kRepErrShutdown:
                return Error(ErrorKind::kNotFound, stream_.peer() + " is shutting down" + detail);
            default:
                return Error(ErrorKind::kUnsupported, stream_.peer() + " refuses the export '" + name_ +
                                                          "' (" + std::to_string(reply.type & ~kRepErrorBit) +
                                                          ")" + detail);
        }
    }
    Error nonsense(const std::string& what) const {
        return Error(ErrorKind::kCorrupt, stream_.peer() + " does not keep to the NBD protocol: " + what);
    }
    Error too_old() const {
        return Error(ErrorKind::kUnsupported,
                     stream_.peer() + " speaks only the NBD protocol of before 2013 (no fixed newstyle)");
    }

    NbdStream& stream_;
    const std::string& name_;
    NbdTerms terms_;
    bool no_zeroes_ = false;
    uint32_t option_ = 0;
};

}  // namespace

NbdTerms nbd_client_handshake(NbdStream& stream, const std::string& export_name) {
    if (export_name.size() > kMaxString) {
        throw Error(ErrorKind::kUsage, "the name of an NBD export has at most 4096 bytes");
    }
    return ClientHandshake(stream, export_name).run();
}

std::string nbd_printable(std::span<const std::byte> text) {
    std::string result;
    for (const std::byte byte : text.first(std::min<size_t>(text.size(), 200))) {
        const char c = static_cast<char>(byte);
        result += c >= 0x20 && c < 0x7f ? c : '?';
    }
    return result;
}

}  // namespace inspect
