// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A guest's accounts as texts: /etc/passwd and /etc/shadow (passwd(5), shadow(5)), and hashes for the latter.
// Pure functions: what is in the files is a guest's, and may be anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace inspect {

struct Account {
    uint32_t uid = 0;
    uint32_t gid = 0;
    std::string home;
};
// The user's line; nullopt: there is none, or its numbers are none.
std::optional<Account> find_account(std::string_view passwd, std::string_view user);

// The text with the user's second field replaced, and the day of the last change (days since 1970) in the
// third. nullopt: the user has no line.
std::optional<std::string> with_password(std::string_view shadow, std::string_view user,
                                         std::string_view field, int64_t today);
// What the second field is now. nullopt: the user has no line.
std::optional<std::string> password_field(std::string_view shadow, std::string_view user);

// The password as crypt(5) stores it, with a fresh salt. `method`: yescrypt, sha512, sha256, md5. Throws
// Error(kUsage) for another, and for a password that crypt(3) can't take.
std::string hash_password(const std::string& password, const std::string& method);
// Throws that for another method.
void require_hash_method(const std::string& method);

// Sixteen letters and digits that can't be taken for each other: some 90 bits.
std::string random_password();

}  // namespace inspect
