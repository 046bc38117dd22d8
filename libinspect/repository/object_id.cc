// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/object_id.h"

#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <memory>
#include <new>

#include "repository/sha256_pair.h"

namespace inspect::repository {

namespace {

// The SHA-256 of 64 KiB of zeros, of 128 KiB, and so on up to 64 MiB: chunks and runs of zeros have such
// lengths, and every command that opens a backup looks for them.
constexpr uint64_t kFirstKnown = 64 << 10;
constexpr std::string_view kKnownZeros[] = {
    "de2f256064a0af797747c2b97505dc0b9f3df0de4f489eac731c23ae9ca9cc31",
    "fa43239bcee7b97ca62f007cc68487560a39e19f74f3dde7486db3f98df8e471",
    "8a39d2abd3999ab73c34db2476849cddf303ce389b35826850f9a700589b4a90",
    "07854d2fef297a06ba81685e660c332de36d5d18d546927d30daad6d7fda1541",
    "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58",
    "5647f05ec18958947d32874eeb788fa396a05d0bab7c1b71f112ceb7e9b31eee",
    "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8",
    "2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74",
    "080acf35a507ac9849cfcba47dc2ad83e01b75663a516279c8b9d243b719643e",
    "83ee47245398adee79bd9c0a8bc57b821e92aba10f5f9ade8a5d1fae4d8c4302",
    "3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351",
};

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

// Fetched once: looking an algorithm up by its name takes a lock.
const EVP_MD* sha256() {
    static const EVP_MD* const algorithm = ::EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return algorithm;
}

unsigned char* id_bytes(ObjectId& id) { return reinterpret_cast<unsigned char*>(id.bytes.data()); }

}  // namespace

ObjectId ObjectId::of(std::span<const std::byte> content) {
    ObjectId id;
    if (sha256() == nullptr ||
        ::EVP_Digest(content.data(), content.size(), id_bytes(id), nullptr, sha256(), nullptr) != 1)
        throw std::bad_alloc();
    return id;
}

std::pair<ObjectId, ObjectId> ObjectId::of_two(std::span<const std::byte> first,
                                               std::span<const std::byte> second) {
    if (first.size() != second.size() || !can_hash_pairs()) return {of(first), of(second)};
    std::pair<ObjectId, ObjectId> ids;
    hash_pair(first, second, ids.first.bytes, ids.second.bytes);
    return ids;
}

ObjectId ObjectId::of_zeros(uint64_t length) {
    if (std::has_single_bit(length) && length >= kFirstKnown) {
        const auto known = static_cast<size_t>(std::countr_zero(length / kFirstKnown));
        if (known < std::size(kKnownZeros)) return *parse(kKnownZeros[known]);
    }
    static constexpr std::array<std::byte, 65536> kZeros{};
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(::EVP_MD_CTX_new(), ::EVP_MD_CTX_free);
    bool ok = context && ::EVP_DigestInit_ex2(context.get(), sha256(), nullptr) == 1;
    for (uint64_t left = length; ok && left > 0;) {
        const size_t piece = std::min<uint64_t>(left, kZeros.size());
        ok = ::EVP_DigestUpdate(context.get(), kZeros.data(), piece) == 1;
        left -= piece;
    }
    ObjectId id;
    if (!ok || ::EVP_DigestFinal_ex(context.get(), id_bytes(id), nullptr) != 1) throw std::bad_alloc();
    return id;
}

std::optional<ObjectId> ObjectId::parse(std::string_view hex) {
    if (hex.size() != 2 * kSize) return std::nullopt;
    ObjectId id;
    for (size_t i = 0; i < kSize; ++i) {
        const int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        id.bytes[i] = static_cast<std::byte>(high << 4 | low);
    }
    return id;
}

std::string ObjectId::hex() const {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    out.reserve(2 * kSize);
    for (std::byte byte : bytes) {
        out += kDigits[std::to_integer<unsigned>(byte) >> 4];
        out += kDigits[std::to_integer<unsigned>(byte) & 15];
    }
    return out;
}

}  // namespace inspect::repository
