// SPDX-License-Identifier: GPL-2.0-or-later
//
// How much room the contents of a tar archive or a directory will take in a file system. An estimate: the
// archive is counted, not understood.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace inspect::cli {

struct ContentSize {
    uint64_t entries = 0;
    uint64_t data_bytes = 0;  // files' contents in whole blocks of 4 KiB, and as much for each directory
    bool operator==(const ContentSize&) const = default;
};

// POSIX.1-2001 (pax), ustar and GNU archives, uncompressed. Anything may be fed to it.
class TarCensus {
  public:
    void feed(std::span<const std::byte> bytes);
    // Throws Error(kCorrupt) when what was fed is no archive, or none that is complete.
    ContentSize result() const;

  private:
    void block();
    void header();

    ContentSize size_;
    unsigned char block_[512];
    size_t filled_ = 0;
    uint64_t skip_ = 0;      // bytes of contents to come
    bool in_map_ = false;    // the next block is one more of a sparse file's map; the contents are after it
    uint64_t pax_left_ = 0;  // bytes of a pax header to come
    std::string pax_;        // what has come of it
    std::optional<uint64_t> pax_size_;  // of the next entry
    bool ended_ = false;
    bool wrong_ = false;
};

// What is below a directory of this host. Throws Error.
ContentSize directory_size(const std::string& path);

}  // namespace inspect::cli
