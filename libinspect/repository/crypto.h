// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How a repository's contents are encrypted and authenticated (restic's design document, "Keys, Encryption
// and MAC"): AES-256 in counter mode, and Poly1305-AES over the ciphertext. A sealed message is
//
//   16 bytes initialization vector, random, the nonce of the MAC too | ciphertext | 16 bytes MAC
//
// The arithmetic is OpenSSL's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "repository/object_id.h"

namespace inspect::repository {

// What sealing adds to a message, bytes.
inline constexpr size_t kSealOverhead = 32;

// 64 bytes of key; immutable, so thread-safe.
class SealingKey {
  public:
    static constexpr size_t kEncryptionSize = 32, kMacSize = 16;

    SealingKey() = default;
    SealingKey(std::span<const std::byte, kEncryptionSize> encryption,
               std::span<const std::byte, kMacSize> mac_k, std::span<const std::byte, kMacSize> mac_r);
    SealingKey(const SealingKey&) = default;
    SealingKey& operator=(const SealingKey&) = default;
    // Wipes the key from memory.
    ~SealingKey();

    static SealingKey generate();

    std::span<const std::byte, kEncryptionSize> encryption() const { return encryption_; }
    std::span<const std::byte, kMacSize> mac_k() const { return mac_k_; }
    std::span<const std::byte, kMacSize> mac_r() const { return mac_r_; }

    Bytes seal(std::span<const std::byte> plain) const;
    // The same, appended to `out`.
    void seal_into(Bytes& out, std::span<const std::byte> plain) const;
    // Throws Error(kCorrupt) when the message is too short or its MAC is not right: it was damaged, or
    // sealed with another key. The message has no subject: the caller adds what was opened.
    Bytes open(std::span<const std::byte> sealed) const;

  private:
    using Mac = std::array<std::byte, 16>;
    Mac mac(std::span<const std::byte> nonce, std::span<const std::byte> ciphertext) const;

    std::array<std::byte, kEncryptionSize> encryption_{};
    std::array<std::byte, kMacSize> mac_k_{}, mac_r_{};
};

// The cost of scrypt (RFC 7914).
struct ScryptCost {
    uint64_t n = 32768;
    uint64_t r = 8;
    uint64_t p = 1;
};

// The key that a password makes. Throws Error(kCorrupt) for costs that are no scrypt parameters or would take
// more than 1 GiB of memory.
SealingKey derive_key(std::string_view password, std::span<const std::byte> salt, const ScryptCost& cost);

// From the system's generator of random numbers for keys.
void fill_random(std::span<std::byte> out);

}  // namespace inspect::repository
