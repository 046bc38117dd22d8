// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/tar_census.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
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

// What tar makes of the files in a folder of the test's own.
class TarCensusOfTar : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (std::filesystem::temp_directory_path() / "insp-tar-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string packed(const std::string& options, size_t most = SIZE_MAX) const {
        const std::string command = "cd '" + folder_ + "' && tar -c " + options + " * 2>/dev/null";
        FILE* pipe = ::popen(command.c_str(), "r");
        std::string archive;
        char buffer[4096];
        for (size_t n; archive.size() < most && (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
            archive.append(buffer, n);
        ::pclose(pipe);
        return archive;
    }
    // A file with `pieces` of a block each, 64 KiB apart.
    void sparse_file(const char* name, unsigned pieces) const {
        std::ofstream file(folder_ + "/" + name);
        for (unsigned i = 0; i < pieces; ++i) {
            file.seekp(i * 65536L);
            file << std::string(4096, 'x');
        }
    }

    std::string folder_;
};

TEST_F(TarCensusOfTar, FollowsTheMapsOfSparseFiles) {
    sparse_file("a", 100);  // more than a header and the first block of the map hold
    sparse_file("b", 3);
    std::ofstream(folder_ + "/c") << "text";
    for (const char* format :
         {"gnu", "oldgnu", "posix", "posix --sparse-version=0.0", "posix --sparse-version=0.1"}) {
        const std::string archive = packed(std::string("-S --format=") + format);
        ASSERT_LT(archive.size(), 1u << 20) << "the holes are left out";
        for (size_t piece : {size_t{1}, size_t{1000}, size_t{100000}}) {
            const ContentSize size = census(archive, piece);
            EXPECT_EQ(size.entries, 3u) << format;
            EXPECT_GE(size.data_bytes, 104 * 4096u) << format;
            EXPECT_LE(size.data_bytes, 108 * 4096u) << format;
        }
    }
}

// The header's own field has no room for it.
TEST_F(TarCensusOfTar, BelievesPaxOfLargeFiles) {
    constexpr uint64_t kLarge = uint64_t{9} << 30;
    std::ofstream(folder_ + "/large").close();
    std::filesystem::resize_file(folder_ + "/large", kLarge);
    std::string start = packed("--format=posix", 4096);
    start.resize(3 * 512);  // a pax header, its records, the file's own header
    TarCensus counter;
    counter.feed(std::as_bytes(std::span(start)));
    EXPECT_THROW(counter.result(), Error);
    const std::string zeros(1 << 20, '\0');
    for (uint64_t fed = 0; fed < kLarge; fed += zeros.size()) counter.feed(std::as_bytes(std::span(zeros)));
    const std::string rest = file(1) + kEnd;
    counter.feed(std::as_bytes(std::span(rest)));
    EXPECT_EQ(counter.result(), (ContentSize{.entries = 2, .data_bytes = kLarge + 4096}));
}

TEST(TarCensus, TakesPaxRecordsAsTheyCome) {
    auto pax = [](const std::string& records) {
        return header('x', records.size()) + records + std::string((512 - records.size() % 512) % 512, '\0');
    };
    const std::string long_record = "1015 comment=" + std::string(1001, 'c') + "\n";
    ASSERT_EQ(long_record.size(), 1015u);
    const std::string contents(1024, 'x');
    for (const std::string& records : {std::string("13 size=1000\n"), long_record + "13 size=1000\n",
                                       std::string("10 size=9\n13 size=1000\n")})
        EXPECT_EQ(census(pax(records) + header('0', 0) + contents + file(1), 512),
                  (ContentSize{.entries = 2, .data_bytes = 8192}))
            << records;
    // Of the next entry alone, whatever else is about that.
    EXPECT_EQ(census(pax("13 size=1000\n") + header('L', 5) + std::string(512, 'l') + header('0', 0) +
                         contents + file(0),
                     512),
              (ContentSize{.entries = 2, .data_bytes = 4096}));
    for (const char* nonsense :
         {"", " ", "13", "x size=1000\n", "0 size=1000\n", "99 size=1000\n", "13 size=-100\n"})
        EXPECT_EQ(census(pax(nonsense) + file(5), 512), (ContentSize{.entries = 1, .data_bytes = 4096}))
            << nonsense;
}

TEST(TarCensus, RefusesWhatIsNone) {
    for (const std::string& wrong : {std::string(), std::string("short"), std::string(2048, 'x'),
                                     file(5000).substr(0, 1024), file(10).substr(0, 700)})
        EXPECT_THROW(census(wrong, 512), Error);
    EXPECT_NO_THROW(census(file(10), 512)) << "without an end";
}

}  // namespace
}  // namespace inspect::cli
