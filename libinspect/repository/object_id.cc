// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/object_id.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <new>

namespace inspect::repository {

namespace {

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

ObjectId ObjectId::of_zeros(uint64_t length) {
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
