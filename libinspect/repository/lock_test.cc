// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/lock.h"

#include <sys/wait.h>
#include <unistd.h>

#include "repository/repository_for_test.h"

namespace inspect::repository {
namespace {

size_t locks(const TestRepository& test) { return open_storage(test.path())->list(FileKind::kLock).size(); }

// A process that has ended.
pid_t dead_process() {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
    return child;
}

void leave_lock(Repository& repository, pid_t pid, const std::string& host, int64_t age_seconds) {
    LockInfo lock;
    lock.time = Timestamp::now();
    lock.time.seconds -= age_seconds;
    lock.exclusive = true;
    lock.hostname = host;
    lock.username = "somebody";
    lock.pid = static_cast<uint64_t>(pid);
    repository.write_file(FileKind::kLock, format_lock(lock));
}

TEST(RepositoryLock, SharedGoTogetherExclusiveAlone) {
    const TestRepository test;
    const auto a = test.open(), b = test.open();
    {
        const RepositoryLock first(*a, LockKind::kShared), second(*b, LockKind::kShared);
        EXPECT_EQ(locks(test), 2U);
        expect_error(ErrorKind::kBusy, "is in use by process " + std::to_string(::getpid()),
                     [&] { RepositoryLock alone(*b, LockKind::kExclusive); });
        EXPECT_EQ(locks(test), 2U);
    }
    EXPECT_EQ(locks(test), 0U);
    const RepositoryLock alone(*a, LockKind::kExclusive);
    expect_error(ErrorKind::kBusy, "exclusively", [&] { RepositoryLock other(*b, LockKind::kShared); });
}

TEST(RepositoryLock, StaleOnesAreRemoved) {
    const TestRepository test;
    const auto repository = test.open();
    leave_lock(*repository, dead_process(), host_name(), 10);
    leave_lock(*repository, 1, "another-host", 3600);
    { const RepositoryLock lock(*repository, LockKind::kExclusive); }
    EXPECT_EQ(locks(test), 0U);
    leave_lock(*repository, dead_process(), "another-host", 60);
    expect_error(ErrorKind::kBusy, "another-host",
                 [&] { RepositoryLock lock(*repository, LockKind::kShared); });
}

TEST(RepositoryLock, ResticRespectsItAndWeRestics) {
    const TestRepository test;
    const auto repository = test.open();
    {
        const RepositoryLock lock(*repository, LockKind::kShared);
        const auto prune = test.restic({"prune"});
        if (!prune) GTEST_SKIP() << "restic is not installed";
        EXPECT_NE(prune->status, 0);
        EXPECT_NE(prune->errors.find("locked"), std::string::npos) << prune->errors;
        EXPECT_NE(test.restic({"list", "locks"})->output.size(), 0U);
    }
    EXPECT_EQ(test.restic({"prune"})->status, 0);
}

}  // namespace
}  // namespace inspect::repository
