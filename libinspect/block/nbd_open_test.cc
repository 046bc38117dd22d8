// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Encrypted NBD, with nbdkit as the server. The program insp-nbd is found where the build puts it, beside the
// tests'.
#include "block/nbd_open.h"

#include <cstdlib>

#include "block/memory_device.h"
#include "block/nbd_for_test.h"

namespace inspect {
namespace {

class NbdOpen : public testing::Test {
  protected:
    void SetUp() override {
        SKIP_WITHOUT("nbdkit");
        if (run_program({"nbdkit", "--dump-config"}, std::chrono::seconds(20), 1 << 20)
                .output.find("tls=yes") == std::string::npos) {
            GTEST_SKIP() << "this nbdkit knows no TLS";
        }
        std::ofstream(dir_.file("keys")) << "alice:0102030405060708090a0b0c0d0e0f10\n";
        std::ofstream(dir_.file("others")) << "alice:ff02030405060708090a0b0c0d0e0f10\n";
    }
    void start(const std::vector<std::string>& plugin) {
        std::vector<std::string> line = {"nbdkit",
                                         "--foreground",
                                         "--exit-with-parent",
                                         "--pidfile",  // is made when it listens; the socket is there before
                                         dir_.file("pid"),
                                         "--unix",
                                         dir_.file("socket"),
                                         "--tls=require",
                                         "--tls-psk=" + dir_.file("keys")};
        line.insert(line.end(), plugin.begin(), plugin.end());
        ::unlink(dir_.file("pid").c_str());  // of one before
        server_ = std::make_unique<Subprocess>(SubprocessOptions{.arguments = line});
        for (int i = 0; i < 1000 && ::access(dir_.file("pid").c_str(), F_OK) != 0; ++i) ::usleep(10'000);
    }
    std::string uri(const std::string& keys) const {
        return "nbds+unix://alice@/?socket=" + dir_.file("socket") + "&tls-psk-file=" + dir_.file(keys);
    }

    TempDir dir_;
    std::unique_ptr<Subprocess> server_;
};

TEST_F(NbdOpen, Encrypted) {
    start({"memory", "3M"});
    std::mt19937_64 random(31);
    const Bytes data = random_bytes(random, 700'001);
    Bytes out(data.size());
    {
        auto device = open_nbd(uri("keys"), false);
        EXPECT_EQ(device->size(), 3u << 20);
        device->write(99, data);
        device->write_zeroes(1000, 5000, true);
        device->flush();
    }
    auto device = open_nbd(uri("keys"), true);
    device->read(99, out);
    Bytes expected = data;
    std::fill_n(expected.begin() + (1000 - 99), 5000, std::byte{0});
    EXPECT_TRUE(out == expected);
    const auto extents = device->extents(0, device->size());
    EXPECT_EQ(extents.back().offset + extents.back().length, device->size());
    EXPECT_NE(extents.back().kind, ExtentKind::kData);
    expect_error(ErrorKind::kDenied, "read-only", [&] { device->write(0, data); });
}

TEST_F(NbdOpen, BlockSizesAreKept) {
    start({"--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=512",
           "blocksize-error-policy=error"});
    auto device = open_nbd(uri("keys"), false);
    EXPECT_EQ(device->connection().terms().minimum_block, 512u);
    device->write(1000, Bytes(3, std::byte{5}));
    Bytes out(5);
    device->read(999, out);
    EXPECT_EQ(out, (Bytes{std::byte{0}, std::byte{5}, std::byte{5}, std::byte{5}, std::byte{0}}));
}

TEST_F(NbdOpen, WhatGoesWrongIsSaid) {
    start({"memory", "1M"});
    expect_error(ErrorKind::kNotFound, "cannot open", [&] { open_nbd(uri("others"), true); });
    expect_error(ErrorKind::kUnsupported, "use nbds://",
                 [&] { open_nbd("nbd+unix:///?socket=" + dir_.file("socket"), true); });
    server_.reset();
    expect_error(ErrorKind::kNotFound, "cannot open", [&] { open_nbd(uri("keys"), true); });
    ::setenv("INSP_NBD", "/nowhere/insp-nbd", 1);
    expect_error(ErrorKind::kNotFound, "insp-nbd", [&] { open_nbd(uri("keys"), true); });
    ::unsetenv("INSP_NBD");
}

TEST(NbdOpenPlain, NeedsNoHelper) {
    MemoryDevice memory(5000);
    ServedDevice served(memory, {.name = "a"});
    open_nbd(served.uri("a"), false)->write(10, Bytes(10, std::byte{1}));
    served.stop();
    EXPECT_EQ(memory.bytes()[19], std::byte{1});
}

}  // namespace
}  // namespace inspect
