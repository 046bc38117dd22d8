// SPDX-License-Identifier: LGPL-2.1-or-later
//
// EncryptionKey: the forms of --key, as libguestfs's common/options/keys.c knows them.
#include <fcntl.h>
#include <string.h>

#include <inspect/disk.h>

#include "base/fd.h"

namespace inspect {

namespace {

constexpr size_t kMaxKeyFile = 32 << 10;

std::string read_key_file(const std::string& path) {
    Fd file = open_file(path, O_RDONLY | O_CLOEXEC);
    std::string content(kMaxKeyFile + 1, '\0');
    content.resize(read_full(file.get(), std::as_writable_bytes(std::span(content)), "read the key file"));
    if (content.size() > kMaxKeyFile)
        throw Error(ErrorKind::kUsage, "the key file '" + path + "' is larger than 32 KiB");
    return content;
}

}  // namespace

EncryptionKey::~EncryptionKey() { explicit_bzero(secret.data(), secret.size()); }

std::vector<EncryptionKey> EncryptionKey::parse(const std::string& text) {
    // An ID may have colons (a path, btrfsvol:), a secret or a path too: the first word of ours decides.
    size_t key = text.find(":key:");
    size_t file = text.find(":file:");
    if (key == text.npos && file == text.npos) {
        if (text.ends_with(":clevis"))
            throw Error(
                ErrorKind::kUnsupported,
                "a key by clevis needs a network, which the appliance has not: unlock it elsewhere and give "
                "the passphrase (ID:key:...)");
        throw Error(ErrorKind::kUsage, "a key is ID:key:SECRET or ID:file:PATH");
    }
    if (key < file) {
        if (key == 0)
            throw Error(ErrorKind::kUsage, "a key without the ID of what it is for; that may be 'all'");
        return {{text.substr(0, key), text.substr(key + 5)}};
    }
    if (file == 0)
        throw Error(ErrorKind::kUsage, "a key without the ID of what it is for; that may be 'all'");
    std::string id = text.substr(0, file);
    std::string content = read_key_file(text.substr(file + 6));
    std::vector<EncryptionKey> keys = {{id, content.substr(0, content.find('\n'))}};
    if (keys[0].secret.size() != content.size()) keys.push_back({id, content});
    explicit_bzero(content.data(), content.size());
    return keys;
}

}  // namespace inspect
