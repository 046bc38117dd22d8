// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A repository's key files, each of which has the one master key under a password of its own, and its config
// file. (restic's design document, "Keys, Encryption and MAC" and "Repository Layout".)
#pragma once

#include <string>
#include <string_view>

#include "repository/crypto.h"

namespace inspect::repository {

// A new key file's contents. `who` and `host` are shown by `restic key list`.
std::string make_key_file(const SealingKey& master, std::string_view password, std::string_view who,
                          std::string_view host);

enum class KeyResult { kOpened, kWrongPassword };
// Tries the password on a key file. Throws Error(kCorrupt) for what is no key file, kUnsupported for one with
// another way to derive keys than scrypt.
KeyResult open_key_file(std::string_view content, std::string_view password, SealingKey& master);

struct RepositoryConfig {
    unsigned version = 2;
    std::string id;          // 64 hexadecimal digits
    std::string polynomial;  // what restic cuts files with, hexadecimal
};

// A new repository's: a random id, and a random polynomial that restic accepts.
RepositoryConfig make_config();
std::string format_config(const RepositoryConfig& config);
// Throws Error(kCorrupt); kUnsupported for a version that isn't 1 or 2.
RepositoryConfig parse_config(std::string_view text);

// Whether a polynomial over GF(2), bit n being the coefficient of x^n, of the prime degree 53 is irreducible.
bool is_irreducible_of_degree_53(uint64_t polynomial);

}  // namespace inspect::repository
