// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_handshake.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>
#include <vector>

#include <inspect/error.h>

#include "block/iovec.h"
#include "block/nbd_protocol.h"

namespace inspect {

using namespace nbd;

namespace {

// Real clients need some hundred bytes; all that are within this are in the stream's buffer at once.
constexpr uint32_t kMaxOptionLength = 32 * 1024;
// Real clients send five or so.
constexpr int kMaxOptions = 256;

// Walks through an option's data. A read past the end makes it `bad`, and it yields zeros from then on.
class OptionData {
  public:
    explicit OptionData(std::span<const std::byte> bytes) : left_(bytes) {}
    template <typename T>
    uint32_t number() {
        T value{};
        auto bytes = take(sizeof value);
        if (!bytes.empty()) std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    std::string_view string() {
        const uint32_t length = number<be32>();
        if (length > kMaxString) bad_ = true;
        auto bytes = take(length);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    // True when all was read and nothing more.
    bool complete() const { return !bad_ && left_.empty(); }

  private:
    std::span<const std::byte> take(size_t length) {
        if (length > left_.size()) bad_ = true;
        if (bad_) return {};
        auto bytes = left_.first(length);
        left_ = left_.subspan(length);
        return bytes;
    }
    std::span<const std::byte> left_;
    bool bad_ = false;
};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }
template <typename T>
std::span<const std::byte> bytes_of(const T& object) requires(!std::convertible_to<T, std::string_view>) {
    return std::as_bytes(std::span(&object, 1));
}

class ServerHandshake {
  public:
    ServerHandshake(NbdStream& stream, const NbdExport& offer) : stream_(stream), offer_(offer) {}

    std::optional<NbdAgreement> run() {
        stream_.write_object(ServerHello{kInitMagic, kOptionMagic, uint16_t{kFixedNewstyle | kNoZeroes}});
        const uint32_t flags = stream_.read_object<be32>();
        if ((flags & ~(kFixedNewstyle | kNoZeroes)) != 0) throw nonsense("unknown flags");
        send_zeroes_ = (flags & kNoZeroes) == 0;
        for (int i = 0; i < kMaxOptions; ++i) {
            const auto request = stream_.read_object<OptionRequest>();
            if (request.magic != kOptionMagic) throw nonsense("something that is no option");
            if (request.length > kMaxOptionLength) throw nonsense("an option of an absurd length");
            option_ = request.option;
            switch (handle(stream_.take(request.length))) {
                case Next::kOption:
                    break;
                case Next::kTransmission:
                    return agreement_;
                case Next::kGoodbye:
                    return std::nullopt;
            }
        }
        throw nonsense("options without end");
    }

  private:
    enum class Next { kOption, kTransmission, kGoodbye };

    Next handle(std::span<const std::byte> data) {
        switch (option_) {
            case kOptExportName:
                return export_name({reinterpret_cast<const char*>(data.data()), data.size()});
            case kOptAbort:
                reply(kRepAck);
                return Next::kGoodbye;
            case kOptList:
                list(data);
                return Next::kOption;
            case kOptInfo:
            case kOptGo:
                return info(data) && option_ == kOptGo ? Next::kTransmission : Next::kOption;
            case kOptStructuredReply:
                if (!data.empty()) {
                    refuse(kRepErrInvalid, "NBD_OPT_STRUCTURED_REPLY has no data");
                } else {
                    agreement_.structured_replies = true;
                    reply(kRepAck);
                }
                return Next::kOption;
            case kOptListMetaContext:
            case kOptSetMetaContext:
                meta_context(data);
                return Next::kOption;
            default:
                refuse(kRepErrUnsupported, "this option is not supported");
                return Next::kOption;
        }
    }

    // There is one export, and it is the default one, too.
    bool is_ours(std::string_view name) const { return name.empty() || name == offer_.name; }

    Next export_name(std::string_view name) {
        if (!is_ours(name)) throw nonsense("the name of an export that isn't there");
        const ExportNameReply head{offer_.size, offer_.transmission_flags};
        const std::array<std::byte, kExportNameZeroes> zeroes{};
        iovec pieces[] = {
            to_iovec(bytes_of(head)),
            to_iovec(std::span<const std::byte>(zeroes).first(send_zeroes_ ? zeroes.size() : 0))};
        stream_.write(pieces);
        return Next::kTransmission;
    }

