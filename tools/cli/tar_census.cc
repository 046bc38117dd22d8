// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/tar_census.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <set>
#include <string_view>
#include <utility>

#include <inspect/error.h>

namespace inspect::cli {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr size_t kRecord = 512;
// Offsets and lengths in a header, from POSIX.1-2001 pax, "ustar Interchange Format".
constexpr size_t kSize = 124, kSizeLength = 12, kChecksum = 148, kChecksumLength = 8, kType = 156;
// GNU's old form of a sparse file, type 'S': its map goes on in blocks after the header, which are no part of
// the size, as long as this byte says so (tar.h: isextended).
constexpr size_t kHeaderExtended = 482, kMapExtended = 504;
// Of a pax header, which may have attributes and access control lists in it.
constexpr uint64_t kMostPax = 16 << 20;

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

bool parse_decimal(std::string_view text, uint64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

// The last "size=" in a pax header's records, "LENGTH KEYWORD=VALUE\n" each; as far as they make sense.
std::optional<uint64_t> pax_size(std::string_view records) {
    constexpr std::string_view kKey = "size=";
    std::optional<uint64_t> size;
    while (!records.empty()) {
        const size_t blank = records.find(' ');
        uint64_t length = 0, value = 0;
        if (blank == records.npos || !parse_decimal(records.substr(0, blank), length) || length < blank + 2 ||
            length > records.size())
            break;
        const std::string_view record = records.substr(blank + 1, length - blank - 2);
        if (record.starts_with(kKey) && parse_decimal(record.substr(kKey.size()), value)) size = value;
        records.remove_prefix(length);
    }
    return size;
}

}  // namespace

// A whole block has come.
void TarCensus::block() {
    if (in_map_) {
        in_map_ = block_[kMapExtended] != 0;
    } else if (pax_left_ > 0) {
        const uint64_t count = std::min<uint64_t>(pax_left_, kRecord);
        pax_.append(reinterpret_cast<const char*>(block_), count);
        pax_left_ -= count;
        if (pax_left_ == 0) pax_size_ = pax_size(std::exchange(pax_, {}));
    } else {
        header();
    }
}

void TarCensus::header() {
    if (std::all_of(block_, block_ + kRecord, [](unsigned char byte) { return byte == 0; })) {
        ended_ = true;
        return;
    }
    uint64_t size;
    if (!checksum_is_right(block_) || !parse_number(block_ + kSize, kSizeLength, size)) {
        wrong_ = true;
        return;
    }
    const unsigned char type = block_[kType];
    const bool is_pax = type == 'x' || type == 'X';  // 'X': Solaris' own
    const bool about_the_next = is_pax || type == 'g' || type == 'L' || type == 'K';
    if (is_pax && size <= kMostPax) {
        pax_left_ = size;
        return;
    }
    // Where the size is too large for the header's field, that says something else.
    if (!about_the_next) size = std::exchange(pax_size_, std::nullopt).value_or(size);
    if (size > UINT64_MAX / 4) {
        wrong_ = true;
        return;
    }
    // Links and devices have no contents, whatever their header says; pax and GNU headers are no entries.
    const bool empty = type >= '1' && type <= '6';
    if (!empty) skip_ = whole_blocks(size, kRecord);
    if (about_the_next) return;
    in_map_ = type == 'S' && block_[kHeaderExtended] != 0;
    size_.entries++;
    size_.data_bytes += type == '5' ? kBlock : empty ? 0 : whole_blocks(size, kBlock);
}

void TarCensus::feed(std::span<const std::byte> bytes) {
    while (!bytes.empty() && !ended_ && !wrong_) {
        if (skip_ > 0 && !in_map_) {
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
        block();
    }
}

ContentSize TarCensus::result() const {
    // Some archivers leave out the end.
    const bool between = filled_ == 0 && skip_ == 0 && pax_left_ == 0 && !in_map_;
    bool complete = ended_ || (between && size_.entries > 0);
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
