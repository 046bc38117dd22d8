// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The formats of a repository's parts: what is written is read, and nothing else is believed.
#include <inspect/error.h>

#include "base/temp_dir_for_test.h"
#include "repository/compression.h"
#include "repository/index.h"
#include "repository/json.h"
#include "repository/keys.h"
#include "repository/lock.h"
#include "repository/snapshot.h"
#include "repository/tree.h"

namespace inspect::repository {
namespace {

ObjectId id_of(std::string_view text) { return ObjectId::of(as_bytes(text)); }

TEST(ObjectId, IsSha256InHexadecimal) {
    const char kEmpty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    EXPECT_EQ(ObjectId::of({}).hex(), kEmpty);
    EXPECT_EQ(ObjectId::parse(kEmpty), ObjectId::of({}));
    EXPECT_EQ(ObjectId::parse("E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
              std::nullopt);
    EXPECT_EQ(ObjectId::parse("e3"), std::nullopt);
    for (uint64_t length : {0, 1, 32 << 10, 65537, 200'000, 64 << 10, 128 << 10, 256 << 10, 512 << 10,
                            1 << 20, 2 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20, 64 << 20, 128 << 20})
        EXPECT_EQ(ObjectId::of_zeros(length), ObjectId::of(Bytes(length)));
}

// OpenSSL judges, in of().
TEST(ObjectId, OfTwoIsThatOfEach) {
    std::mt19937_64 random(1);
    for (size_t length = 0; length < 300; ++length) {
        const Bytes one = random_bytes(random, length), other = random_bytes(random, length);
        EXPECT_EQ(ObjectId::of_two(one, other), std::pair(ObjectId::of(one), ObjectId::of(other))) << length;
    }
    const Bytes large = random_bytes(random, 512 << 10), larger = random_bytes(random, (512 << 10) + 1);
    EXPECT_EQ(ObjectId::of_two(large, large), std::pair(ObjectId::of(large), ObjectId::of(large)));
    EXPECT_EQ(ObjectId::of_two(large, larger), std::pair(ObjectId::of(large), ObjectId::of(larger)));
    // Not aligned to anything.
    EXPECT_EQ(ObjectId::of_two(std::span(larger).subspan(1), large).first,
              ObjectId::of(std::span(larger).subspan(1)));
}

// The example of RFC 7914, section 12. (That the rest is right, restic judges: repository_test.cc.)
TEST(Crypto, KnownAnswers) {
    const SealingKey key = derive_key("password", as_bytes("NaCl"), {1024, 8, 16});
    EXPECT_EQ(std::to_integer<int>(key.encryption()[0]), 0xfd);
    EXPECT_EQ(std::to_integer<int>(key.encryption()[1]), 0xba);
    EXPECT_EQ(std::to_integer<int>(key.mac_r()[15]), 0x40);
}

TEST(Crypto, OpensWhatItSealedAndNothingElse) {
    const SealingKey key = SealingKey::generate();
    std::mt19937_64 random(1);
    for (size_t size : {0, 1, 15, 16, 17, 1000}) {
        const Bytes plain = random_bytes(random, size);
        const Bytes sealed = key.seal(plain);
        EXPECT_EQ(sealed.size(), size + kSealOverhead);
        EXPECT_EQ(key.open(sealed), plain);
        EXPECT_THROW(SealingKey::generate().open(sealed), Error);
        for (int i = 0; i < 200; ++i) {
            Bytes flipped = sealed;
            flipped[random() % flipped.size()] ^= static_cast<std::byte>(1 << random() % 8);
            EXPECT_THROW(key.open(flipped), Error);
        }
    }
    EXPECT_THROW(key.open(Bytes(31)), Error);
}

TEST(Crypto, RefusesScryptCostsThatTakeTheMachineDown) {
    for (const ScryptCost cost : {ScryptCost{1ULL << 40, 8, 1}, ScryptCost{32768, 1ULL << 60, 1},
                                  ScryptCost{32768, 8, 1ULL << 40}, ScryptCost{0, 8, 1}, ScryptCost{7, 8, 1}})
        expect_error(ErrorKind::kCorrupt, "scrypt", [&] { derive_key("x", {}, cost); });
}

TEST(Compression, IsBounded) {
    const Bytes zeros(10'000'000);
    const Bytes small = compress(zeros, 3);
    EXPECT_LT(small.size(), 2000U);
    EXPECT_EQ(decompress(small, zeros.size()), zeros);
    EXPECT_EQ(decompress_unknown_size(small), zeros);
    EXPECT_THROW(decompress(small, zeros.size() - 1), Error);
    EXPECT_THROW(decompress(small, zeros.size() + 1), Error);
    EXPECT_THROW(decompress(small, kMaxObjectSize + 1), Error);
    EXPECT_THROW(decompress_unknown_size(std::span(small).first(small.size() - 1)), Error);
    EXPECT_THROW(decompress_unknown_size({}), Error);
    std::mt19937_64 random(1);
    EXPECT_TRUE(compress(random_bytes(random, 1000), 3).empty());
}

TEST(Compression, LooksHardOnlyWhereThereAreRepetitions) {
    std::mt19937_64 random(1);
    std::string digits, words;
    while (digits.size() < 512 << 10) digits += std::to_string(random());
    std::vector<std::string> vocabulary(1000);
    for (std::string& word : vocabulary)
        for (size_t i = 0, length = 3 + random() % 7; i < length; ++i)
            word += static_cast<char>('a' + random() % 26);
    while (words.size() < 512 << 10) words += vocabulary[random() % vocabulary.size()] + " ";
    // By the third level they would be an eighth larger.
    EXPECT_LE(compress(as_bytes(digits), 3).size(), compress(as_bytes(digits), 1).size());
    EXPECT_LT(compress(as_bytes(words), 3).size(), compress(as_bytes(words), 1).size());
    // Where samples are taken are only zeros.
    std::string sparse(512 << 10, '\0');
    sparse.replace(64 << 10, 60 << 10, words, 0, 60 << 10);
    sparse.replace(192 << 10, 60 << 10, words, 100 << 10, 60 << 10);
    EXPECT_LT(compress(as_bytes(sparse), 3).size(), compress(as_bytes(sparse), 1).size());
    const Bytes small = compress(as_bytes(digits), 3);
    EXPECT_EQ(as_text(decompress(small, digits.size())), digits);
}

TEST(Keys, PolynomialsAreIrreducible) {
    EXPECT_TRUE(is_irreducible_of_degree_53(0x3DA3358B4DC173));  // the one in restic's design document
    EXPECT_TRUE(is_irreducible_of_degree_53(0x36a3ea5da3fe47));  // one that restic made
    EXPECT_FALSE(is_irreducible_of_degree_53(0x36a3ea5da3fe45));
    EXPECT_FALSE(is_irreducible_of_degree_53(0x3DA3358B4DC171));
    EXPECT_FALSE(is_irreducible_of_degree_53(7));
    EXPECT_EQ(make_config().polynomial.size(), 14U);
}

TEST(Pack, HeaderIsBounded) {
    const PackedBlob data{BlobType::kData, id_of("a"), 0, 100, 0};
    const PackedBlob tree{BlobType::kTree, id_of("b"), 100, 50, 700};
    const Bytes header = format_pack_header(std::vector{data, tree});
    EXPECT_EQ(header.size(), 37U + 41U);
    const auto blobs = parse_pack_header(header, 150);
    ASSERT_EQ(blobs.size(), 2U);
    EXPECT_EQ(blobs[1].offset, 100U);
    EXPECT_EQ(blobs[1].plain_length(), 700U);
    EXPECT_EQ(blobs[0].plain_length(), 68U);
    EXPECT_EQ(blobs[1].type, BlobType::kTree);
    EXPECT_THROW(parse_pack_header(header, 149), Error);
    EXPECT_THROW(parse_pack_header(std::span(header).first(77), 150), Error);
    Bytes unknown = header;
    unknown[0] = std::byte{4};
    EXPECT_THROW(parse_pack_header(unknown, 150), Error);
    const std::array<std::byte, 4> length{std::byte{200}, {}, {}, {}};
    EXPECT_EQ(pack_header_size(length, 204), 200U);
    EXPECT_THROW(pack_header_size(length, 203), Error);
}

TEST(IndexFormat, WrittenAndRead) {
    const IndexedPack pack{
        id_of("p"), {{BlobType::kData, id_of("a"), 0, 100, 0}, {BlobType::kTree, id_of("b"), 100, 50, 700}}};
    const IndexFile file = parse_index(format_index({pack, {id_of("q"), {}}}));
    ASSERT_EQ(file.packs.size(), 2U);
    EXPECT_EQ(file.packs[0].id, pack.id);
    ASSERT_EQ(file.packs[0].blobs.size(), 2U);
    EXPECT_EQ(file.packs[0].blobs[1].id, id_of("b"));
    EXPECT_EQ(file.packs[0].blobs[1].offset, 100U);
    EXPECT_EQ(file.packs[0].blobs[1].uncompressed_length, 700U);
    EXPECT_EQ(parse_index("{\"supersedes\":[\"" + id_of("o").hex() + "\"],\"packs\":[]}").supersedes.size(),
              1U);
}

TEST(IndexFormat, RefusesNonsense) {
    const std::string id = "\"" + id_of("x").hex() + "\"";
    for (const std::string& text :
         {std::string("{"), std::string("{\"packs\":[{\"id\":\"xx\"}]}"), std::string("{\"packs\":[{}]}"),
          "{\"packs\":[{\"id\":" + id + ",\"blobs\":[{\"id\":" + id + "}]}]}",
          "{\"packs\":[{\"id\":" + id + ",\"blobs\":[{\"id\":" + id +
              ",\"type\":\"data\",\"offset\":4294967296,\"length\":100}]}]}",
          "{\"packs\":[{\"id\":" + id + ",\"blobs\":[{\"id\":" + id +
              ",\"type\":\"data\",\"offset\":4294967295,\"length\":100}]}]}",
          std::string(40, '[')})
        EXPECT_THROW(parse_index(text), Error) << text;
    // A member that is named like a path is no such path.
    EXPECT_TRUE(parse_index("{\"packs[].id\":" + id + ",\"packs[]\":{\"blobs[]\":{}}}").packs.empty());
}

TEST(TreeFormat, NamesAreAnyBytes) {
    std::string name;
    for (int c = 1; c < 256; ++c)
        if (c != '/') name += static_cast<char>(c);
    TreeNode node{.name = name, .type = "file", .mode = 0640, .size = 3, .content = {id_of("a"), id_of("b")}};
    node.modified = {1'700'000'000, 5};
    const Tree tree = parse_tree(format_tree({node, {.name = "d", .type = "dir", .subtree = id_of("t")}}));
    ASSERT_EQ(tree.size(), 2U);
    EXPECT_EQ(tree[0].name, name);
    EXPECT_EQ(tree[0].mode, 0640U);
    EXPECT_EQ(tree[0].size, 3U);
    EXPECT_EQ(tree[0].content, node.content);
    EXPECT_EQ(tree[0].modified, node.modified);
    EXPECT_EQ(tree[1].subtree, id_of("t"));
    for (const char* bad : {"", ".", "..", "a/b", "a\\\\", "\\\\x0", "\\\\q", "a\\\\x00"})
        EXPECT_THROW(parse_tree(std::string("{\"nodes\":[{\"type\":\"file\",\"name\":\"") + bad + "\"}]}"),
                     Error)
            << bad;
}

TEST(SnapshotFormat, WrittenAndRead) {
    Snapshot snapshot;
    snapshot.time = Timestamp::now();
    snapshot.tree = id_of("t");
    snapshot.parent = id_of("p");
    snapshot.paths = {"/a", "/b\""};
    snapshot.tags = {"x", "y"};
    snapshot.hostname = "h";
    const Snapshot read = parse_snapshot(format_snapshot(snapshot));
    EXPECT_EQ(read.time, snapshot.time);
    EXPECT_EQ(read.tree, snapshot.tree);
    EXPECT_EQ(read.parent, snapshot.parent);
    EXPECT_EQ(read.paths, snapshot.paths);
    EXPECT_EQ(read.tags, snapshot.tags);
    EXPECT_EQ(read.hostname, "h");
    EXPECT_THROW(parse_snapshot("{}"), Error);
}

TEST(Timestamp, Rfc3339) {
    EXPECT_EQ(Timestamp::parse("2026-03-01T14:05:06.25+01:00")->text(), "2026-03-01T13:05:06.250000000Z");
    EXPECT_EQ(Timestamp::parse("1970-01-01T00:00:00Z")->seconds, 0);
    for (const char* bad : {"", "2026-03-01", "2026-13-01T00:00:00Z", "2026-03-01T00:00:00",
                            "2026-03-01T00:00:00.Z", "2026-03-01T00:00:00Zx", "2026-03-01T00:00:00+1"})
        EXPECT_FALSE(Timestamp::parse(bad)) << bad;
}

TEST(Base64, BothWays) {
    for (const char* text : {"", "a", "ab", "abc", "abcd"})
        EXPECT_EQ(decode_base64(encode_base64(text)), text);
    EXPECT_THROW(decode_base64("abc"), Error);
    EXPECT_THROW(decode_base64("ab!d"), Error);
}

}  // namespace
}  // namespace inspect::repository
