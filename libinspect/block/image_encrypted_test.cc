// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Images that are encrypted themselves, with LUKS. qemu-img makes them, and says what is in them afterwards.
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "block/image.h"
#include "block/image_for_test.h"
#include "block/nbd_for_test.h"

namespace inspect {
namespace {

constexpr uint64_t kSize = 2 << 20;

class EncryptedImage : public testing::Test {
  protected:
    void SetUp() override {
        SKIP_WITHOUT("qemu-img");
        SKIP_WITHOUT("qemu-storage-daemon");
        ::setenv("XDG_STATE_HOME", dir_.file("state").c_str(), 1);
    }
    void TearDown() override { ::unsetenv("XDG_STATE_HOME"); }

    // An empty disk, whose passphrase is "sesame". Empty: qemu-img couldn't.
    std::string make(const std::string& name, const std::string& format) {
        static const TempDir originals;  // it takes qemu-img seconds
        const std::string original = originals.file(format);
        if (!std::filesystem::exists(original) && !make_original(original, format)) return "";
        std::filesystem::copy_file(original, dir_.file(name));
        return dir_.file(name);
    }
    // qemu-img measures how fast it derives keys, which on a busy machine may fail.
    static bool make_original(const std::string& path, const std::string& format) {
        const std::string prefix = format == "luks" ? "" : "encrypt.";
        const std::string options = (prefix.empty() ? "" : prefix + "format=luks,") + prefix +
                                    "key-secret=k," + prefix + "iter-time=20";
        for (int attempt = 0; attempt < 10; ++attempt) {
            const auto result = run_program({"qemu-img", "create", "-q", "-f", format, "--object",
                                             "secret,id=k,data=sesame", "-o", options, path, "2M"},
                                            std::chrono::seconds(100), 1 << 20);
            if (result.status == 0) return true;
            std::filesystem::remove(path);
        }
        return false;
    }
    // What QEMU decrypts.
    Bytes judged(const std::string& path, const std::string& format) {
        const std::string key = format == "luks" ? "key-secret" : "encrypt.key-secret";
        run({"qemu-img", "convert", "--object", "secret,id=k,data=sesame", "--image-opts",
             "driver=" + format + "," + key + "=k,file.filename=" + path, "-O", "raw", dir_.file("judged")});
        return read_file(dir_.file("judged"));
    }
    static DiskSpec with_keys(const std::string& path, std::vector<EncryptionKey> keys,
                              const std::string& format = {}) {
        DiskSpec spec{.path = path, .format = format};
        spec.keys = std::move(keys);
        return spec;
    }

