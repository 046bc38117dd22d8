// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arbitrary bytes as an NBD client's. The server answers, refuses or hangs up; it never crashes, hangs or
// leaves the device.
//
// Few inputs would get past the negotiation, and few past a request's magic. So the first byte of the input
// says what is put right: 1: a negotiation comes before it; 2: what stands where a request begins has its
// magic; 4: and is of a known type and of a length that the device may have.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "block/memory_device.h"
#include "block/nbd_protocol.h"
#include "block/nbd_server.h"

using namespace inspect;
using namespace inspect::nbd;

namespace {

constexpr uint64_t kDeviceSize = 300'001;

// Data, zeros and holes by turns.
class Striped final : public BlockDevice {
  public:
    uint64_t size() const noexcept override { return memory_.size(); }
    bool read_only() const noexcept override { return false; }
    void read(uint64_t offset, std::span<std::byte> out) override { memory_.read(offset, out); }
    void write(uint64_t offset, std::span<const std::byte> in) override { memory_.write(offset, in); }
    void flush() override {}
    void discard(uint64_t offset, uint64_t length) override { require_range(offset, length); }
    void write_zeroes(uint64_t offset, uint64_t length, bool unmap) override {
        memory_.write_zeroes(offset, length, unmap);
    }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        require_range(offset, length);
        std::vector<Extent> result;
        while (length > 0) {
            const uint64_t n = std::min(length, kStripe - offset % kStripe);
            result.push_back({offset, n, static_cast<ExtentKind>(offset / kStripe % 3)});
            offset += n;
            length -= n;
        }
        return result;
    }

  private:
    static constexpr uint64_t kStripe = 40'000;
    MemoryDevice memory_{kDeviceSize};
};

template <typename T>
void append(std::vector<uint8_t>& bytes, const T& object) {
    const auto* raw = reinterpret_cast<const uint8_t*>(&object);
    bytes.insert(bytes.end(), raw, raw + sizeof object);
}

void append_negotiation(std::vector<uint8_t>& bytes) {
    append(bytes, be32(kFixedNewstyle | kNoZeroes));
    append(bytes, OptionRequest{kOptionMagic, uint32_t{kOptStructuredReply}, 0u});
    constexpr uint32_t kName = sizeof kBaseAllocation - 1;
    append(bytes, OptionRequest{kOptionMagic, uint32_t{kOptSetMetaContext}, 12 + kName});
    append(bytes, be32(0u));
    append(bytes, be32(1u));
    append(bytes, be32(kName));
    bytes.insert(bytes.end(), kBaseAllocation, kBaseAllocation + kName);
    append(bytes, OptionRequest{kOptionMagic, uint32_t{kOptGo}, 6u});
    append(bytes, be32(0u));
    append(bytes, be16(uint16_t{0}));
}

void put_right(std::vector<uint8_t>& bytes, size_t at, bool known) {
    while (bytes.size() - at >= sizeof(Request)) {
        Request request;
        std::memcpy(&request, bytes.data() + at, sizeof request);
        request.magic = kRequestMagic;
        if (known) {
            request.type = static_cast<uint16_t>(request.type % 9);
            request.flags = static_cast<uint16_t>(request.flags & 0x1f);
            request.length = request.length % (kDeviceSize + 2);
            request.offset = request.offset % (kDeviceSize + 2);
        }
        std::memcpy(bytes.data() + at, &request, sizeof request);
        const uint64_t payload = request.type == kCmdWrite ? uint64_t{request.length} : 0;
        at += std::min<uint64_t>(sizeof request + payload, bytes.size() - at);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 1 || size > 32'000) return 0;  // what a socket's buffer takes at once
    std::vector<uint8_t> bytes;
    if ((data[0] & 1) != 0) append_negotiation(bytes);
    const size_t begin = bytes.size();
    bytes.insert(bytes.end(), data + 1, data + size);
    if ((data[0] & 2) != 0) put_right(bytes, begin, (data[0] & 4) != 0);

    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) std::abort();
    if (::send(ends[0], bytes.data(), bytes.size(), MSG_DONTWAIT) != static_cast<ssize_t>(bytes.size()))
        std::abort();
    ::shutdown(ends[0], SHUT_WR);
    std::thread client([&] {
        std::vector<char> ignored(1 << 20);
        while (::recv(ends[0], ignored.data(), ignored.size(), 0) > 0) {
        }
    });
    Striped device;
    NbdServer server(device, {.name = "fuzz", .description = "x"});
    server.serve_connection(ends[1]);
    ::shutdown(ends[1], SHUT_RDWR);
    client.join();
    ::close(ends[0]);
    ::close(ends[1]);
    return 0;
}
