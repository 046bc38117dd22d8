// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Why this is safe without restic's pause between writing a lock and looking for others': a lock is listed as
// soon as it was written, by a directory and by the servers of the REST protocol. Who comes writes his own
// first and looks then, so of two who come at once at least one sees the other; both may be refused, never
// are both let in.
#include "repository/lock.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include <inspect/error.h>

#include "base/log.h"
#include "repository/json.h"

namespace inspect::repository {

bool LockInfo::stale(const Timestamp& now, const std::string& this_host) const {
    if (now.seconds - time.seconds > std::chrono::seconds(RepositoryLock::kStale).count()) return true;
    if (hostname != this_host || pid == 0 || pid > INT32_MAX) return false;
    return ::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH;
}

std::string LockInfo::describe() const {
    return "process " + std::to_string(pid) + " of " + username + " on " + hostname + " since " + time.text();
}

LockInfo parse_lock(std::string_view text) {
    const JsonFields fields(text);
    LockInfo lock;
    const auto time = Timestamp::parse(fields.require_text("time"));
    if (!time) throw Error(ErrorKind::kCorrupt, "as a lock it makes no sense");
    lock.time = *time;
    lock.exclusive = fields.boolean("exclusive");
    lock.hostname = fields.text("hostname");
    lock.username = fields.text("username");
    lock.pid = fields.number("pid").value_or(0);
    return lock;
}

std::string format_lock(const LockInfo& lock) {
    JsonBuilder json;
    json.begin_object().text("time", lock.time.text()).boolean("exclusive", lock.exclusive);
    json.text("hostname", lock.hostname).text("username", lock.username);
    return json.number("pid", lock.pid).end_object().take();
}

RepositoryLock::RepositoryLock(Repository& repository, LockKind kind) : repository_(repository), kind_(kind) {
    write();
    try {
        refuse_conflicts();
        renewer_ = std::thread([this] { renew_until_stopped(); });
    } catch (...) {
        repository_.storage().remove(FileKind::kLock, id_);
        throw;
    }
}

RepositoryLock::~RepositoryLock() {
    {
        const std::lock_guard guard(mutex_);
        stop_ = true;
    }
    stopping_.notify_all();
    renewer_.join();
    try {
        repository_.storage().remove(FileKind::kLock, id_);
    } catch (const Error& error) {
        log(LogLevel::kVerbose, error.message());  // it will be found stale
    }
}

void RepositoryLock::write() {
    LockInfo lock;
    lock.time = Timestamp::now();
    lock.exclusive = kind_ == LockKind::kExclusive;
    lock.hostname = host_name();
    lock.username = user_name();
    lock.pid = static_cast<uint64_t>(::getpid());
    id_ = repository_.write_file(FileKind::kLock, format_lock(lock));
}

void RepositoryLock::refuse_conflicts() {
    const Timestamp now = Timestamp::now();
    const std::string host = host_name();
    for (const StoredFile& file : repository_.storage().list(FileKind::kLock)) {
        if (file.id == id_) continue;
        LockInfo other;
        try {
            const Bytes content = repository_.read_file(FileKind::kLock, file.id);
            other = parse_lock(as_text(content));
        } catch (const Error& error) {
            // It went away while we looked, or its writer crashed in the middle of writing it.
            if (error.kind() != ErrorKind::kNotFound && error.kind() != ErrorKind::kCorrupt) throw;
            log(LogLevel::kVerbose, "a lock is ignored: " + error.message());
            continue;
        }
        if (other.stale(now, host)) {
            log(LogLevel::kVerbose, "a stale lock is removed: " + other.describe());
            repository_.storage().remove(FileKind::kLock, file.id);
        } else if (other.exclusive || kind_ == LockKind::kExclusive) {
            throw Error(ErrorKind::kBusy, "the repository '" + repository_.location() + "' is in use" +
                                              (other.exclusive ? ", exclusively, by " : " by ") +
                                              other.describe());
        }
    }
}

void RepositoryLock::renew_until_stopped() {
    std::unique_lock guard(mutex_);
    while (!stopping_.wait_for(guard, kRenewal, [this] { return stop_; })) {
        try {
            const ObjectId old = id_;
            write();
            repository_.storage().remove(FileKind::kLock, old);
        } catch (const Error& error) {
            log(LogLevel::kVerbose, "the repository's lock can't be renewed: " + error.message());
        }
    }
}

}  // namespace inspect::repository
