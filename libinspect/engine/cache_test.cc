// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <inspect/error.h>

namespace inspect {
namespace {

namespace fs = std::filesystem;

class CacheTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = fs::temp_directory_path() / "insp-cache-test.XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        top_ = name;
    }
    void TearDown() override { fs::remove_all(top_); }

    void publish(const Cache& cache, const std::string& key, const std::string& memory) {
        Cache::Draft draft(cache, key);
        write_full(draft.state_fd(), std::as_bytes(std::span("state", 5)), "test");
        write_full(draft.memory_fd(), std::as_bytes(std::span(memory)), "test");
        draft.publish();
    }

    std::string top_;
};

TEST_F(CacheTest, SnapshotAppearsWholeOrNotAtAll) {
    Cache cache(top_ + "/deep/cache");
    EXPECT_FALSE(cache.find_snapshot("key"));
    {
        Cache::Draft draft(cache, "key");
        write_full(draft.state_fd(), std::as_bytes(std::span("half", 4)), "test");
    }
    EXPECT_FALSE(cache.find_snapshot("key"));
    EXPECT_TRUE(cache.list_snapshots().empty()) << "an abandoned draft is removed";

    publish(cache, "key", "memory");
    auto found = cache.find_snapshot("key");
    ASSERT_TRUE(found);
    char text[16] = {};
    EXPECT_EQ(6u, read_full(found->memory.get(), std::as_writable_bytes(std::span(text)), "test"));
    EXPECT_STREQ(text, "memory");
    EXPECT_FALSE(cache.find_snapshot("another key"));
}

TEST_F(CacheTest, NewSnapshotReplacesTheOneThatDidNotFit) {
    Cache cache(top_);
    publish(cache, "key", "old");
    publish(cache, "key", "newer");
    struct stat st;
    ASSERT_EQ(0, ::fstat(cache.find_snapshot("key")->memory.get(), &st));
    EXPECT_EQ(5, st.st_size);
    cache.remove_snapshot("key");
    EXPECT_FALSE(cache.find_snapshot("key"));
}

TEST_F(CacheTest, DamagedStateIsNotUsed) {
    Cache cache(top_);
    publish(cache, "key", "memory");
    const auto found = cache.find_snapshot("key");
    ASSERT_TRUE(found);
    char text[16] = {};
    EXPECT_EQ(5u, read_full(found->state.get(), std::as_writable_bytes(std::span(text)), "test"))
        << "from its start";
    std::ofstream(found->path + "/state") << "stale";
    EXPECT_FALSE(cache.find_snapshot("key"));
    std::ofstream(found->path + "/state") << "state";
    EXPECT_TRUE(cache.find_snapshot("key"));
    std::ofstream(found->path + "/state", std::ios::app) << "more";
    EXPECT_FALSE(cache.find_snapshot("key"));
    std::ofstream(found->path + "/state") << "state";
    fs::remove(found->path + "/sum");
    EXPECT_FALSE(cache.find_snapshot("key"));
    publish(cache, "key", "memory");
    EXPECT_TRUE(cache.find_snapshot("key"));
}

TEST_F(CacheTest, WhatIsNotOursAloneIsNotUsed) {
    Cache cache(top_);
    publish(cache, "key", "memory");
    std::string path = cache.find_snapshot("key")->path;
    ASSERT_EQ(0, ::chmod(path.c_str(), 0750));
    EXPECT_FALSE(cache.find_snapshot("key"));
    ASSERT_EQ(0, ::chmod(path.c_str(), 0700));
    std::ofstream(path + "/key") << "tampered";
    EXPECT_FALSE(cache.find_snapshot("key"));
    ASSERT_EQ(0, ::chmod((top_ + "/snapshots").c_str(), 0777));
    EXPECT_THROW(Cache{top_}, Error);
}

TEST_F(CacheTest, ClearRemovesSnapshotsAndFacts) {
    Cache cache(top_);
    publish(cache, "a", std::string(10000, 'x'));
    cache.write_fact("kvm", "software");
    EXPECT_EQ(cache.read_fact("kvm"), "software");
    EXPECT_GT(cache.clear(), 0u);
    EXPECT_FALSE(cache.find_snapshot("a"));
    EXPECT_FALSE(cache.read_fact("kvm"));
    EXPECT_EQ(0u, cache.clear());
}

TEST_F(CacheTest, LocksExcludeEachOther) {
    Cache cache(top_);
    Fd held = cache.lock_snapshot("key");
    pid_t child = ::fork();
    if (child == 0) {
        ::alarm(1);
        Fd second = cache.lock_snapshot("key");
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(child, ::waitpid(child, &status, 0));
    EXPECT_TRUE(WIFSIGNALED(status)) << "the child got a lock that is held";
}

TEST(KeyHash, DiffersAndIsAFileName) {
    EXPECT_NE(key_hash("a"), key_hash("b"));
    EXPECT_EQ(key_hash("a"), key_hash("a"));
    EXPECT_EQ(key_hash("").size(), 32u);
    EXPECT_EQ(key_hash("x").find('/'), std::string::npos);
}

}  // namespace
}  // namespace inspect