    TempDir dir_;
};

#define MAKE_OR_SKIP(path, name, format)         \
    const std::string path = make(name, format); \
    if (path.empty()) GTEST_SKIP() << "qemu-img cannot make a LUKS image on this machine"

TEST_F(EncryptedImage, IsReadAndWrittenWithItsKey) {
    for (const std::string format : {"qcow2", "luks"}) {
        SCOPED_TRACE(format);
        MAKE_OR_SKIP(path, "image." + format, format);
        Bytes expected = judged(path, format);  // LUKS alone: what was never written is anything
        // By its name, by its path, as one of all; after keys that are others', or wrong.
        const std::vector<std::vector<EncryptionKey>> keys = {
            {{"image." + format, "sesame"}},
            {{path, "sesame"}},
            {{"other", "no"}, {"all", "wrong"}, {"all", "sesame"}, {"all", "wrong, too"}}};
        for (size_t i = 0; i < keys.size(); ++i) {
            const uint64_t at = 300'000 * i;
            const Bytes data(5000, std::byte{static_cast<unsigned char>(i + 1)});
            const WriteMode mode = i == 1 ? WriteMode::kDirect : WriteMode::kAtomic;
            auto image =
                Image::open(with_keys(path, keys[i], format), {.writable = true, .write_mode = mode});
            EXPECT_TRUE(image->encrypted());
            EXPECT_EQ(image->format(), format);
            EXPECT_EQ(image->size(), kSize);
            if (mode == WriteMode::kAtomic) {
                serve(*image)->write(at, data);
            } else {
                image->node().open()->write(at, data);
            }
            EXPECT_EQ(image->commit(), mode == WriteMode::kAtomic);
            std::copy(data.begin(), data.end(), expected.begin() + static_cast<ptrdiff_t>(at));
        }
        EXPECT_TRUE(judged(path, format) == expected);
        EXPECT_TRUE(read_all(*Image::open(with_keys(path, keys[0], format), kReader)) == expected);
    }
}

TEST_F(EncryptedImage, NeedsTheRightKey) {
    MAKE_OR_SKIP(path, "image", "qcow2");
    for (const std::vector<EncryptionKey>& keys :
         {std::vector<EncryptionKey>{}, std::vector<EncryptionKey>{{"other", "sesame"}}}) {
        expect_error(ErrorKind::kDenied,
                     "--key image:key:", [&] { Image::open(with_keys(path, keys), kReader); });
    }
    expect_error(ErrorKind::kDenied, "no key that was given for it fits", [&] {
        Image::open(with_keys(path, {{"image", "wrong"}, {"all", ""}}), kReader);
    });
}

// A guest can make its raw disk look like an encrypted image on another file. That file is not opened.
TEST_F(EncryptedImage, OfWhichTheFormatWasDetectedOpensNoOtherFile) {
    MAKE_OR_SKIP(path, "image", "qcow2");
    EXPECT_EQ(read_all(*Image::open(with_keys(path, {{"all", "sesame"}}), kReader)), Bytes(kSize));
    dir_.write("base", Bytes(kSize, std::byte{7}));
    run({"qemu-img", "rebase", "-u", "--object", "secret,id=k,data=sesame", "--image-opts",
         "driver=qcow2,encrypt.key-secret=k,file.filename=" + path, "-b", dir_.file("base"), "-F", "raw"});
    expect_error(ErrorKind::kUnsupported, "--format=qcow2", [&] {
        Image::open(with_keys(path, {{"all", "sesame"}}), kReader);
    });
    EXPECT_EQ(read_all(*Image::open(with_keys(path, {{"all", "sesame"}}, "qcow2"), kReader)),
              Bytes(kSize, std::byte{7}));
}

TEST_F(EncryptedImage, MayBeABackingFile) {
    MAKE_OR_SKIP(base, "base", "qcow2");
    {
        auto image = Image::open(with_keys(base, {{"all", "sesame"}}), kWriter);
        serve(*image)->write(4096, Bytes(100, std::byte{3}));
        EXPECT_TRUE(image->commit());
    }
    run({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", base, "-F", "qcow2", dir_.file("top"), "2M"});
    const auto open_top = [&](std::vector<EncryptionKey> keys) {
        return Image::open(with_keys(dir_.file("top"), std::move(keys), "qcow2"), kWriter);
    };
    expect_error(ErrorKind::kDenied, "--key base:key:", [&] { open_top({{"top", "sesame"}}); });
    auto top = open_top({{"base", "sesame"}});
    EXPECT_FALSE(top->encrypted());
    Bytes expected(kSize);
    std::fill_n(expected.begin() + 4096, 100, std::byte{3});
    EXPECT_EQ(read_all(*top), expected);
    serve(*top)->write(100'000, Bytes(100, std::byte{4}));
    EXPECT_TRUE(top->commit());
    top.reset();
    std::fill_n(expected.begin() + 100'000, 100, std::byte{4});
    EXPECT_EQ(read_all(*open_top({{"all", "sesame"}})), expected);
}

TEST_F(EncryptedImage, HasItsSnapshotsForItself) {
    MAKE_OR_SKIP(path, "image", "qcow2");
    DiskSpec spec = with_keys(path, {{"all", "sesame"}});
    spec.snapshot = "one";
    expect_error(ErrorKind::kUnsupported, "encrypted", [&] { Image::open(spec, kReader); });
}

}  // namespace
}  // namespace inspect
