// SPDX-License-Identifier: GPL-2.0-or-later
//
// Reading through virtio-blk, the guest's page cache and the channel: in sequence, and 4 KiB at random.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

#include <inspect/session.h>

#include "bench.h"

namespace inspect::bench {
namespace {

constexpr uint64_t kFileSize = 32 << 20;  // of /large in the guest of that name
constexpr uint64_t kBlock = 4096;
constexpr int kRandomReads = 256;

double seconds_of(const std::function<void()>& work) {
    auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Session open_session(const std::string& image) {
    SessionOptions options;
    options.disks.push_back({.path = image, .format = "raw"});
    options.cache_directory = std::string(INSP_BUILD_DIR) + "/tests/cache";
    Session session(options);
    session.mount({.device = "/dev/sda"});
    session.stat("/large");  // started and mounted: this is not about starting
    return session;
}

}  // namespace

int bench_read(const BenchOptions& options) {
    std::string image = test::guest("large");
    std::vector<double> sequential, random, requests;
    std::mt19937_64 generator(1);
    for (int run = 0; run < options.runs; run++) {
        uint64_t bytes = 0;
        auto count = [&](std::span<const std::byte> part) { bytes += part.size(); };
        {
            Session session = open_session(image);
            sequential.push_back(seconds_of([&] { session.read_file("/large", count); }));
            requests.push_back(static_cast<double>(session.stats().block_requests));
        }
        if (bytes != kFileSize) throw std::runtime_error("the file was not read whole");
        // Each block once, so that none comes from the guest's page cache.
        std::vector<uint64_t> blocks(kFileSize / kBlock);
        std::iota(blocks.begin(), blocks.end(), 0);
        std::shuffle(blocks.begin(), blocks.end(), generator);
        Session session = open_session(image);
        random.push_back(seconds_of([&] {
            for (int i = 0; i < kRandomReads; i++)
                session.read_file("/large", count, blocks[static_cast<size_t>(i)] * kBlock, kBlock);
        }));
    }
    printf("through virtio-blk, the guest's page cache and the channel; medians of %d runs\n", options.runs);
    printf("sequential, 32 MiB     %9.3f s   %.1f MB/s, %.0f block requests\n", test::median(sequential),
           static_cast<double>(kFileSize) / 1e6 / test::median(sequential), test::median(requests));
    printf("random, %d x 4 KiB    %9.3f s   %.0f reads/s, %.2f ms each\n", kRandomReads, test::median(random),
           kRandomReads / test::median(random), test::median(random) * 1e3 / kRandomReads);
    return 0;
}

}  // namespace inspect::bench
