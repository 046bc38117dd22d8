// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/read_cache.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace inspect::fuse {
namespace {

constexpr uint64_t kChunk = ReadCache::kChunk;

void load(ReadCache& cache, uint64_t node, uint64_t index, size_t size = kChunk) {
    auto chunk = cache.add(node, index);
    chunk->data.resize(size);
    cache.loaded(node, index, chunk);
}

TEST(ReadCache, WhoWaitsIsToldOnce) {
    ReadCache cache;
    auto chunk = cache.add(1, 0);
    int told = 0;
    chunk->waiting.push_back([&] { ++told; });
    EXPECT_TRUE(cache.find(1, 0)->loading);
    cache.loaded(1, 0, chunk);
    EXPECT_EQ(told, 1);
    EXPECT_FALSE(cache.find(1, 0)->loading);
}

TEST(ReadCache, WhatCouldNotBeReadIsAskedForAgain) {
    ReadCache cache;
    auto chunk = cache.add(1, 0);
    chunk->error = EIO;
    cache.loaded(1, 0, chunk);
    EXPECT_EQ(cache.find(1, 0), nullptr);
}

TEST(ReadCache, AChangeDropsWhatItTouches) {
    ReadCache cache;
    for (uint64_t i = 0; i < 4; ++i) load(cache, 1, i);
    load(cache, 2, 0);
    cache.drop(1, kChunk + 5, kChunk);
    EXPECT_NE(cache.find(1, 0), nullptr);
    EXPECT_EQ(cache.find(1, 1), nullptr);
    EXPECT_EQ(cache.find(1, 2), nullptr);
    EXPECT_NE(cache.find(1, 3), nullptr);
    cache.drop(1);
    EXPECT_EQ(cache.find(1, 0), nullptr);
    EXPECT_NE(cache.find(2, 0), nullptr);
}

TEST(ReadCache, WhatIsOnItsWayDuringAChangeIsNotUsedLater) {
    ReadCache cache;
    auto old = cache.add(1, 0);
    bool told = false;
    old->waiting.push_back([&] { told = true; });
    cache.drop(1, 0, 1);
    auto fresh = cache.add(1, 0);
    cache.loaded(1, 0, old);
    EXPECT_TRUE(told) << "who asked before the change gets the old contents";
    EXPECT_EQ(cache.find(1, 0), fresh);
    EXPECT_TRUE(fresh->loading);
}

TEST(ReadCache, TheOldestGoWhenItIsFull) {
    ReadCache cache;
    constexpr uint64_t kMost = ReadCache::kMostBytes / kChunk;
    for (uint64_t i = 0; i < kMost; ++i) load(cache, 1, i);
    EXPECT_NE(cache.find(1, 0), nullptr);  // used again
    load(cache, 2, 0);
    EXPECT_NE(cache.find(1, 0), nullptr);
    EXPECT_EQ(cache.find(1, 1), nullptr);
    EXPECT_NE(cache.find(2, 0), nullptr);
}

}  // namespace
}  // namespace inspect::fuse
