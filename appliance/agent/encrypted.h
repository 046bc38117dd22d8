// SPDX-License-Identifier: GPL-2.0-or-later
//
// LUKS and BitLocker: opening an encrypted volume with a key of the user's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "programs.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

// The keys of a session. The secrets are overwritten in memory when it ends.
//
// Not thread-safe.
class Keys {
  public:
    Keys() = default;
    Keys(const Keys&) = delete;
    Keys& operator=(const Keys&) = delete;
    ~Keys() { forget(); }

    // Takes the secrets out of the request. Throws Failure(USAGE) for one that is too long.
    void take(proto::Wake& request);
    void forget();
    bool empty() const { return keys_.empty(); }

    // The secrets for a volume that goes by these names and this UUID, in the order they were given.
    std::vector<std::string_view> for_volume(const std::vector<std::string>& names,
                                             std::string_view uuid) const;

  private:
    struct Key {
        std::string id;  // a device, a UUID, or "all"
        std::string secret;
    };
    std::vector<Key> keys_;
};

// Overwrites it, in a way that the compiler doesn't leave out.
void wipe(std::string& secret);

// The memory that the keyslots of a LUKS2 header want (argon2), in bytes; 0: LUKS1, or none of them does.
uint64_t luks_memory(int fd, uint64_t offset);

enum class OpenOutcome { kOpened, kWrongKey, kTooLittleMemory };
// Makes /dev/mapper/NAME of an encrypted node. `type`: "crypto_LUKS" or "BitLocker". Throws Failure when it
// fails for another reason than those. `allow_discards`: what is free in it is shown to what it stands on.
OpenOutcome open_encrypted(Programs& programs, const std::string& type, const std::string& node,
                           const std::string& name, std::string_view secret, bool allow_discards);

}  // namespace inspect::agent
