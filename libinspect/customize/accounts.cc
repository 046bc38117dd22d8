// SPDX-License-Identifier: LGPL-2.1-or-later
#include "customize/accounts.h"

#include <crypt.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <span>

#include <inspect/error.h>

#include "base/uuid.h"

namespace inspect {

namespace {

// Calls `line` with each line of the text, without its end; stops when that returns true.
template <typename Line>
void each_line(std::string_view text, Line line) {
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        if (line(text.substr(at, end - at), at)) return;
        at = end + 1;
    }
}

bool is_line_of(std::string_view line, std::string_view user) {
    return line.size() > user.size() && line.starts_with(user) && line[user.size()] == ':';
}

std::string_view field(std::string_view line, size_t number) {
    for (; number > 0; --number) {
        const size_t colon = line.find(':');
        if (colon == line.npos) return {};
        line.remove_prefix(colon + 1);
    }
    return line.substr(0, line.find(':'));
}

std::optional<uint32_t> number(std::string_view text) {
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace

std::optional<Account> find_account(std::string_view passwd, std::string_view user) {
    std::optional<Account> found;
    each_line(passwd, [&](std::string_view line, size_t) {
        if (!is_line_of(line, user)) return false;
        const std::optional<uint32_t> uid = number(field(line, 2)), gid = number(field(line, 3));
        if (uid && gid) found = Account{*uid, *gid, std::string(field(line, 5))};
        return true;
    });
    return found;
}

std::optional<std::string> password_field(std::string_view shadow, std::string_view user) {
    std::optional<std::string> found;
    each_line(shadow, [&](std::string_view line, size_t) {
        if (!is_line_of(line, user)) return false;
        found = field(line, 1);
        return true;
    });
    return found;
}

std::optional<std::string> with_password(std::string_view shadow, std::string_view user,
                                         std::string_view password, int64_t today) {
    std::optional<std::string> changed;
    each_line(shadow, [&](std::string_view line, size_t at) {
        if (!is_line_of(line, user)) return false;
        std::string text(user);
        text += ':';
        text += password;
        text += ':' + std::to_string(today);
        // What follows the third field; a line that is cut short gets the fields that belong there.
        size_t colons = 0, rest = 0;
        while (rest < line.size() && colons < 3) colons += line[rest++] == ':';
        text += colons == 3 ? ":" + std::string(line.substr(rest)) : std::string(":0:99999:7:::");
        changed = std::string(shadow.substr(0, at)) + text + std::string(shadow.substr(at + line.size()));
        return true;
    });
    return changed;
}

namespace {

// What crypt(3) knows it by.
const char* prefix_of(const std::string& method) {
    static constexpr std::array<std::array<const char*, 2>, 4> kPrefixes = {
        {{"yescrypt", "$y$"}, {"sha512", "$6$"}, {"sha256", "$5$"}, {"md5", "$1$"}}};
    for (const auto& [name, text] : kPrefixes)
        if (method == name) return text;
    throw Error(ErrorKind::kUsage,
                "passwords are hashed by yescrypt, sha512, sha256 or md5, not by '" + method + "'");
}

}  // namespace

void require_hash_method(const std::string& method) { prefix_of(method); }

std::string hash_password(const std::string& password, const std::string& method) {
    const char* prefix = prefix_of(method);
    if (password.find('\0') != password.npos)
        throw Error(ErrorKind::kUsage, "a password with a zero byte in it");
    std::array<char, 32> random;
    draw_random(std::as_writable_bytes(std::span(random)));
    std::array<char, CRYPT_GENSALT_OUTPUT_SIZE> setting;
    if (!::crypt_gensalt_rn(prefix, 0, random.data(), static_cast<int>(random.size()), setting.data(),
                            static_cast<int>(setting.size())))
        throw Error::from_errno("cannot make a salt for the password", errno);
    const auto data = std::make_unique<crypt_data>();
    std::memset(data.get(), 0, sizeof *data);
    const char* hash = ::crypt_rn(password.c_str(), setting.data(), data.get(), sizeof *data);
    if (!hash || *hash == '*')
        throw Error(ErrorKind::kUsage, "a password that can't be hashed (longer than 512 bytes?)");
    std::string result = hash;
    ::explicit_bzero(data.get(), sizeof *data);
    return result;
}

std::string random_password() {
    static constexpr std::string_view kAlphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    std::string text;
    while (text.size() < 16) {
        unsigned char byte = 0;
        draw_random(std::as_writable_bytes(std::span(&byte, 1)));
        constexpr unsigned kFair = 256 - 256 % kAlphabet.size();  // each letter is as likely as any other
        if (byte < kFair) text += kAlphabet[byte % kAlphabet.size()];
    }
    return text;
}

}  // namespace inspect
