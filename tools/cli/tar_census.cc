// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/tar_census.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include <inspect/error.h>

namespace inspect::cli {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr size_t kRecord = 512;
// Offsets and lengths in a header, from POSIX.1-2001 pax, "ustar Interchange Format".
constexpr size_t kSize = 124, kSizeLength = 12, kChecksum = 148, kChecksumLength = 8, kType = 156;

uint64_t whole_blocks(uint64_t bytes, uint64_t block) {
    return bytes / block * block + (bytes % block ? block : 0);
}

// Octal digits, or GNU's base 256 where the first bit is set.
bool parse_number(const unsigned char* field, size_t length, uint64_t& value) {
    value = 0;
    if (field[0] & 0x80) {
        for (size_t i = 1; i < length; ++i) {
            if (value >> 55 != 0) return false;
            value = value << 8 | field[i];
        }
        return field[0] == 0x80;
    }
    size_t i = 0;
    while (i < length && field[i] == ' ') ++i;
    for (; i < length && field[i] >= '0' && field[i] <= '7'; ++i)
        value = value << 3 | static_cast<uint64_t>(field[i] - '0');
    return i == length || field[i] == ' ' || field[i] == 0;
}

bool checksum_is_right(const unsigned char* block) {
    uint64_t wanted;
    if (!parse_number(block + kChecksum, kChecksumLength, wanted)) return false;
    uint64_t sum = kChecksumLength * ' ';
    for (size_t i = 0; i < kRecord; ++i)
        if (i < kChecksum || i >= kChecksum + kChecksumLength) sum += block[i];
    return sum == wanted;
}

}  // namespace

void TarCensus::header() {
    if (std::all_of(block_, block_ + kRecord, [](unsigned char byte) { return byte == 0; })) {
        ended_ = true;
        return;
    }
    uint64_t size;
    if (!checksum_is_right(block_) || !parse_number(block_ + kSize, kSizeLength, size) ||
        size > UINT64_MAX / 4) {
        wrong_ = true;
        return;
    }
    const unsigned char type = block_[kType];
    // Links and devices have no contents, whatever their header says; pax and GNU headers are no entries.
    const bool empty = type >= '1' && type <= '6';
    if (!empty) skip_ = whole_blocks(size, kRecord);
    if (type == 'x' || type == 'g' || type == 'L' || type == 'K') return;
    size_.entries++;
    size_.data_bytes += type == '5' ? kBlock : empty ? 0 : whole_blocks(size, kBlock);
}

void TarCensus::feed(std::span<const std::byte> bytes) {
    while (!bytes.empty() && !ended_ && !wrong_) {
        if (skip_ > 0) {
            size_t count = static_cast<size_t>(std::min<uint64_t>(skip_, bytes.size()));
            skip_ -= count;
            bytes = bytes.subspan(count);
            continue;
        }
        size_t count = std::min(bytes.size(), kRecord - filled_);
        std::memcpy(block_ + filled_, bytes.data(), count);
        filled_ += count;
        bytes = bytes.subspan(count);
        if (filled_ < kRecord) return;
        filled_ = 0;
        header();
    }
}

ContentSize TarCensus::result() const {
    // Some archivers leave out the end.
    bool complete = ended_ || (filled_ == 0 && skip_ == 0 && size_.entries > 0);
    if (wrong_ || !complete)
        throw Error(ErrorKind::kCorrupt, "it is no tar archive, or it is damaged or cut");
    return size_;
}

ContentSize directory_size(const std::string& path) {
    namespace fs = std::filesystem;
    ContentSize size;
    std::set<std::pair<dev_t, ino_t>> linked;  // files of several names count once
    std::error_code error;
    fs::recursive_directory_iterator walk(path, error);
    for (; !error && walk != fs::recursive_directory_iterator(); walk.increment(error)) {
        struct stat status;
        const std::string name = walk->path();
        if (::lstat(name.c_str(), &status) < 0)
            throw Error::from_errno("cannot read '" + name + "'", errno, ErrorKind::kDenied);
        size.entries++;
        if (status.st_nlink > 1 && S_ISREG(status.st_mode) &&
            !linked.emplace(status.st_dev, status.st_ino).second)
            continue;
        // Of a sparse file tar takes the holes out.
        uint64_t stored =
            std::min(static_cast<uint64_t>(status.st_size), static_cast<uint64_t>(status.st_blocks) * 512);
        if (S_ISREG(status.st_mode)) size.data_bytes += whole_blocks(stored, kBlock);
        if (S_ISDIR(status.st_mode)) size.data_bytes += kBlock;
    }
    if (error) throw Error::from_errno("cannot read '" + path + "'", error.value(), ErrorKind::kDenied);
    return size;
}

}  // namespace inspect::cli
