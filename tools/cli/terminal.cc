// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>

namespace inspect::cli {
namespace {

// What the handlers touch.
termios original;
termios raw;
int event_fds[2] = {-1, -1};

// SIGINT and the like end a session by an exception and so by our destructor; a second one of a kind, and
// these, don't.
constexpr int kDeadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr int kEvents[] = {SIGWINCH, SIGCONT};
struct sigaction saved_deadly[std::size(kDeadly)];
struct sigaction saved_events[std::size(kEvents)];

// Restores the terminal and lets the handler before us decide: another one may only take note of the signal,
// and then the terminal stays restored for the short rest.
void on_deadly(int signal) {
    int saved_errno = errno;
    ::tcsetattr(STDIN_FILENO, TCSANOW, &original);
    for (size_t i = 0; i < std::size(kDeadly); ++i) {
        if (kDeadly[i] != signal) continue;
        ::sigaction(signal, &saved_deadly[i], nullptr);
        ::raise(signal);
    }
    errno = saved_errno;
}

void on_event(int signal) {
    int saved_errno = errno;
    if (signal == SIGCONT) ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    if (::write(event_fds[1], "", 1) < 0) {
        // A full pipe is readable as well.
    }
    errno = saved_errno;
}

void add_to_epoll(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        throw Error::from_errno("cannot watch the terminal", errno);
}

}  // namespace

RawTerminal::RawTerminal() {
    if (::tcgetattr(STDIN_FILENO, &original) < 0)
        throw Error::from_errno("standard input is no terminal", errno);
    if (::pipe2(event_fds, O_CLOEXEC | O_NONBLOCK) < 0) throw Error::from_errno("cannot make a pipe", errno);
    ready_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (ready_ < 0) throw Error::from_errno("cannot watch the terminal", errno);
    add_to_epoll(ready_, STDIN_FILENO);
    add_to_epoll(ready_, event_fds[0]);
    raw = original;
    ::cfmakeraw(&raw);
    struct sigaction action = {};
    action.sa_handler = on_deadly;
    for (size_t i = 0; i < std::size(kDeadly); ++i) {
        ::sigaction(kDeadly[i], nullptr, &saved_deadly[i]);
        if (saved_deadly[i].sa_handler != SIG_IGN) ::sigaction(kDeadly[i], &action, nullptr);
    }
    action.sa_handler = on_event;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < std::size(kEvents); ++i) ::sigaction(kEvents[i], &action, &saved_events[i]);
    ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

RawTerminal::~RawTerminal() {
    for (size_t i = 0; i < std::size(kDeadly); ++i) ::sigaction(kDeadly[i], &saved_deadly[i], nullptr);
    for (size_t i = 0; i < std::size(kEvents); ++i) ::sigaction(kEvents[i], &saved_events[i], nullptr);
    ::tcsetattr(STDIN_FILENO, TCSADRAIN, &original);
    ::close(ready_);
    for (int& fd : event_fds) {
        ::close(fd);
        fd = -1;
    }
}

TerminalSize RawTerminal::size() const {
    winsize window{};
    if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &window) < 0 || window.ws_row == 0) return {};
    return {.rows = window.ws_row, .columns = window.ws_col};
}

std::optional<size_t> RawTerminal::read(std::span<std::byte> buffer) {
    char events[64];
    while (::read(event_fds[0], events, sizeof events) > 0) {
    }
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (::poll(&input, 1, 0) <= 0) return std::nullopt;
    ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return std::nullopt;
    return count > 0 ? static_cast<size_t>(count) : 0;
}

void RawTerminal::suspend() {
    ::tcsetattr(STDIN_FILENO, TCSADRAIN, &original);
    ::raise(SIGTSTP);
    ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

}  // namespace inspect::cli
