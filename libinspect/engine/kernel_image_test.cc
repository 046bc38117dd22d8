// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include <memory>
#include <string>

#include <inspect/error.h>

namespace inspect {
namespace {

using ::testing::HasSubstr;

Fd file_of(const std::string& bytes) {
    Fd file(::memfd_create("packed", MFD_CLOEXEC));
    EXPECT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    return file;
}

std::string packed(const std::string& plain) {
    std::string bytes(::ZSTD_compressBound(plain.size()), '\0');
    const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(::ZSTD_createCCtx(), ::ZSTD_freeCCtx);
    ::ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);  // as the program zstd does
    bytes.resize(::ZSTD_compress2(context.get(), bytes.data(), bytes.size(), plain.data(), plain.size()));
    return bytes;
}

std::string some_kernel() {
    std::string plain;
    for (int i = 0; i < 100'000; ++i) plain += std::to_string(i * 7919);
    return plain;
}

std::string refusal(const std::string& bytes) {
    try {
        unpack_kernel(file_of(bytes).get());
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
        return error.message();
    }
    return "none";
}

TEST(KernelImage, IsWhatWasPacked) {
    const std::string plain = some_kernel();
    const Fd kernel = unpack_kernel(file_of(packed(plain)).get());
    std::string got(plain.size() + 1, '\0');
    ASSERT_EQ(::read(kernel.get(), got.data(), got.size()), static_cast<ssize_t>(plain.size()));
    got.pop_back();
    EXPECT_EQ(got, plain);
    EXPECT_EQ(::pwrite(kernel.get(), "x", 1, 0), -1) << "it is sealed";
}

TEST(KernelImage, DamageIsNamed) {
    const std::string good = packed(some_kernel());
    EXPECT_THAT(refusal(""), HasSubstr("empty"));
    EXPECT_THAT(refusal("\x7f"
                        "ELF and no Zstandard"),
                HasSubstr("isn't a Zstandard frame"));
    EXPECT_THAT(refusal(good.substr(0, good.size() / 2)), HasSubstr("damaged"));
    std::string bad = good;
    bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 0x55);
    EXPECT_THAT(refusal(bad), HasSubstr("reinstall libinspect"));
    // One that claims to be larger than any kernel: single segment, eight bytes of size.
    EXPECT_THAT(refusal(std::string("\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\x00\x00\x01\x00\x00", 16)),
                HasSubstr("known size"));
}

}  // namespace
}  // namespace inspect
