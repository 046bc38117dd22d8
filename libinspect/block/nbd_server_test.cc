// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The server with the clients that people use, and with clients that nobody should be.
#include "block/nbd_server.h"

#include <sys/socket.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "block/faulty.h"
#include "block/memory_device.h"
#include "block/nbd_for_test.h"
#include "block/nbd_protocol.h"
#include "block/overlay.h"
#include "block/raw.h"

namespace inspect {
namespace {

using nlohmann::json;

// A sparse file of 64 MiB with random data in three places.
class SparseImage {
  public:
    SparseImage() : path_(dir_.sparse("image", 64 << 20)) {
        std::mt19937_64 random(5);
        auto device = open();
        for (const uint64_t at : {0u, 10u << 20, (64u << 20) - 8192})
            device->write(at, random_bytes(random, 8192));
    }
    std::unique_ptr<RawDevice> open() const {
        return std::make_unique<RawDevice>(open_file(path_, O_RDWR), false, path_);
    }
    const std::string& path() const { return path_; }
    std::string file(const std::string& name) const { return dir_.file(name); }

  private:
    TempDir dir_;
    std::string path_;
};

TEST(NbdServer, NbdinfoSeesWhatIsServed) {
    SKIP_WITHOUT("nbdinfo");
    SparseImage image;
    auto device = image.open();
    ServedDevice served(*device, {.name = "disk", .description = "a test's"});
    const json info = json::parse(run({"nbdinfo", "--json", "--list", served.uri()}));
    EXPECT_EQ(info["protocol"], "newstyle-fixed");
    EXPECT_TRUE(info["structured"]);
    const json& e = info["exports"].at(0);
    EXPECT_EQ(e["export-name"], "disk");
    EXPECT_EQ(e["description"], "a test's");
    EXPECT_EQ(e["export-size"], 64 << 20);
    for (const char* yes :
         {"can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn", "can_cache", "can_df"})
        EXPECT_TRUE(e[yes]) << yes;
    for (const char* no : {"is_read_only", "can_fast_zero", "is_rotational"}) EXPECT_FALSE(e[no]) << no;
    const json map = json::parse(run({"nbdinfo", "--json", "--map", served.uri("disk")}));
    ASSERT_EQ(map.size(), 5u);
    EXPECT_EQ(map[1]["offset"], 8192);
    EXPECT_EQ(map[1]["length"], (10 << 20) - 8192);
    EXPECT_EQ(map[1]["type"], 3);
    EXPECT_EQ(map[2]["type"], 0);
    EXPECT_NE(run_program({"nbdinfo", served.uri("other")}, std::chrono::seconds(20), 1 << 20).status, 0);
}

TEST(NbdServer, QemuImgReadsMapsAndWrites) {
    SKIP_WITHOUT("qemu-img");
    SparseImage image;
    auto device = image.open();
    ServedDevice served(*device);
    run({"qemu-img", "compare", "-f", "raw", "-F", "raw", image.path(), served.uri()});
    const auto map = [](const std::string& what) {
        return json::parse(run({"qemu-img", "map", "-f", "raw", "--output=json", what}));
    };
    const json ours = map(served.uri()), theirs = map(image.path());
    ASSERT_EQ(ours.size(), theirs.size());
    for (size_t i = 0; i < ours.size(); ++i) {
        for (const char* key : {"start", "length", "zero", "data"}) EXPECT_EQ(ours[i][key], theirs[i][key]);
    }
    // A copy into a served device, sparse as it was.
    RawDevice copy(open_file(TempDir().sparse("copy", 64 << 20), O_RDWR), false, "copy");
    {
        std::mt19937_64 random(6);
        copy.write(5 << 20, random_bytes(random, 1 << 20));  // to be cleared
        ServedDevice target(copy);
        run({"qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image.path(), target.uri()});
        run({"qemu-img", "compare", "-f", "raw", "-F", "raw", image.path(), target.uri()});
    }
    EXPECT_GE(copy.extents(0, copy.size()).size(), 5u);
    run({"qemu-img", "bench", "-f", "raw", "-c", "2000", "-d", "16", "-s", "4096", "-S", "8192",
         served.uri()});
}

TEST(NbdServer, QemuIoWritesClearsAndDiscards) {
    SKIP_WITHOUT("qemu-io");
    MemoryDevice device(random_bytes(*std::make_unique<std::mt19937_64>(8), 8 << 20));
    ServedDevice served(device);
    const std::string out = run({"qemu-io",
                                 "-f",
                                 "raw",
                                 "-c",
                                 "write -P 0x5a 1000 3000000",
                                 "-c",
                                 "read -P 0x5a 1000 3000000",
                                 "-c",
                                 "write -f -P 0x11 7M 4k",
                                 "-c",
                                 "write -z 1M 64k",
                                 "-c",
                                 "write -z -u 2M 64k",
                                 "-c",
                                 "discard 2560k 64k",
                                 "-c",
                                 "read -P 0 1M 64k",
                                 "-c",
                                 "read -P 0 2M 64k",
                                 "-c",
                                 "flush",
                                 "-c",
                                 "read -P 0x11 7M 4k",
                                 served.uri()});
    EXPECT_EQ(out.find("failed"), out.npos) << out;
    served.stop();
    EXPECT_EQ(device.bytes()[1000], std::byte{0x5a});
    EXPECT_EQ(device.bytes()[1 << 20], std::byte{0});
    EXPECT_EQ(device.bytes()[7 << 20], std::byte{0x11});
}

TEST(NbdServer, NbdcopyOverSeveralConnections) {
    SKIP_WITHOUT("nbdcopy");
    std::mt19937_64 random(9);
    MemoryDevice from(random_bytes(random, (24 << 20) + 77)), to(from.size());
    ServedDevice source(from, {.read_only = true}), target(to);
    run({"nbdcopy", "--connections=4", "--requests=16", source.uri(), target.uri()});
    target.stop();
    EXPECT_TRUE(from.bytes() == to.bytes());
}

TEST(NbdServer, NbdshSeesErrorsAndFlags) {
    SKIP_WITHOUT_NBDSH();
    SparseImage image;
    auto device = image.open();
    ServedDevice served(*device, {.read_only = true});
    nbdsh({"-u", served.uri(), "-c", R"(
h.set_strict_mode(0)
import errno
def fails(code, call):
    try: call()
    except nbd.Error as e: assert e.errno == code, (e.errno, code)
    else: assert False
assert h.is_read_only()
size = h.get_size()
fails('EPERM', lambda: h.pwrite(b'x' * 512, 0))
fails('EPERM', lambda: h.zero(512, 0))
fails('EPERM', lambda: h.trim(512, 0))
fails('EINVAL', lambda: h.pread(512, size - 511))
fails('EINVAL', lambda: h.pread(1, 1 << 63))
fails('EOVERFLOW', lambda: h.pread(4 << 20, 0, nbd.CMD_FLAG_DF))
fails('EINVAL', lambda: h.pread(512, 0, nbd.CMD_FLAG_FAST_ZERO))
h.cache(1 << 20, 0)
assert len(h.pread(32 << 20, 1 << 20)) == 32 << 20
chunks = []
h.pread_structured(1 << 20, 10 << 20, lambda d, o, s, e: chunks.append((len(d), o - (10 << 20), s)))
assert chunks == [(8192, 0, nbd.READ_DATA), ((1 << 20) - 8192, 8192, nbd.READ_HOLE)], chunks
h.pread_structured(256 << 10, 10 << 20, lambda d, o, s, e: chunks.append(s), nbd.CMD_FLAG_DF)
assert chunks[2:] == [nbd.READ_DATA]
)"});
}

// Without structured replies, and by the old way into the transmission phase.
TEST(NbdServer, ClientsThatKnowLess) {
    SKIP_WITHOUT_NBDSH();
    std::mt19937_64 random(10);
    MemoryDevice device(random_bytes(random, 40 << 20));
    ServedDevice served(device);
    for (const char* setup :
         {"h.set_request_structured_replies(False)",
          "h.set_handshake_flags(nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE)", "h.set_handshake_flags(0)"}) {
        SCOPED_TRACE(setup);
        const std::string script = std::string("h.set_uri_allow_local_file(True)\n") + setup +
                                   "\nh.connect_uri('" + served.uri() + R"(')
assert h.get_size() == 40 << 20
a = h.pread(32 << 20, 4097)
b = b''.join(h.pread(1 << 16, 4097 + i * (1 << 16)) for i in range(512))
assert a == b
h.pwrite(b'z' * (2 << 20), 3)
assert h.pread(2 << 20, 3) == b'z' * (2 << 20)
h.shutdown()
)";
        nbdsh({"-c", script});
    }
}

TEST(NbdServer, TheDevicesErrorsAreTheClients) {
    SKIP_WITHOUT_NBDSH();
    FaultPlan plan;
    plan.fail_at(1);
    FaultyDevice device(Bytes(1 << 20), plan);
    ServedDevice served(device);
    nbdsh({"-u", served.uri(), "-c", R"(
h.pwrite(b'x' * 4096, 0)
try: h.pwrite(b'y' * 300000, 0)
except nbd.Error as e: assert e.errno in ('EIO', 'ENOSPC'), e.errno
else: assert False
h.pwrite(b'z' * 300000, 8192)
h.flush()
)"});
}

TEST(NbdServer, ServesAnOverlay) {
    SKIP_WITHOUT("qemu-io");
    SparseImage image;
    const Bytes before = read_file(image.path());
    auto store = std::make_shared<OverlayStore>(OverlayStore::create(64 << 20, {1 << 20, {}}));
    Overlay overlay(image.open(), store);
    ServedDevice served(overlay);
    run({"qemu-io", "-f", "raw", "-c", "write -P 7 1M 20M", "-c", "read -P 7 1M 20M", "-c", "flush",
         served.uri()});
    served.stop();
    EXPECT_TRUE(read_file(image.path()) == before);
    EXPECT_FALSE(store->empty());
}

// The rule of block_device.h, kept for many clients at once.
class OneAtATime final : public BlockDevice {
  public:
    uint64_t size() const noexcept override { return 1 << 20; }
    bool read_only() const noexcept override { return false; }
    void read(uint64_t, std::span<std::byte> out) override {
        ++readers;
        if (changing) ++violations;
        std::ranges::fill(out, std::byte{1});
        --readers;
    }
    void write(uint64_t, std::span<const std::byte>) override { change(); }
    void flush() override { change(); }
    void discard(uint64_t, uint64_t) override { change(); }
    void write_zeroes(uint64_t, uint64_t, bool) override { change(); }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        change();
        return {{offset, length, ExtentKind::kData}};
    }
    std::atomic<int> readers{0}, changing{0}, violations{0};

  private:
    void change() {
        if (++changing > 1 || readers > 0) ++violations;
        std::this_thread::yield();
        --changing;
    }
};

TEST(NbdServer, ManyClientsDontMeetInTheDevice) {
    OneAtATime device;
    ServedDevice served(device, {.max_connections = 3});  // the others wait for their turn
    std::vector<std::thread> clients;
    for (int i = 0; i < 8; ++i) {
        clients.emplace_back([&served, i] {
            auto client = connect_nbd(served.uri());
            Bytes data(8192);
            for (int round = 0; round < 300; ++round) {
                client->read(0, data);
                if (i % 2 == 0) client->write(0, data);
                if (round % 50 == 0) client->flush();
            }
        });
    }
    for (auto& client : clients) client.join();
    EXPECT_EQ(device.violations, 0);
}

TEST(NbdServer, EndsWithItsLastClient) {
    MemoryDevice device(4096);
    TempDir dir;
    NbdServer server(device, {.end_with_last_client = true});
    const Fd listening = listen_on_unix_socket(dir.file("nbd"));
    std::thread thread([&] { server.serve(listening.get(), -1); });
    connect_nbd("nbd+unix:///?socket=" + dir.file("nbd"))->write(0, Bytes(4096, std::byte{3}));
    thread.join();
    EXPECT_EQ(device.bytes()[4095], std::byte{3});
}

TEST(NbdServer, SocketsInUseAreLeftAlone) {
    TempDir dir;
    {
        const Fd first = listen_on_unix_socket(dir.file("nbd"));
        expect_error(ErrorKind::kBusy, "in use", [&] { listen_on_unix_socket(dir.file("nbd")); });
    }
    const Fd second = listen_on_unix_socket(dir.file("nbd"));  // the first is gone, its name is not
    dir.write("file", Bytes(1));
    expect_error(ErrorKind::kBusy, "in use", [&] { listen_on_unix_socket(dir.file("file")); });
    EXPECT_EQ(read_file(dir.file("file")).size(), 1u);
    expect_error(ErrorKind::kUsage, "107 bytes",
                 [&] { listen_on_unix_socket(dir.file(std::string(200, 'x'))); });
    const Fd tcp = listen_on_loopback(0);
    expect_error(ErrorKind::kBusy, "in use", [&] { listen_on_loopback(local_port(tcp.get())); });
}

// --- Clients that are slow, dead or worse ------------------------------------------------------------------

using namespace nbd;

void send_bytes(const Fd& socket, const void* bytes, size_t size) {
    ::send(socket.get(), bytes, size, MSG_NOSIGNAL);
}

// A client in the transmission phase.
Fd negotiated(const ServedDevice& served) {
    NbdDevice device(served.connect(), "", {.name = "raw client"});
    return device.release();
}

TEST(NbdServer, StopsWithClientsInAnyState) {
    MemoryDevice device(64 << 20);
    ServedDevice served(device);
    const Fd silent = served.connect();  // says nothing
    const Fd idle = negotiated(served);  // asks nothing
    const Fd half = negotiated(served);  // stops in the middle of a request
    send_bytes(half, "\x25\x60\x95\x13", 4);
    const Fd payload = negotiated(served);  // in the middle of its payload
    const Request write{kRequestMagic, uint16_t{0}, uint16_t{kCmdWrite}, uint64_t{1}, uint64_t{0}, 1u << 20};
    send_bytes(payload, &write, sizeof write);
    send_bytes(payload, "abc", 3);
    const Fd deaf = negotiated(served);  // asks for much and doesn't read it
    const Request read{kRequestMagic, uint16_t{0}, uint16_t{kCmdRead}, uint64_t{1}, uint64_t{0}, 32u << 20};
    for (int i = 0; i < 20; ++i) send_bytes(deaf, &read, sizeof read);
    {
        const Fd gone = negotiated(served);
        send_bytes(gone, &read, sizeof read);
    }
    // A good one is served all the same.
    auto good = connect_nbd(served.uri());
    good->write(100, Bytes(1000, std::byte{4}));
    const auto start = std::chrono::steady_clock::now();
    served.stop();
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    EXPECT_EQ(device.bytes()[100], std::byte{4});
}

TEST(NbdServer, SlowNegotiationsAndStallsAreEnded) {
    MemoryDevice device(64 << 20);
    ServedDevice served(device, {.handshake_timeout = std::chrono::seconds(2),
                                 .stall_timeout = std::chrono::milliseconds(300)});
    const Fd idle = negotiated(served);  // may be idle for ever
    const Fd half = negotiated(served);
    send_bytes(half, "\x25\x60", 2);
    const Fd dripping = served.connect();
    std::thread drip([&dripping] {
        for (int i = 0; i < 60; ++i) {  // a byte at a time, never a whole option
            send_bytes(dripping, "\0", 1);
            ::usleep(50'000);
        }
    });
    for (const Fd* fd : {&half, &dripping}) {
        char ignored[256];
        ssize_t n;
        while ((n = ::recv(fd->get(), ignored, sizeof ignored, 0)) > 0) {
        }
        EXPECT_LE(n, 0);
    }
    drip.join();
    const Request flush{kRequestMagic, uint16_t{0}, uint16_t{kCmdFlush}, uint64_t{77}, uint64_t{0}, 0u};
    send_bytes(idle, &flush, sizeof flush);
    SimpleReply reply;
    ASSERT_EQ(::recv(idle.get(), &reply, sizeof reply, MSG_WAITALL), ssize_t{sizeof reply});
    EXPECT_EQ(reply.cookie, 77u);
    EXPECT_EQ(reply.error, 0u);
}

TEST(NbdServer, NonsenseEndsOnlyItsOwnConnection) {
    MemoryDevice device(1 << 20);
    ServedDevice served(device);
    auto good = connect_nbd(served.uri());
    std::mt19937_64 random(12);
    for (int i = 0; i < 300; ++i) {
        const Fd bad = i % 2 == 0 ? served.connect() : negotiated(served);
        Bytes junk = random_bytes(random, random() % 200);
        if (i % 4 == 0 && junk.size() >= 20) {  // the right beginning
            const be32 flags = kFixedNewstyle;
            const be64 magic = kOptionMagic;
            const be32 option = static_cast<uint32_t>(random() % 12),
                       length = static_cast<uint32_t>(random() % 100);
            std::memcpy(&junk[0], &flags, 4);
            std::memcpy(&junk[4], &magic, 8);
            std::memcpy(&junk[12], &option, 4);
            std::memcpy(&junk[16], &length, 4);
        }
        send_bytes(bad, junk.data(), junk.size());
    }
    Bytes out(1 << 20, std::byte{1});
    good->read(0, out);
    EXPECT_EQ(out, Bytes(1 << 20));
}

TEST(NbdServer, BadRequestsAreAnsweredAndTheNextOneIsGood) {
    MemoryDevice device(1 << 20);
    ServedDevice served(device);
    const Fd client = negotiated(served);
    const auto expect = [&](uint16_t type, uint16_t flags, uint64_t offset, uint32_t length, uint32_t error) {
        const Request request{kRequestMagic, flags, type, uint64_t{5}, offset, length};
        send_bytes(client, &request, sizeof request);
        if (type == kCmdWrite) {
            const Bytes payload(length);
            send_bytes(client, payload.data(), payload.size());
        }
        SimpleReply reply;
        ASSERT_EQ(::recv(client.get(), &reply, sizeof reply, MSG_WAITALL), ssize_t{sizeof reply});
        EXPECT_EQ(reply.cookie, 5u);
        if (reply.magic == kSimpleReplyMagic) {
            EXPECT_EQ(reply.error, error) << type;
            return;
        }
        be32 chunk_length, chunk_error;  // the head of a structured reply is as long up to here
        ASSERT_EQ(::recv(client.get(), &chunk_length, 4, MSG_WAITALL), 4);
        ASSERT_EQ(chunk_length, error == kOk ? 0u : 6u);
        if (error == kOk) return;
        ASSERT_EQ(::recv(client.get(), &chunk_error, 4, MSG_WAITALL), 4);
        EXPECT_EQ(chunk_error, error) << type;
        be16 message;
        ASSERT_EQ(::recv(client.get(), &message, 2, MSG_WAITALL), 2);
    };
    expect(kCmdRead, 0, 0, kMaxPayload + 1, kEinval);
    expect(kCmdRead, 0, (1 << 20) - 1, 2, kEinval);
    expect(kCmdRead, 0, ~uint64_t{0}, 2, kEinval);
    expect(kCmdRead, 0, 0, 0, kOk);
    expect(kCmdWrite, 0, 1 << 20, 1, kEnospc);
    expect(kCmdWrite, 0, (1 << 20) - 100'000, 200'000, kEnospc);
    expect(kCmdWrite, 0, 0, 0, kOk);
    expect(kCmdWrite, kFlagFastZero, 0, 10, kEinval);
    expect(kCmdWriteZeroes, kFlagFastZero, 0, 512, kEinval);
    expect(kCmdWriteZeroes, 0, 1, 1 << 20, kEnospc);
    expect(kCmdTrim, 0, 0, ~0u, kEnospc);
    expect(kCmdTrim, kFlagFua, 0, 4096, kOk);
    expect(kCmdCache, 0, 0, 1 << 20, kOk);
    expect(kCmdBlockStatus, 0, 0, 0, kEinval);
    expect(kCmdBlockStatus, 0, 0, ~0u, kEinval);
    expect(8, 0, 0, 0, kEinval);
    expect(0xffff, 0xffff, ~uint64_t{0}, ~0u, kEinval);
    expect(kCmdFlush, kFlagDf, 0, 0, kEinval);
    expect(kCmdFlush, 0, 0, 0, kOk);
}

TEST(NbdServer, TheKernelsClient) {
    if (::access("/dev/nbd0", R_OK | W_OK) != 0) GTEST_SKIP() << "there is no /dev/nbd0 that we may use";
    SKIP_WITHOUT("nbd-client");
    SparseImage image;
    auto device = image.open();
    ServedDevice served(*device);
    const std::string uri = served.uri();
    run({"nbd-client", "-unix", uri.substr(uri.find('=') + 1), "/dev/nbd0"});
    run({"cmp", image.path(), "/dev/nbd0"});
    run({"nbd-client", "-d", "/dev/nbd0"});
}

}  // namespace
}  // namespace inspect
