// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/keys.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <bit>

#include <inspect/error.h>

#include "repository/json.h"
#include "repository/timestamp.h"

namespace inspect::repository {

namespace {

constexpr size_t kSaltSize = 64;

std::string base64_of(std::span<const std::byte> bytes) { return encode_base64(as_text(bytes)); }

std::string master_key_json(const SealingKey& key) {
    JsonBuilder json;
    json.begin_object().begin_object("mac");
    json.text("k", base64_of(key.mac_k())).text("r", base64_of(key.mac_r()));
    return json.end_object().text("encrypt", base64_of(key.encryption())).end_object().take();
}

template <size_t kLength>
std::array<std::byte, kLength> key_part(const JsonFields& fields, std::string_view path) {
    std::string decoded = decode_base64(fields.require_text(path));
    std::array<std::byte, kLength> part;
    if (decoded.size() != kLength) throw Error(ErrorKind::kCorrupt, "its key has the wrong size");
    std::ranges::copy(as_bytes(decoded), part.begin());
    ::OPENSSL_cleanse(decoded.data(), decoded.size());
    return part;
}

// a * b modulo `polynomial`, which has degree 53.
uint64_t multiply(uint64_t a, uint64_t b, uint64_t polynomial) {
    uint64_t product = 0;
    while (b != 0) {
        if ((b & 1) != 0) product ^= a;
        b >>= 1;
        a <<= 1;
        if ((a >> 53 & 1) != 0) a ^= polynomial;
    }
    return product;
}

}  // namespace

std::string make_key_file(const SealingKey& master, std::string_view password, std::string_view who,
                          std::string_view host) {
    std::array<std::byte, kSaltSize> salt;
    fill_random(salt);
    const ScryptCost cost;
    const SealingKey from_password = derive_key(password, salt, cost);
    std::string plain = master_key_json(master);
    const Bytes sealed = from_password.seal(as_bytes(plain));
    ::OPENSSL_cleanse(plain.data(), plain.size());
    JsonBuilder json;
    json.begin_object().text("created", Timestamp::now().text()).text("username", who).text("hostname", host);
    json.text("kdf", "scrypt").number("N", cost.n).number("r", cost.r).number("p", cost.p);
    return json.text("salt", base64_of(salt)).text("data", base64_of(sealed)).end_object().take();
}

KeyResult open_key_file(std::string_view content, std::string_view password, SealingKey& master) {
    const JsonFields fields(content);
    if (const std::string kdf = fields.require_text("kdf"); kdf != "scrypt")
        throw Error(ErrorKind::kUnsupported, "it derives its key by '" + kdf + "', not by scrypt");
    const ScryptCost cost{fields.require_number("N"), fields.require_number("r"), fields.require_number("p")};
    const std::string salt = decode_base64(fields.require_text("salt"));
    const std::string sealed = decode_base64(fields.require_text("data"));
    const SealingKey from_password = derive_key(password, as_bytes(salt), cost);
    Bytes plain;
    try {
        plain = from_password.open(as_bytes(sealed));
    } catch (const Error&) {
        return KeyResult::kWrongPassword;
    }
    const JsonFields key(as_text(plain));
    master = SealingKey(key_part<SealingKey::kEncryptionSize>(key, "encrypt"),
                        key_part<SealingKey::kMacSize>(key, "mac.k"),
                        key_part<SealingKey::kMacSize>(key, "mac.r"));
    ::OPENSSL_cleanse(plain.data(), plain.size());
    return KeyResult::kOpened;
}

// Rabin's test: f of prime degree p is irreducible when x^(2^p) = x modulo f and f has no root; f has the
// root 0 without its constant coefficient, and the root 1 with an even number of coefficients.
bool is_irreducible_of_degree_53(uint64_t polynomial) {
    if (std::bit_width(polynomial) != 54 || (polynomial & 1) == 0 || std::popcount(polynomial) % 2 == 0)
        return false;
    constexpr uint64_t kX = 2;
    uint64_t power = kX;
    for (int i = 0; i < 53; ++i) power = multiply(power, power, polynomial);
    return power == kX;
}

RepositoryConfig make_config() {
    RepositoryConfig config;
    ObjectId id;
    fill_random(id.bytes);
    config.id = id.hex();
    uint64_t polynomial = 0;
    while (!is_irreducible_of_degree_53(polynomial)) {
        fill_random(std::as_writable_bytes(std::span(&polynomial, 1)));
        polynomial = (polynomial & ((1ULL << 53) - 1)) | 1ULL << 53 | 1;
    }
    for (; polynomial != 0; polynomial >>= 4)
        config.polynomial.insert(config.polynomial.begin(), "0123456789abcdef"[polynomial & 15]);
    return config;
}

std::string format_config(const RepositoryConfig& config) {
    JsonBuilder json;
    json.begin_object().number("version", config.version).text("id", config.id);
    return json.text("chunker_polynomial", config.polynomial).end_object().take();
}

RepositoryConfig parse_config(std::string_view text) {
    const JsonFields fields(text);
    RepositoryConfig config;
    const uint64_t version = fields.require_number("version");
    if (version != 1 && version != 2)
        throw Error(ErrorKind::kUnsupported, "the repository has format version " + std::to_string(version) +
                                                 "; this program knows versions 1 and 2");
    config.version = static_cast<unsigned>(version);
    config.id = fields.require_text("id");
    config.polynomial = fields.text("chunker_polynomial");
    return config;
}

}  // namespace inspect::repository
