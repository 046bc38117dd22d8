// SPDX-License-Identifier: LGPL-2.1-or-later
#include "protocol/forwarding.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include <inspect/error.h>

namespace inspect::protocol {

namespace {

constexpr size_t kPiece = 64 << 10;

proto::Forwarded about(uint32_t number) {
    proto::Forwarded piece;
    piece.set_connection(number);
    return piece;
}

// So that closing it tells the peer that it was no regular end.
void reset_on_close(int socket) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace

Forwarding::Forwarding(Connect connect)
    : connect_(std::move(connect)),
      poll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (!poll_ || !wake_ || ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) < 0)
        throw Error::from_errno(ErrorKind::kEngine, "cannot wait for connections", errno);
}

void Forwarding::wake() { ::eventfd_write(wake_.get(), 1); }

Forwarding::Connection& Forwarding::add(Fd socket) {
    Connection& connection = connections_[++last_];
    connection.socket = std::move(socket);
    if (connection.socket) {
        ::fcntl(connection.socket.get(), F_SETFL, O_NONBLOCK);
        watch(connection);
    } else {
        connection.failed = true;
    }
    return connection;
}

void Forwarding::accepted(Fd socket, const Send& send) {
    add(std::move(socket));
    proto::Forwarded piece = about(last_);
    piece.set_opened(true);
    send(piece);
}

// Waits for just what there is something to do about: an error or a hang-up is always told, and would be so
// again and again.
void Forwarding::watch(Connection& connection) {
    uint32_t events = 0;
    if (!connection.over && !connection.we_ended && connection.may_send > 0) events |= EPOLLIN;
    if (!connection.over && !connection.to_socket.empty()) events |= EPOLLOUT;
    if (events == connection.watched) return;
    epoll_event event{.events = events, .data = {}};
    const int what = events == 0 ? EPOLL_CTL_DEL : connection.watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (::epoll_ctl(poll_.get(), what, connection.socket.get(), &event) < 0) connection.failed = true;
    connection.watched = events;
}

bool Forwarding::receive(const proto::Forwarded& piece) {
    const uint32_t number = piece.connection();
    if (piece.opened()) {
        if (!connect_ || number != last_ + 1 || !room()) return false;
        add(connect_());
        wake();
        return true;
    }
    if (number == 0 || number > last_) return false;
    const auto found = connections_.find(number);
    if (found == connections_.end() || found->second.over) return true;  // it is over
    Connection& connection = found->second;
    if (piece.passed_on() > kWindow - connection.may_send) return false;
    connection.may_send += piece.passed_on();
    if (!piece.data().empty() || piece.end()) {
        if (connection.they_ended) return false;
        if (piece.data().size() > kWindow - connection.passed_on - connection.to_socket.size()) return false;
        connection.to_socket += piece.data();
        connection.they_ended = piece.end();
    }
    if (piece.reset()) {
        if (connection.socket) reset_on_close(connection.socket.get());
        connection.over = true;
    }
    wake();
    return true;
}

// Passes on to the socket what came for it, as far as it takes it.
void Forwarding::flush(Connection& connection) {
    while (!connection.to_socket.empty()) {
        const ssize_t n = ::send(connection.socket.get(), connection.to_socket.data(),
                                 connection.to_socket.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            connection.failed = errno != EAGAIN;
            return;
        }
        connection.to_socket.erase(0, static_cast<size_t>(n));
        connection.passed_on += static_cast<uint32_t>(n);
    }
    if (connection.they_ended && !connection.shut_down) {
        ::shutdown(connection.socket.get(), SHUT_WR);
        connection.shut_down = true;
    }
}

// Reads once from the socket and sends it. False when there is no use in going on.
bool Forwarding::forward(uint32_t number, Connection& connection, const Send& send) {
    if (connection.we_ended || connection.may_send == 0) return true;
    buffer_.resize(std::min<size_t>(kPiece, connection.may_send));
    ssize_t n;
    do {
        n = ::recv(connection.socket.get(), buffer_.data(), buffer_.size(), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        connection.failed = errno != EAGAIN;
        return true;
    }
    proto::Forwarded piece = about(number);
    if (n == 0) {
        connection.we_ended = true;
        piece.set_end(true);
    } else {
        connection.may_send -= static_cast<uint32_t>(n);
        piece.set_data(buffer_.data(), static_cast<size_t>(n));
    }
    return send(piece);
}

// All that is to do about a connection now.
bool Forwarding::step(uint32_t number, Connection& connection, const Send& send) {
    if (!connection.over && !connection.failed) flush(connection);
    if (!connection.over && !connection.failed && !forward(number, connection, send)) return false;
    if (!connection.over && connection.passed_on >= kWindow / 2) {
        proto::Forwarded piece = about(number);
        piece.set_passed_on(connection.passed_on);
        connection.passed_on = 0;
        if (!send(piece)) return false;
    }
    if (!connection.over && connection.failed) {
        if (connection.socket) reset_on_close(connection.socket.get());
        connection.over = true;
        proto::Forwarded piece = about(number);
        piece.set_reset(true);
        if (!send(piece)) return false;
    }
    if (connection.we_ended && connection.shut_down) connection.over = true;
    if (connection.socket) watch(connection);
    return true;
}

void Forwarding::work(const Send& send) {
    eventfd_t ignored;
    ::eventfd_read(wake_.get(), &ignored);
    for (auto& [number, connection] : connections_)
        if (!step(number, connection, send)) return;
    std::erase_if(connections_, [](const auto& entry) { return entry.second.over; });
}

}  // namespace inspect::protocol
