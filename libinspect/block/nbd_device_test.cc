// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_device.h"

#include <sys/socket.h>

#include "block/memory_device.h"
#include "block/nbd_for_test.h"
#include "block/raw.h"

namespace inspect {
namespace {

TEST(NbdDevice, DoesWhatTheDeviceBehindItDoes) {
    std::mt19937_64 random(11);
    for (const uint64_t size : {uint64_t{1}, uint64_t{100'003}, uint64_t{5} << 20}) {
        Bytes model = random_bytes(random, size);
        MemoryDevice memory(model);
        ServedDevice served(memory, {.name = "disk"});
        auto device = connect_nbd(served.uri("disk"));
        ASSERT_EQ(device->size(), size);
        for (int round = 0; round < 200; ++round) {
            const uint64_t offset = random() % size;
            const uint64_t length = random() % std::min<uint64_t>(size - offset + 1, 3u << 20);
            const auto at = model.begin() + static_cast<std::ptrdiff_t>(offset);
            Bytes data = random_bytes(random, length);
            std::vector<iovec> pieces;
            for (size_t done = 0; done < data.size();) {
                const size_t n = std::min<size_t>(random() % 100'000, data.size() - done);
                pieces.push_back({data.data() + done, n});
                done += n;
            }
            switch (random() % 6) {
                case 0:
                    device->write(offset, data);
                    std::copy(data.begin(), data.end(), at);
                    break;
                case 1:
                    device->writev(offset, pieces);
                    std::copy(data.begin(), data.end(), at);
                    break;
                case 2:
                    device->write_zeroes(offset, length, random() % 2 == 0);
                    std::fill_n(at, length, std::byte{0});
                    break;
                case 3:
                    device->discard(offset, length);  // this device clears what is discarded
                    std::fill_n(at, length, std::byte{0});
                    break;
                case 4:
                    device->readv(offset, pieces);
                    ASSERT_TRUE(std::equal(data.begin(), data.end(), at));
                    break;
                default:
                    device->read(offset, data);
                    ASSERT_TRUE(std::equal(data.begin(), data.end(), at));
            }
        }
        device->flush();
        device.reset();
        served.stop();
        EXPECT_EQ(memory.bytes(), model);
    }
}

TEST(NbdDevice, TellsTheExtentsOfASparseFile) {
    TempDir dir;
    const std::string path = dir.sparse("image", uint64_t{6} << 30);
    RawDevice raw(open_file(path, O_RDWR), false, path);
    std::mt19937_64 random(1);
    for (const uint64_t at : {uint64_t{1} << 20, uint64_t{3} << 30, (uint64_t{5} << 30) + 4096}) {
        raw.write(at, random_bytes(random, 1 << 20));
    }
    ServedDevice served(raw);
    auto device = connect_nbd(served.uri());
    const auto same = [](const Extent& a, const Extent& b) {
        return a.offset == b.offset && a.length == b.length && a.kind == b.kind;
    };
    EXPECT_TRUE(std::ranges::equal(device->extents(0, device->size()), raw.extents(0, raw.size()), same));
    EXPECT_TRUE(
        std::ranges::equal(device->extents((1 << 20) + 77, 5000), raw.extents((1 << 20) + 77, 5000), same));
    // A read over the border of a hole has both.
    Bytes ours(3 << 20), raws(3 << 20);
    device->read(100, ours);
    raw.read(100, raws);
    EXPECT_EQ(ours, raws);
}

TEST(NbdDevice, RefusesWhatIsNotItsOwn) {
    MemoryDevice memory(4096);
    ServedDevice served(memory, {.name = "disk", .read_only = true});
    expect_error(ErrorKind::kNotFound, "no export 'other'", [&] { connect_nbd(served.uri("other"), true); });
    expect_error(ErrorKind::kDenied, "for reading only", [&] { connect_nbd(served.uri("disk")); });
    auto device = connect_nbd(served.uri("disk"), true);
    expect_error(ErrorKind::kDenied, "read-only", [&] { device->write(0, Bytes(1)); });
    Bytes beyond(97);
    expect_error(ErrorKind::kUsage, "bytes at offset", [&] { device->read(4000, beyond); });
    device->flush();
    served.stop();
    Bytes out(10);
    expect_error(ErrorKind::kCorrupt, "hung up", [&] { device->read(0, out); });
    expect_error(ErrorKind::kCorrupt, "hung up", [&] { device->read(0, out); });
    expect_error(ErrorKind::kNotFound, "does a server listen there?", [&] { connect_nbd(served.uri()); });
}

TEST(NbdDevice, IsHandedToAnother) {
    std::mt19937_64 random(2);
    MemoryDevice memory(random_bytes(random, 100'000));
    ServedDevice served(memory);
    auto first = connect_nbd(served.uri());
    Bytes out(100'000);
    first->read(0, out);
    const NbdTerms terms = first->terms();
    NbdDevice second(first->release(), terms, {.name = "handed"});
    expect_error(ErrorKind::kCorrupt, "handed to another", [&] { first->read(0, out); });
    first.reset();
    std::ranges::fill(out, std::byte{0});
    second.read(0, out);
    EXPECT_EQ(out, memory.bytes());
}

// --- Against others' servers -------------------------------------------------------------------------------

TEST(NbdDevice, WithQemuNbd) {
    SKIP_WITHOUT("qemu-nbd");
    TempDir dir;
    std::mt19937_64 random(3);
    Bytes model = random_bytes(random, 3 << 20);
    dir.write("image", model);
    const std::string socket = dir.file("socket");
    const NbdUri uri = NbdUri::parse("nbd+unix:///name?socket=" + socket);
    // With --fork it returns when it listens.
    run({"qemu-nbd", "--fork", "-f", "raw", "-x", "name", "-k", socket, dir.file("image")});
    auto device = std::make_unique<NbdDevice>(connect_to_nbd_server(uri, std::chrono::seconds(10)), "name",
                                              NbdDeviceOptions{.name = uri.text});
    ASSERT_EQ(device->size(), model.size());
    EXPECT_TRUE(device->terms().structured_replies);
    EXPECT_TRUE(device->terms().base_allocation);
    for (int round = 0; round < 50; ++round) {
        const uint64_t offset = random() % model.size();
        Bytes data = random_bytes(random, random() % (model.size() - offset) % (1 << 20));
        device->write(offset, data);
        std::ranges::copy(data, model.begin() + static_cast<std::ptrdiff_t>(offset));
        const uint64_t zeroes = random() % (model.size() - 65536);
        device->write_zeroes(zeroes, 65536, round % 2 == 0);
        std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(zeroes), 65536, std::byte{0});
    }
    Bytes out(model.size());
    device->read(0, out);
    EXPECT_TRUE(out == model);
    device->flush();
    device.reset();
    EXPECT_TRUE(read_file(dir.file("image")) == model);
}

// nbdkit, from its command line's plugin on, for as long as the object is there.
class Nbdkit {
  public:
    explicit Nbdkit(std::vector<std::string> arguments) {
        socket_ = dir_.file("socket");
        const std::string ready = dir_.file("pid");  // is made when it listens; the socket is there before
        std::vector<std::string> line = {"nbdkit", "--foreground", "--exit-with-parent", "--pidfile", ready,
                                         "--unix", socket_};
        line.insert(line.end(), arguments.begin(), arguments.end());
        process_ = std::make_unique<Subprocess>(SubprocessOptions{.arguments = line});
        for (int i = 0; i < 1000 && ::access(ready.c_str(), F_OK) != 0; ++i) ::usleep(10'000);
        EXPECT_EQ(::access(ready.c_str(), F_OK), 0) << process_->errors();
    }
    std::string uri() const { return "nbd+unix:///?socket=" + socket_; }

  private:
    TempDir dir_;
    std::string socket_;
    std::unique_ptr<Subprocess> process_;
};

TEST(NbdDevice, WithServersThatKnowLess) {
    SKIP_WITHOUT("nbdkit");
    std::mt19937_64 random(4);
    const Bytes data = random_bytes(random, 300'000);
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
             {"memory", "1M"},
             {"--no-sr", "memory", "1M"},
             {"--filter=nozero", "memory", "1M"},
             {"--filter=fua", "memory", "1M", "fuamode=emulate"},
             {"--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096",
              "blocksize-preferred=4096", "blocksize-maximum=65536", "blocksize-error-policy=error"}}) {
        SCOPED_TRACE(arguments[0]);
        Nbdkit server(arguments);
        auto device = connect_nbd(server.uri());
        device->write(12'345, data);
        device->write_zeroes(20'001, 100'000, true);
        device->discard(0, 4097);
        device->flush();
        Bytes expected(1 << 20), out(1 << 20);
        std::ranges::copy(data, expected.begin() + 12'345);
        std::fill_n(expected.begin() + 20'001, 100'000, std::byte{0});
        device->read(0, out);
        EXPECT_TRUE(out == expected);
        uint64_t covered = 0;
        for (const Extent& extent : device->extents(0, device->size())) covered += extent.length;
        EXPECT_EQ(covered, device->size());
    }
}

TEST(NbdDevice, ErrorsOfTheServerAreToldAndSurvived) {
    SKIP_WITHOUT("nbdkit");
    Nbdkit server({"--filter=error", "memory", "1M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%"});
    auto device = connect_nbd(server.uri());
    expect_error(ErrorKind::kNoSpace, "cannot write", [&] { device->write(0, Bytes(1 << 20)); });
    Bytes out(1 << 20, std::byte{1});
    device->read(0, out);
    EXPECT_EQ(out, Bytes(1 << 20));
}

TEST(NbdDevice, AServerThatStallsIsAnError) {
    SKIP_WITHOUT("nbdkit");
    Nbdkit server({"--filter=delay", "memory", "1M", "rdelay=30"});
    auto device = connect_nbd(server.uri(), false, std::chrono::milliseconds(300));
    Bytes out(512);
    const auto start = std::chrono::steady_clock::now();
    expect_error(ErrorKind::kCorrupt, "does not answer", [&] { device->read(0, out); });
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

// --- Against servers that lie ------------------------------------------------------------------------------

using namespace nbd;

// Says what it was told to, whatever it is asked.
class LyingServer {
  public:
    // The client's end of the connection.
    Fd start(Bytes says) {
        int ends[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        thread_ = std::thread([socket = Fd(ends[1]), says = std::move(says)] {
            ::send(socket.get(), says.data(), says.size(), MSG_NOSIGNAL);
            ::shutdown(socket.get(), SHUT_WR);
            char ignored[4096];
            while (::recv(socket.get(), ignored, sizeof ignored, 0) > 0) {
            }
        });
        return Fd(ends[0]);
    }
    ~LyingServer() {
        if (thread_.joinable()) thread_.join();
    }

  private:
    std::thread thread_;
};

template <typename... T>
Bytes say(const T&... objects) {
    Bytes bytes;
    const auto add = [&](const auto& object) {
        const auto raw = std::as_bytes(std::span(&object, 1));
        bytes.insert(bytes.end(), raw.begin(), raw.end());
    };
    (add(objects), ...);
    return bytes;
}

Bytes operator+(Bytes a, const Bytes& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

const ServerHello kHello{kInitMagic, kOptionMagic, uint16_t{kFixedNewstyle | kNoZeroes}};

OptionReply reply(Option option, uint32_t type, uint32_t length = 0) {
    return {kOptionReplyMagic, uint32_t{option}, type, length};
}

// A negotiation up to the size and the block sizes.
Bytes negotiation(uint64_t size, uint32_t minimum = 1, uint32_t maximum = kMaxPayload) {
    return say(kHello, reply(kOptStructuredReply, kRepAck), reply(kOptSetMetaContext, kRepMetaContext, 19),
               be32(7u)) +
           Bytes(reinterpret_cast<const std::byte*>(kBaseAllocation),
                 reinterpret_cast<const std::byte*>(kBaseAllocation) + 15) +
           say(reply(kOptSetMetaContext, kRepAck), reply(kOptGo, kRepInfo, sizeof(InfoExport)),
               InfoExport{uint16_t{kInfoExport}, size, uint16_t{kHasFlags | kSendFlush}},
               reply(kOptGo, kRepInfo, sizeof(InfoBlockSize)),
               InfoBlockSize{uint16_t{kInfoBlockSize}, minimum, minimum, maximum}, reply(kOptGo, kRepAck));
}

void expect_no_device(const std::string& why, const Bytes& says, ErrorKind kind = ErrorKind::kCorrupt) {
    LyingServer server;
    Fd socket = server.start(says);
    expect_error(kind, why, [&] { NbdDevice(std::move(socket), "", {.name = "liar"}); });
}

TEST(NbdDevice, LiesInTheNegotiationAreErrors) {
    expect_no_device("hung up", {});
    expect_no_device("hung up", say(kHello));
    expect_no_device("no NBD server", say(be64(1u), be64(2u)));
    expect_no_device("before 2013", say(be64(kInitMagic), be64(kOldstyleMagic), be64(4096u)),
                     ErrorKind::kUnsupported);
    expect_no_device("before 2013", say(ServerHello{kInitMagic, kOptionMagic, uint16_t{0}}),
                     ErrorKind::kUnsupported);
    expect_no_device("use nbds://", say(kHello, reply(kOptStructuredReply, kRepErrTlsRequired)),
                     ErrorKind::kUnsupported);
    expect_no_device("no reply to an option", say(kHello, reply(kOptGo, kRepAck)));
    expect_no_device("no reply to an option",
                     say(kHello, reply(kOptStructuredReply, kRepErrUnsupported, ~0u)));
    expect_no_device("no size",
                     say(kHello, reply(kOptStructuredReply, kRepErrUnsupported), reply(kOptGo, kRepAck)));
    expect_no_device("impossible size", negotiation(uint64_t{1} << 63));
    expect_no_device("impossible block size", negotiation(4096, 3));
    expect_no_device("impossible block size", negotiation(4096, 0));
    expect_no_device("impossible block size", negotiation(4096, 1 << 30));
    expect_no_device("impossible block size", negotiation(1000, 512));
    expect_no_device("impossible block size", negotiation(4096, 4096, 512));
    expect_no_device("more than was asked", negotiation(4096) + say(be64(1u)));
    Bytes endless = say(kHello, reply(kOptStructuredReply, kRepErrUnsupported));
    for (int i = 0; i < 300; ++i) endless = endless + say(reply(kOptGo, kRepInfo, 2), be16(uint16_t{77}));
    expect_no_device("without end", endless);
}

// What a server answers to the first request of a device, whose cookie is 1.
void expect_bad_answer(const std::string& why, const Bytes& answer,
                       const std::function<void(NbdDevice&)>& request) {
    SCOPED_TRACE(why);
    const NbdTerms terms{.size = 4096,
                         .transmission_flags = kHasFlags | kSendFlush,
                         .structured_replies = true,
                         .base_allocation = true,
                         .allocation_context = 7};
    LyingServer server;
    NbdDevice device(server.start(answer), terms, {.name = "liar"});
    expect_error(ErrorKind::kCorrupt, why, [&] { request(device); });
    expect_error(ErrorKind::kCorrupt, why, [&] { request(device); });  // and it stays unusable
}

Chunk chunk(ChunkType type, uint32_t length, uint16_t flags = kChunkDone, uint64_t cookie = 1) {
    return {kStructuredReplyMagic, flags, uint16_t{type}, cookie, length};
}

TEST(NbdDevice, LiesInRepliesAreErrors) {
    const auto read = [](NbdDevice& device) {
        Bytes out(512);
        device.read(1024, out);
    };
    const auto examine = [](NbdDevice& device) { device.extents(0, 4096); };
    expect_bad_answer("hung up", {}, read);
    expect_bad_answer("no reply", say(be64(1u), be64(1u)), read);
    expect_bad_answer("not made", say(SimpleReply{kSimpleReplyMagic, 5u, uint64_t{9}}), read);
    expect_bad_answer("not made", say(chunk(kChunkNone, 0, kChunkDone, 0)), read);
    expect_bad_answer("structured one is due", say(SimpleReply{kSimpleReplyMagic, 0u, uint64_t{1}}), read);
    expect_bad_answer("data missing", say(chunk(kChunkNone, 0)), read);
    expect_bad_answer("too short", say(chunk(kChunkOffsetData, 8), be64(1024u)), read);
    expect_bad_answer("not asked for", say(chunk(kChunkOffsetData, 8 + 512), be64(1025u)), read);
    expect_bad_answer("not asked for", say(chunk(kChunkOffsetData, 8 + 512), be64(1023u)), read);
    expect_bad_answer("not asked for", say(chunk(kChunkOffsetData, ~0u), be64(1024u)), read);
    expect_bad_answer("not asked for", say(chunk(kChunkOffsetHole, 12), be64(1024u), be32(513u)), read);
    expect_bad_answer("not asked for", say(chunk(kChunkOffsetHole, 12), be64(~uint64_t{0}), be32(512u)),
                      read);
    expect_bad_answer("same data twice",
                      say(chunk(kChunkOffsetHole, 12, 0), be64(1024u), be32(300u),
                          chunk(kChunkOffsetHole, 12), be64(1323u), be32(213u)),
                      read);
    expect_bad_answer("data missing", say(chunk(kChunkOffsetHole, 12), be64(1024u), be32(511u)), read);
    expect_bad_answer("unknown kind", say(chunk(ChunkType{77}, 0)), read);
    expect_bad_answer("error of the wrong form", say(chunk(kChunkError, 6), be32(0u), be16(uint16_t{0})),
                      read);
    expect_bad_answer("error of the wrong form", say(chunk(kChunkError, 6), be32(5u), be16(uint16_t{9})),
                      read);
    expect_bad_answer("error of the wrong form", say(chunk(kChunkError, ~0u), be32(5u), be16(uint16_t{9})),
                      read);
    expect_bad_answer("not asked for", say(chunk(kChunkBlockStatus, 12), be32(8u), be64(0u)), examine);
    expect_bad_answer("no length", say(chunk(kChunkBlockStatus, 12), be32(7u), be64(0u)), examine);
    expect_bad_answer("wrong form", say(chunk(kChunkBlockStatus, 13)), examine);
    expect_bad_answer("wrong form", say(chunk(kChunkBlockStatus, 4 + (1u << 30))), examine);
    expect_bad_answer("without the block status", say(chunk(kChunkNone, 0)), examine);
    Bytes endless;
    for (int i = 0; i < 70'000; ++i) {
        const Bytes one = say(chunk(kChunkNone, 0, 0));
        endless.insert(endless.end(), one.begin(), one.end());
    }
    expect_bad_answer("without end", endless, read);
}

// A size that isn't so shows when the end is read, as an error.
TEST(NbdDevice, AServerThatLiesAboutItsSize) {
    LyingServer server;
    NbdDevice device(server.start(negotiation(uint64_t{1} << 62)), "", {.name = "liar"});
    EXPECT_EQ(device.size(), uint64_t{1} << 62);
    Bytes out(512);
    expect_error(ErrorKind::kCorrupt, "hung up", [&] { device.read((uint64_t{1} << 62) - 512, out); });
}

TEST(NbdUri, IsUnderstood) {
    NbdUri uri = NbdUri::parse("nbd://example.org/a%20b/c");
    EXPECT_EQ(uri.host, "example.org");
    EXPECT_EQ(uri.port, 10809);
    EXPECT_EQ(uri.export_name, "a b/c");
    EXPECT_FALSE(uri.tls);
    uri = NbdUri::parse("nbds://user@[::1]:99");
    EXPECT_EQ(uri.host, "::1");
    EXPECT_EQ(uri.port, 99);
    EXPECT_EQ(uri.export_name, "");
    EXPECT_TRUE(uri.tls);
    uri = NbdUri::parse("nbd+unix:///e?socket=/tmp/a%2Cb");
    EXPECT_EQ(uri.socket_path, "/tmp/a,b");
    EXPECT_EQ(uri.export_name, "e");
    EXPECT_TRUE(uri.host.empty());
    EXPECT_EQ(NbdUri::parse("nbd://").host, "localhost");
    EXPECT_TRUE(NbdUri::looks_like("nbds+unix:///"));
    EXPECT_FALSE(NbdUri::looks_like("/nbd://"));
    for (const char* bad :
         {"http://x", "nbd://h:0/", "nbd://h:65536/", "nbd://h:1x/", "nbd://[::1/", "nbd+unix:///e",
          "nbd+unix://host/e?socket=/x", "nbd://h/?socket=/x", "nbd://h/%0", "nbd://h/%zz", "nbd://h/%00",
          "nbd://h/?tls-certificates=/x", "nbd://h/#f", "nbd://[::1]x/"}) {
        expect_error(ErrorKind::kUsage, "is not understood", [&] { NbdUri::parse(bad); });
    }
}

TEST(NbdUri, HostsAreFound) {
    MemoryDevice memory(1000);
    NbdServer server(memory, {});
    const Fd listening = listen_on_loopback(0);
    const Fd stop(::eventfd(0, EFD_CLOEXEC));
    std::thread thread([&] { server.serve(listening.get(), stop.get()); });
    const std::string port = std::to_string(local_port(listening.get()));
    for (const char* host : {"127.0.0.1", "localhost", "ip4-loopback.invalid"}) {
        const std::string uri = std::string("nbd://") + host + ":" + port;
        if (std::string(host).ends_with("invalid")) {
            expect_error(ErrorKind::kNotFound, "there is no host", [&] { connect_nbd(uri); });
        } else {
            EXPECT_EQ(connect_nbd(uri)->size(), 1000u);
        }
    }
    const uint64_t one = 1;
    ASSERT_EQ(::write(stop.get(), &one, sizeof one), 8);
    thread.join();
}

}  // namespace
}  // namespace inspect
