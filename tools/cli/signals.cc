// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/signals.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include <inspect/session.h>

namespace inspect::cli {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

// What the handler touches; all lock-free.
std::atomic<int> pending{0};
std::atomic<Session*> interrupted_session{nullptr};
std::atomic<int> wake_fd{-1};  // the writing end of a pipe, for wait_readable()

int wake_read_fd = -1;
bool pipe_ignored = false;
struct sigaction saved[std::size(kSignals)];

void on_signal(int signal) {
    int saved_errno = errno;
    if (pending.exchange(signal) == signal) {
        // The second of its kind: the user means it.
        ::signal(signal, SIG_DFL);
        raise(signal);
    }
    if (Session* session = interrupted_session.load()) session->interrupt();
    if (int fd = wake_fd.load(); fd >= 0 && ::write(fd, "", 1) < 0) {
        // A full pipe wakes as well.
    }
    errno = saved_errno;
}

}  // namespace

void signals_start() {
    struct sigaction old = {};
    sigaction(SIGPIPE, nullptr, &old);
    pipe_ignored = old.sa_handler == SIG_IGN;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);  // a file size limit is an error of the write, which says what was written
}

bool sigpipe_was_ignored() { return pipe_ignored; }

SignalScope::SignalScope() {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
        throw Error::from_errno("cannot make a pipe", errno, ErrorKind::kInternal);
    wake_read_fd = fds[0];
    wake_fd = fds[1];
    struct sigaction action = {};
    action.sa_handler = on_signal;  // no SA_RESTART: what blocks shall notice
    for (int signal : kSignals) sigaddset(&action.sa_mask, signal);
    for (size_t i = 0; i < std::size(kSignals); ++i) {
        sigaction(kSignals[i], nullptr, &saved[i]);
        // nohup(1) and background jobs ignore signals: so do we.
        if (saved[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
    }
}

SignalScope::~SignalScope() {
    interrupted_session = nullptr;
    for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &saved[i], nullptr);
    ::close(wake_fd.exchange(-1));
    ::close(wake_read_fd);
}

void SignalScope::attach(Session* session) {
    interrupted_session = session;
    if (session != nullptr) check_interrupted();
}

int SignalScope::fd() const { return wake_read_fd; }

int pending_signal() { return pending; }

void check_interrupted() {
    if (pending != 0) throw Error(ErrorKind::kCancelled, "interrupted");
}

void wait_readable(int fd) {
    for (;;) {
        check_interrupted();
        pollfd fds[2] = {{fd, POLLIN, 0}, {wake_read_fd, POLLIN, 0}};
        int ready = poll(fds, 2, -1);
        if (ready < 0 && errno != EINTR)
            throw Error::from_errno("cannot wait for input", errno, ErrorKind::kInternal);
        if (ready > 0 && fds[0].revents != 0) return;
    }
}

void die_by_signal(int signal) {
    ::signal(signal, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    raise(signal);
    _exit(128 + signal);
}

}  // namespace inspect::cli
