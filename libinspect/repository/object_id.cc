// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/object_id.h"

#include <openssl/evp.h>

#include <new>

namespace inspect::repository {

namespace {

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

}  // namespace

ObjectId ObjectId::of(std::span<const std::byte> content) {
    // Fetched once: looking an algorithm up by its name takes a lock.
    static const EVP_MD* const sha256 = ::EVP_MD_fetch(nullptr, "SHA256", nullptr);
    ObjectId id;
    if (sha256 == nullptr ||
        ::EVP_Digest(content.data(), content.size(), reinterpret_cast<unsigned char*>(id.bytes.data()),
                     nullptr, sha256, nullptr) != 1) {
        throw std::bad_alloc();
    }
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
