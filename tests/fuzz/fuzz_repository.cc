// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arbitrary bytes as the parts of a backup repository that are parsed: pack headers, indexes, directories,
// snapshots, locks, keys, config files and compressed files. They are refused or understood, and what was
// understood is the same after it was written and read again. The first byte says which part it is.
#include <cstdlib>

#include <inspect/error.h>

#include "repository/compression.h"
#include "repository/index.h"
#include "repository/keys.h"
#include "repository/lock.h"
#include "repository/pack.h"
#include "repository/snapshot.h"
#include "repository/tree.h"

using namespace inspect;
using namespace inspect::repository;

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

void fuzz(uint8_t part, std::span<const std::byte> input) {
    const std::string_view text = as_text(input);
    switch (part) {
        case 0: {
            const auto blobs = parse_pack_header(input, 1'000'000);
            const auto again = format_pack_header(blobs);
            require(std::equal(again.begin(), again.end(), input.begin(), input.end()));
            break;
        }
        case 1: {
            const IndexFile file = parse_index(text);
            Index index;
            for (const IndexedPack& pack : file.packs) index.add(pack);
            const IndexFile again = parse_index(format_index(file.packs));
            require(again.packs.size() == file.packs.size());
            for (const IndexedPack& pack : file.packs) require(index.has_pack(pack.id));
            break;
        }
        case 2: {
            const Tree tree = parse_tree(text);
            const Tree again = parse_tree(format_tree(tree));
            require(again.size() == tree.size());
            break;
        }
        case 3:
            require(parse_snapshot(format_snapshot(parse_snapshot(text))).tree == parse_snapshot(text).tree);
            break;
        case 4:
            require(parse_lock(format_lock(parse_lock(text))).exclusive == parse_lock(text).exclusive);
            break;
        case 5: {
            // With a password that costs nothing to derive a key from, lest scrypt be all that is fuzzed.
            if (text.find("\"N\":2,\"r\":1,\"p\":1") == std::string_view::npos) return;
            SealingKey key;
            open_key_file(text, "x", key);
            break;
        }
        case 6:
            parse_config(text);
            break;
        default:
            if (decompress(input, 4096).size() != 4096) std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0 || size > 1 << 16) return 0;
    try {
        fuzz(data[0] % 8, std::as_bytes(std::span(data, size)).subspan(1));
    } catch (const Error&) {
    }
    return 0;
}
