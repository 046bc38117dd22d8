// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sodium.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>

#include <inspect/error.h>

#include "base/checked.h"

namespace inspect::repository {

namespace {

constexpr size_t kIvSize = 16, kMacTagSize = 16;
constexpr uint64_t kMaxScryptMemory = 1ULL << 30;

using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)>;
using MacContext = std::unique_ptr<EVP_MAC_CTX, void (*)(EVP_MAC_CTX*)>;

unsigned char* raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }
const unsigned char* raw(const std::byte* bytes) { return reinterpret_cast<const unsigned char*>(bytes); }

void require(bool ok, const char* what) {
    if (!ok) throw Error(ErrorKind::kInternal, std::string("OpenSSL can't do ") + what);
}

// Encrypts or decrypts: in counter mode both are the same. `out` is as long as `in`.
void aes_ctr(std::span<const std::byte> key, std::span<const std::byte> iv, std::span<const std::byte> in,
             std::byte* out) {
    static const EVP_CIPHER* const cipher = ::EVP_CIPHER_fetch(nullptr, "AES-256-CTR", nullptr);
    require(cipher != nullptr, "AES-256-CTR");
    const CipherContext context(::EVP_CIPHER_CTX_new(), ::EVP_CIPHER_CTX_free);
    require(context &&
                ::EVP_EncryptInit_ex2(context.get(), cipher, raw(key.data()), raw(iv.data()), nullptr) == 1,
            "AES-256-CTR");
    while (!in.empty()) {
        const size_t piece = std::min<size_t>(in.size(), 1U << 30);
        int done = 0;
        require(::EVP_EncryptUpdate(context.get(), raw(out), &done, raw(in.data()),
                                    static_cast<int>(piece)) == 1 &&
                    static_cast<size_t>(done) == piece,
                "AES-256-CTR");
        in = in.subspan(piece);
        out += piece;
    }
}

void aes_block(std::span<const std::byte, 16> key, std::span<const std::byte> in, std::byte* out) {
    static const EVP_CIPHER* const cipher = ::EVP_CIPHER_fetch(nullptr, "AES-128-ECB", nullptr);
    require(cipher != nullptr, "AES-128");
    const CipherContext context(::EVP_CIPHER_CTX_new(), ::EVP_CIPHER_CTX_free);
    int done = 0;
    require(context && ::EVP_EncryptInit_ex2(context.get(), cipher, raw(key.data()), nullptr, nullptr) == 1 &&
                ::EVP_CIPHER_CTX_set_padding(context.get(), 0) == 1 &&
                ::EVP_EncryptUpdate(context.get(), raw(out), &done, raw(in.data()), 16) == 1 && done == 16,
            "AES-128");
}

}  // namespace

SealingKey::SealingKey(std::span<const std::byte, kEncryptionSize> encryption,
                       std::span<const std::byte, kMacSize> mac_k,
                       std::span<const std::byte, kMacSize> mac_r) {
    std::ranges::copy(encryption, encryption_.begin());
    std::ranges::copy(mac_k, mac_k_.begin());
    std::ranges::copy(mac_r, mac_r_.begin());
}

SealingKey::~SealingKey() {
    ::OPENSSL_cleanse(encryption_.data(), encryption_.size());
    ::OPENSSL_cleanse(mac_k_.data(), mac_k_.size());
    ::OPENSSL_cleanse(mac_r_.data(), mac_r_.size());
}

SealingKey SealingKey::generate() {
    SealingKey key;
    fill_random(key.encryption_);
    fill_random(key.mac_k_);
    fill_random(key.mac_r_);
    return key;
}

