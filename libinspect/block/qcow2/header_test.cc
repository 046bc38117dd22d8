// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2/header.h"

#include <cstring>

#include "block/qcow2/qcow2_for_test.h"

namespace inspect {
namespace {

using namespace qcow2_format;

Bytes new_image(const Qcow2CreateOptions& options) {
    MemoryDevice device(0);
    create_qcow2(device, options);
    return device.bytes();
}

Header header_of(const Bytes& image) {
    Header header;
    std::memcpy(&header, image.data(), sizeof header);
    return header;
}

void expect_refused(ErrorKind kind, const std::string& text, const std::function<void(Header&)>& change) {
    Bytes image = new_image({.size = 64 << 20});
    Header header = header_of(image);
    change(header);
    std::memcpy(image.data(), &header, sizeof header);
    MemoryDevice device(image);
    expect_error(kind, text, [&] { Qcow2Header::parse(device); });
}

TEST(Qcow2Header, SaysWhatTheImageIsMadeOf) {
    MemoryDevice device(new_image({.size = 1 << 30,
                                   .cluster_bits = 14,
                                   .refcount_bits = 64,
                                   .backing_name = "base.qcow2",
                                   .backing_format = "qcow2",
                                   .compression = Qcow2Compression::kZstd,
                                   .extended_l2 = true,
                                   .lazy_refcounts = true,
                                   .data_file_name = "data"}));
    const Qcow2Header header = Qcow2Header::parse(device);
    EXPECT_EQ(header.version, 3u);
    EXPECT_EQ(header.size, 1u << 30);
    EXPECT_EQ(header.cluster_size(), 16384u);
    EXPECT_EQ(header.refcount_bits(), 64u);
    EXPECT_EQ(header.backing_name, "base.qcow2");
    EXPECT_EQ(header.backing_format, "qcow2");
    EXPECT_EQ(header.data_file_name, "data");
    EXPECT_TRUE(header.extended_l2());
    EXPECT_TRUE(header.external_data());
    EXPECT_FALSE(header.raw_external_data());
    EXPECT_TRUE(header.lazy_refcounts());
    EXPECT_EQ(header.compression, Qcow2Compression::kZstd);
}

TEST(Qcow2Header, RefusesNonsenseWithTheReason) {
    const auto corrupt = ErrorKind::kCorrupt;
    expect_refused(corrupt, "not a qcow2 image", [](Header& h) { h.magic = 1; });
    expect_refused(ErrorKind::kUnsupported, "version 4", [](Header& h) { h.version = 4; });
    expect_refused(corrupt, "2^8 bytes", [](Header& h) { h.cluster_bits = 8; });
    expect_refused(corrupt, "2^22 bytes", [](Header& h) { h.cluster_bits = 22; });
    expect_refused(corrupt, "2^4294967295", [](Header& h) { h.cluster_bits = ~0u; });
    expect_refused(corrupt, "virtual size is 0", [](Header& h) { h.size = 0; });
    expect_refused(corrupt, "virtual size is 9223372036854775808",
                   [](Header& h) { h.size = uint64_t{1} << 63; });
    expect_refused(corrupt, "too small", [](Header& h) { h.size = INT64_MAX; });
    expect_refused(corrupt, "L1 table has", [](Header& h) { h.l1_entries = ~0u; });
    expect_refused(corrupt, "too small", [](Header& h) { h.l1_entries = 0; });
    expect_refused(corrupt, "overlaps the header", [](Header& h) { h.l1_offset = 0; });
    expect_refused(corrupt, "cluster's start", [](Header& h) { h.l1_offset = 65537; });
    expect_refused(corrupt, "outside of the file", [](Header& h) { h.l1_offset = uint64_t{1} << 40; });
    expect_refused(corrupt, "outside of the file", [](Header& h) { h.l1_offset = ~uint64_t{0} << 16; });
    expect_refused(corrupt, "overlaps the header", [](Header& h) { h.refcount_table_offset = 0; });
    expect_refused(corrupt, "outside of the file",
                   [](Header& h) { h.refcount_table_offset = uint64_t{1} << 50; });
    expect_refused(corrupt, "no refcount table", [](Header& h) { h.refcount_table_clusters = 0; });
    expect_refused(corrupt, "too large", [](Header& h) { h.refcount_table_clusters = ~0u; });
    expect_refused(corrupt, "overlap", [](Header& h) { h.l1_offset = uint64_t{h.refcount_table_offset}; });
    expect_refused(corrupt, "64 bits", [](Header& h) { h.refcount_order = 7; });
    expect_refused(corrupt, "length is 4", [](Header& h) { h.header_length = 4; });
    expect_refused(corrupt, "length is", [](Header& h) { h.header_length = 0x7fffffff; });
    expect_refused(corrupt, "too long", [](Header& h) {
        h.backing_offset = 512;
        h.backing_length = 1024;
    });
    expect_refused(corrupt, "outside of the first cluster", [](Header& h) {
        h.backing_offset = 65530;
        h.backing_length = 100;
    });
    expect_refused(corrupt, "too many snapshots", [](Header& h) { h.snapshot_count = ~0u; });
    expect_refused(corrupt, "snapshot table", [](Header& h) { h.snapshot_count = 1; });
    expect_refused(ErrorKind::kUnsupported, "AES", [](Header& h) { h.crypt_method = 1; });
    expect_refused(ErrorKind::kUnsupported, "LUKS", [](Header& h) { h.crypt_method = kCryptLuks; });
    expect_refused(ErrorKind::kUnsupported, "feature bit 5", [](Header& h) { h.incompatible_features = 32; });
    expect_refused(ErrorKind::kUnsupported, "feature bit 63",
                   [](Header& h) { h.incompatible_features = uint64_t{1} << 63; });
    expect_refused(corrupt, "compression type", [](Header& h) { h.incompatible_features = 8; });
    expect_refused(ErrorKind::kUnsupported, "type 9", [](Header& h) {
        h.incompatible_features = 8;
        h.compression_type = 9;
    });
}

TEST(Qcow2Header, MarksOfDamageAreForTheCallerToJudge) {
    Bytes image = new_image({.size = 1 << 20});
    const auto with_features = [&](uint64_t features) {
        Header header = header_of(image);
        header.incompatible_features = features;
        std::memcpy(image.data(), &header, sizeof header);
        MemoryDevice device(image);
        return Qcow2Header::parse(device);
    };
    with_features(0).require_intact(true);
    with_features(kIncompatibleDirty).require_intact(false);
    expect_error(ErrorKind::kUnsupported, "--repair",
                 [&] { with_features(kIncompatibleDirty).require_intact(true); });
    for (const bool writing : {false, true})
        expect_error(ErrorKind::kCorrupt, "marked corrupt",
                     [&] { with_features(kIncompatibleCorrupt).require_intact(writing); });
}

TEST(Qcow2Header, NamesAnUnknownFeatureAsTheImageDoes) {
    Bytes image = new_image({.size = 1 << 20});
    Header header = header_of(image);
    header.incompatible_features = 1u << 7;
    std::memcpy(image.data(), &header, sizeof header);
    FeatureName name{0, 7, "teleport\x1b[31m"};  // escapes are not passed on to a terminal
    std::memcpy(image.data() + sizeof(Header) + sizeof(Extension), &name, sizeof name);
    MemoryDevice device(image);
    expect_error(ErrorKind::kUnsupported, "'teleport?[31m', incompatible feature bit 7",
                 [&] { Qcow2Header::parse(device); });
}

TEST(Qcow2Header, RefusesFilesThatAreCutShort) {
    const Bytes image = new_image({.size = 64 << 20});
    for (size_t length : {0, 4, 71, 103, 111, 512, 65536, 131072, 196608}) {
        MemoryDevice device(Bytes(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(length)));
        expect_error(ErrorKind::kCorrupt, "", [&] { Qcow2Header::parse(device); });
    }
}

TEST(Qcow2Header, TakesNamesOf1023BytesAndNoLonger) {
    const std::string longest(1023, 'x');
    MemoryDevice device(new_image({.size = 1 << 20, .backing_name = longest, .backing_format = "raw"}));
    EXPECT_EQ(Qcow2Header::parse(device).backing_name, longest);
    expect_error(ErrorKind::kUsage, "1023",
                 [] { new_image({.size = 1 << 20, .backing_name = std::string(1024, 'x')}); });
    expect_error(ErrorKind::kUsage, "don't fit",
                 [&] { new_image({.size = 1 << 20, .cluster_bits = 9, .backing_name = longest}); });
}

TEST(Qcow2Header, ResolvesNames) {
    const auto is = [](const char* image, const char* name, bool path, const char* expected) {
        const ResolvedImageName resolved = resolve_image_name(image, name);
        EXPECT_EQ(resolved.is_path, path) << image << " " << name;
        EXPECT_EQ(resolved.name, expected) << image << " " << name;
    };
    is("/vm/a.qcow2", "base.qcow2", true, "/vm/base.qcow2");
    is("/vm/a.qcow2", "../base.qcow2", true, "/vm/../base.qcow2");
    is("a.qcow2", "base.qcow2", true, "base.qcow2");
    is("dir/a.qcow2", "/abs/base", true, "/abs/base");
    is("/a", "b", true, "/b");
    is("/vm/a.qcow2", "file:base", true, "/vm/base");
    is("/vm/a.qcow2", "file:///abs", true, "/abs");
    is("/vm/a.qcow2", "nbd://host/export", false, "nbd://host/export");
    is("/vm/a.qcow2", "json:{\"driver\":\"raw\"}", false, "json:{\"driver\":\"raw\"}");
    is("/vm/a.qcow2", "./with:colon", true, "/vm/./with:colon");
    is("https://host/dir/a.qcow2", "base.qcow2", false, "https://host/dir/base.qcow2");
    is("nbd://host", "base", false, "nbd://host/base");
    is("https://host/a", "/abs", true, "/abs");
    expect_error(ErrorKind::kCorrupt, "empty", [] { resolve_image_name("/a", ""); });
    expect_error(ErrorKind::kCorrupt, "NUL", [] { resolve_image_name("/a", std::string_view("a\0b", 3)); });
}

}  // namespace
}  // namespace inspect
