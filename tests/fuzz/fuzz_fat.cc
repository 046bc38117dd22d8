// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arbitrary bytes as a FAT that is made larger or smaller. It is refused, and then nothing was written, or
// what comes of it is a sound FAT of that type.
//
// The first two bytes are the new size, in KiB; the rest is the file system's beginning, of 2 MiB.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include <inspect/error.h>

#include "base/fd.h"
#include "failure.h"
#include "fat_resize.h"

using namespace inspect;
using namespace inspect::agent;

namespace {

constexpr size_t kSize = 2 << 20;
constexpr size_t kLargest = size_t{64} << 10 << 10;

std::vector<std::byte> contents(int fd) {
    std::vector<std::byte> bytes(kSize);
    pread_full(fd, bytes, 0, "read");
    return bytes;
}

// nullopt: it is refused.
std::optional<uint64_t> smallest(int fd) {
    try {
        return smallest_fat(fd, 0, [] {});
    } catch (const Failure&) {
        return std::nullopt;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2 + kFatBootSector || size > kSize) return 0;
    const uint64_t wanted = (data[0] | uint64_t{data[1]} << 8) << 10;
    const Fd file(::memfd_create("fat", MFD_CLOEXEC));
    if (!file || ::ftruncate(file.get(), kLargest) != 0) std::abort();
    pwrite_full(file.get(), std::as_bytes(std::span(data, size).subspan(2)), 0, "write");
    const std::vector<std::byte> before = contents(file.get());
    const std::optional<FatLayout> layout = read_fat_layout(file.get(), 0);
    const std::optional<uint64_t> least = smallest(file.get());
    if (layout) movable_fat_clusters(file.get(), 0, *layout);
    try {
        verify_fat(file.get(), 0, [] {});
    } catch (const Failure&) {
    }
    try {
        resize_fat(file.get(), 0, wanted, [] {});
    } catch (const Failure&) {
        if (contents(file.get()) != before) std::abort();
        return 0;
    }
    const std::optional<FatLayout> now = read_fat_layout(file.get(), 0);
    if (!layout || !now || now->bits != layout->bits || now->size() > std::max(wanted, layout->size()))
        std::abort();
    if (*now == *layout) return 0;
    // What was sound is.
    if (!least || !smallest(file.get())) std::abort();
    return 0;
}