SealingKey::Mac SealingKey::mac(std::span<const std::byte> nonce,
                                std::span<const std::byte> ciphertext) const {
    static EVP_MAC* const poly1305 = ::EVP_MAC_fetch(nullptr, "POLY1305", nullptr);
    require(poly1305 != nullptr, "Poly1305");
    // Poly1305-AES: its one-time key is r, and the nonce encrypted with k.
    std::array<std::byte, 32> one_time;
    std::ranges::copy(mac_r_, one_time.begin());
    aes_block(mac_k_, nonce, one_time.data() + 16);
    const MacContext context(::EVP_MAC_CTX_new(poly1305), ::EVP_MAC_CTX_free);
    Mac tag;
    size_t length = 0;
    require(context && ::EVP_MAC_init(context.get(), raw(one_time.data()), one_time.size(), nullptr) == 1 &&
                ::EVP_MAC_update(context.get(), raw(ciphertext.data()), ciphertext.size()) == 1 &&
                ::EVP_MAC_final(context.get(), raw(tag.data()), &length, tag.size()) == 1 &&
                length == tag.size(),
            "Poly1305");
    return tag;
}

void SealingKey::seal_into(Bytes& out, std::span<const std::byte> plain) const {
    const size_t start = out.size();
    out.resize(start + plain.size() + kSealOverhead);
    const std::span<std::byte> iv(out.data() + start, kIvSize);
    const std::span<std::byte> ciphertext(iv.data() + kIvSize, plain.size());
    fill_random(iv);
    aes_ctr(encryption_, iv, plain, ciphertext.data());
    std::ranges::copy(mac(iv, ciphertext), ciphertext.data() + ciphertext.size());
}

Bytes SealingKey::seal(std::span<const std::byte> plain) const {
    Bytes out;
    seal_into(out, plain);
    return out;
}

Bytes SealingKey::open(std::span<const std::byte> sealed) const {
    if (sealed.size() < kSealOverhead) throw Error(ErrorKind::kCorrupt, "it is too short");
    const auto iv = sealed.first(kIvSize);
    const auto ciphertext = sealed.subspan(kIvSize, sealed.size() - kSealOverhead);
    const Mac expected = mac(iv, ciphertext);
    if (::CRYPTO_memcmp(expected.data(), sealed.last(kMacTagSize).data(), kMacTagSize) != 0)
        throw Error(ErrorKind::kCorrupt, "its checksum (MAC) is wrong");
    Bytes plain(ciphertext.size());
    aes_ctr(encryption_, iv, ciphertext, plain.data());
    return plain;
}

SealingKey derive_key(std::string_view password, std::span<const std::byte> salt, const ScryptCost& cost) {
    const auto block = checked_mul<uint64_t>(cost.r, 128);
    const auto table = block ? checked_mul(*block, cost.n) : std::nullopt;
    const auto lanes = block ? checked_mul(*block, cost.p) : std::nullopt;
    if (!table || !lanes || *table > kMaxScryptMemory || *lanes > kMaxScryptMemory || cost.p > 1024 ||
        cost.r > UINT32_MAX)
        throw Error(ErrorKind::kCorrupt, "its scrypt parameters ask for too much memory");
    std::array<std::byte, 64> derived;
    // Not OpenSSL's, which does it without the CPU's vectors: every command would wait half as long again.
    if (::sodium_init() < 0 || ::crypto_pwhash_scryptsalsa208sha256_ll(
                                   reinterpret_cast<const unsigned char*>(password.data()), password.size(),
                                   raw(salt.data()), salt.size(), cost.n, static_cast<uint32_t>(cost.r),
                                   static_cast<uint32_t>(cost.p), raw(derived.data()), derived.size()) != 0)
        throw Error(ErrorKind::kCorrupt, "its scrypt parameters make no sense");
    const std::span<const std::byte, 64> all(derived);
    SealingKey key(all.first<32>(), all.subspan<32, 16>(), all.subspan<48, 16>());
    ::OPENSSL_cleanse(derived.data(), derived.size());
    return key;
}

void fill_random(std::span<std::byte> out) {
    require(::RAND_bytes(raw(out.data()), static_cast<int>(out.size())) == 1, "random numbers");
}

}  // namespace inspect::repository
