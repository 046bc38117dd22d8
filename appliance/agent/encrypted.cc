// SPDX-License-Identifier: GPL-2.0-or-later
#include "encrypted.h"

#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "disks.h"
#include "failure.h"

namespace inspect::agent {

namespace {

constexpr size_t kMaxKeys = 256;
constexpr size_t kMaxSecret = 32 << 10;  // fits a pipe
constexpr char kCryptsetup[] = "/usr/sbin/cryptsetup";

// /dev/vda2 and /dev/sda2 are the same.
std::string canonical(std::string_view device) {
    std::optional<DeviceName> name = parse_device_name(device);
    if (!name) return std::string(device);
    return "/dev/" + disk_name(name->disk) +
           (name->partition ? std::to_string(name->partition) : std::string());
}

bool same_uuid(std::string_view a, std::string_view b) {
    return !a.empty() && std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
        auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
        return lower(x) == lower(y);
    });
}

}  // namespace

void wipe(std::string& secret) {
    ::explicit_bzero(secret.data(), secret.size());
    secret.clear();
}

void Keys::take(proto::Wake& request) {
    if (static_cast<size_t>(request.keys_size()) > kMaxKeys)
        throw Failure(proto::USAGE, "more than " + std::to_string(kMaxKeys) + " keys");
    for (proto::Wake::Key& key : *request.mutable_keys()) {
        if (key.secret().size() > kMaxSecret) throw Failure(proto::USAGE, "a key of more than 32 KiB");
        keys_.push_back({key.id(), std::move(*key.mutable_secret())});
        wipe(*key.mutable_secret());
    }
}

void Keys::forget() {
    for (Key& key : keys_) wipe(key.secret);
    keys_.clear();
}

std::vector<std::string_view> Keys::for_volume(const std::vector<std::string>& names,
                                               std::string_view uuid) const {
    std::vector<std::string_view> secrets;
    for (const Key& key : keys_) {
        bool fits = key.id == "all" || same_uuid(key.id, uuid);
        for (const std::string& name : names) fits = fits || canonical(key.id) == name;
        if (fits) secrets.push_back(key.secret);
    }
    return secrets;
}

// LUKS2 On-Disk Format Specification: the binary header takes 4096 bytes; hdr_size, at 8, is that and the
// JSON area behind it, in which each keyslot's kdf has "memory":KIBIBYTES. A number that is not one of a
// keyslot's would do no harm here, so the text is searched rather than parsed.
uint64_t luks_memory(int fd, uint64_t offset) {
    constexpr size_t kBinary = 4096;
    constexpr size_t kMaxHeader = 4 << 20;  // the specification's bound
    unsigned char start[16];
    if (::pread(fd, start, sizeof start, static_cast<off_t>(offset)) != sizeof start) return 0;
    if (std::string_view(reinterpret_cast<char*>(start), 6) != std::string_view("LUKS\xba\xbe", 6) ||
        start[6] != 0 || start[7] != 2)
        return 0;
    uint64_t size = 0;
    for (int i = 8; i < 16; ++i) size = size << 8 | start[i];
    if (size <= kBinary || size > kMaxHeader) return 0;
    std::string json(size - kBinary, '\0');
    ssize_t n = ::pread(fd, json.data(), json.size(), static_cast<off_t>(offset + kBinary));
    json.resize(n > 0 ? static_cast<size_t>(n) : 0);
    uint64_t most = 0;
    constexpr std::string_view kMemory = "\"memory\":";
    for (size_t at = json.find(kMemory); at != json.npos; at = json.find(kMemory, at + 1)) {
        uint64_t kib = 0;
        std::from_chars(json.data() + at + kMemory.size(), json.data() + json.size(), kib);
        constexpr uint64_t kMostKib = uint64_t{4} << 20;  // cryptsetup's own bound: 4 GiB
        most = std::max(most, std::min(kib, kMostKib) << 10);
    }
    return most;
}

OpenOutcome open_encrypted(Programs& programs, const std::string& type, const std::string& node,
                           const std::string& name, std::string_view secret, bool allow_discards) {
    std::vector<std::string> arguments = {kCryptsetup,
                                          "open",
                                          "--batch-mode",
                                          "--type",
                                          type == "BitLocker" ? "bitlk" : "luks",
                                          "--key-file=-",
                                          "--disable-keyring"};
    if (allow_discards) arguments.push_back("--allow-discards");
    arguments.insert(arguments.end(), {node, name});
    ProgramResult result = programs.run(arguments, secret);
    if (result.child.succeeded()) return OpenOutcome::kOpened;
    // cryptsetup(8), "RETURN CODES".
    if (WIFEXITED(result.child.status) && WEXITSTATUS(result.child.status) == 2)
        return OpenOutcome::kWrongKey;
    if (WIFSIGNALED(result.child.status) || WEXITSTATUS(result.child.status) == 3)
        return OpenOutcome::kTooLittleMemory;
    throw Failure(proto::UNSUPPORTED, result.child.describe("cryptsetup"));
}

}  // namespace inspect::agent