    void list(std::span<const std::byte> data) {
        if (!data.empty()) return refuse(kRepErrInvalid, "NBD_OPT_LIST has no data");
        const be32 length = static_cast<uint32_t>(offer_.name.size());
        reply(kRepServer, {bytes_of(length), bytes_of(offer_.name), bytes_of(offer_.description)});
        reply(kRepAck);
    }

    bool info(std::span<const std::byte> bytes) {
        OptionData data(bytes);
        const std::string_view name = data.string();
        bool wants_name = false, wants_description = false;
        for (uint32_t count = data.number<be16>(); count > 0; --count) {
            const uint32_t type = data.number<be16>();
            wants_name |= type == kInfoName;
            wants_description |= type == kInfoDescription;
        }
        if (!data.complete()) {
            refuse(kRepErrInvalid, "the option's data is not what it should be");
            return false;
        }
        if (!is_ours(name)) {
            refuse(kRepErrUnknown, "there is no such export");
            return false;
        }
        reply(kRepInfo,
              {bytes_of(InfoExport{uint16_t{kInfoExport}, offer_.size, offer_.transmission_flags})});
        reply(kRepInfo, {bytes_of(InfoBlockSize{uint16_t{kInfoBlockSize}, offer_.minimum_block,
                                                std::max(4096u, offer_.minimum_block), kMaxPayload})});
        if (wants_name) reply(kRepInfo, {bytes_of(be16(uint16_t{kInfoName})), bytes_of(offer_.name)});
        if (wants_description && !offer_.description.empty()) {
            reply(kRepInfo, {bytes_of(be16(uint16_t{kInfoDescription})), bytes_of(offer_.description)});
        }
        reply(kRepAck);
        return true;
    }

    void meta_context(std::span<const std::byte> bytes) {
        const bool set = option_ == kOptSetMetaContext;
        if (set) agreement_.base_allocation = false;
        OptionData data(bytes);
        const std::string_view name = data.string();
        const uint32_t count = data.number<be32>();
        // All there are, when a list is asked for without naming any.
        bool selected = !set && count == 0;
        // A query has four bytes at least: count is bounded by what was received.
        for (uint32_t i = 0; i < count && i <= bytes.size(); ++i) {
            const std::string_view query = data.string();
            selected |= query == kBaseAllocation || (!set && query == "base:");
        }
        if (!data.complete()) return refuse(kRepErrInvalid, "the option's data is not what it should be");
        if (!agreement_.structured_replies) {
            return refuse(kRepErrInvalid, "contexts need structured replies");
        }
        if (!is_ours(name)) return refuse(kRepErrUnknown, "there is no such export");
        if (selected) {
            const be32 id = set ? kNbdAllocationContext : 0;
            reply(kRepMetaContext, {bytes_of(id), bytes_of(std::string_view(kBaseAllocation))});
            if (set) agreement_.base_allocation = true;
        }
        reply(kRepAck);
    }

    void reply(uint32_t type, std::initializer_list<std::span<const std::byte>> parts = {}) {
        std::vector<std::byte> message(sizeof(OptionReply));
        for (const auto& part : parts) message.insert(message.end(), part.begin(), part.end());
        const OptionReply head{kOptionReplyMagic, option_, type,
                               static_cast<uint32_t>(message.size() - sizeof(OptionReply))};
        std::memcpy(message.data(), &head, sizeof head);
        stream_.write(message);
    }
    void refuse(uint32_t type, std::string_view why) { reply(type, {bytes_of(why)}); }

    Error nonsense(const std::string& what) const {
        return Error(ErrorKind::kCorrupt, stream_.peer() + " sent " + what + " in the negotiation");
    }

    NbdStream& stream_;
    const NbdExport& offer_;
    NbdAgreement agreement_;
    bool send_zeroes_ = true;
    uint32_t option_ = 0;
};

}  // namespace

std::optional<NbdAgreement> nbd_server_handshake(NbdStream& stream, const NbdExport& offer) {
    return ServerHandshake(stream, offer).run();
}

}  // namespace inspect
