// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/tar_census.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <string>

#include <inspect/error.h>

namespace inspect::cli {
namespace {

std::string header(char type, uint64_t size) {
    std::string block(512, '\0');
    block.replace(0, 4, "name");
    char field[13];
    std::snprintf(field, sizeof field, "%011llo", static_cast<unsigned long long>(size));
    block.replace(124, 12, field, 12);
    block[156] = type;
    block.replace(148, 8, 8, ' ');
    unsigned sum = 0;
    for (char c : block) sum += static_cast<unsigned char>(c);
    std::snprintf(field, sizeof field, "%06o", sum);
    block.replace(148, 7, field, 7);
    return block;
}

std::string file(uint64_t size) { return header('0', size) + std::string((size + 511) / 512 * 512, 'x'); }
const std::string kEnd(1024, '\0');

ContentSize census(const std::string& archive, size_t piece) {
    TarCensus counter;
    auto bytes = std::as_bytes(std::span(archive));
    while (!bytes.empty()) {
        size_t count = std::min(piece, bytes.size());
        counter.feed(bytes.first(count));
        bytes = bytes.subspan(count);
    }
    return counter.result();
}

TEST(TarCensus, CountsEntriesAndBlocks) {
    std::string archive = header('5', 0) + file(1) + file(5000) + header('2', 77) + header('x', 30) +
                          std::string(512, 'p') + file(0) + kEnd + "what comes after it doesn't count";
    // A directory, 1 and 5000 bytes, a link, an empty file; the pax header is none.
    const ContentSize wanted{.entries = 5, .data_bytes = 4096 + 4096 + 8192};
    for (size_t piece : {size_t{1}, size_t{511}, size_t{512}, size_t{100000}})
        EXPECT_EQ(census(archive, piece), wanted);
}

TEST(TarCensus, KnowsLargeNumbers) {
    std::string block = header('0', 0);
    std::memset(block.data() + 124, 0, 12);
    block[124] = static_cast<char>(0x80);
    block[124 + 7] = 3;  // 3 << 32
    block.replace(148, 8, 8, ' ');
    unsigned sum = 0;
    for (char c : block) sum += static_cast<unsigned char>(c);
    char field[8];
    std::snprintf(field, sizeof field, "%06o", sum);
    block.replace(148, 7, field, 7);
    TarCensus counter;
    counter.feed(std::as_bytes(std::span(block)));
    EXPECT_THROW(counter.result(), Error) << "its contents are missing";
}

TEST(TarCensus, RefusesWhatIsNone) {
    for (const std::string& wrong : {std::string(), std::string("short"), std::string(2048, 'x'),
                                     file(5000).substr(0, 1024), file(10).substr(0, 700)})
        EXPECT_THROW(census(wrong, 512), Error);
    EXPECT_NO_THROW(census(file(10), 512)) << "without an end";
}

}  // namespace
}  // namespace inspect::cli
