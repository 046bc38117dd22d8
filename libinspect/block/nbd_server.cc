// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <list>
#include <memory>
#include <system_error>
#include <thread>

#include <inspect/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "block/nbd_handshake.h"
#include "block/nbd_protocol.h"
#include "block/nbd_requests.h"
#include "block/nbd_stream.h"
#include "block/shared_device.h"

namespace inspect {

namespace {

// How long clients have, when the server stops, to take the replies that are under way.
constexpr int kStopGraceMs = 1000;
// How long no client is accepted after that failed for want of descriptors or memory.
constexpr int kAcceptPauseMs = 100;

NbdExport make_offer(const BlockDevice& device, const NbdServerOptions& options) {
    uint16_t flags = nbd::kHasFlags | nbd::kSendDf | nbd::kCanMultiConn | nbd::kSendCache;
    if (options.read_only || device.read_only()) {
        flags |= nbd::kReadOnly;
    } else {
        flags |= nbd::kSendFlush | nbd::kSendFua | nbd::kSendTrim | nbd::kSendWriteZeroes;
    }
    return {options.name, options.description, device.size(), flags, options.minimum_block};
}

void prepare_socket(int socket) {
    const int on = 1;
    // These fail on Unix sockets, which don't need them: replies are small, and a peer's host may vanish.
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

bool wait_readable(int fd, int timeout_ms) {
    pollfd wanted = {fd, POLLIN, 0};
    return ::poll(&wanted, 1, timeout_ms) > 0 && wanted.revents != 0;
}

}  // namespace

// One client of serve(). Its thread is the last to use the socket.
struct NbdServer::Connection {
    Fd socket;
    std::thread thread;
    std::atomic<bool> ended{false};
};

// The clients of one serve(). None is left when this is destroyed.
class NbdServer::Connections {
  public:
    explicit Connections(NbdServer& server)
        : server_(server), ended_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (!ended_event_) throw Error::from_errno("cannot serve NBD clients: cannot make an eventfd", errno);
    }
    ~Connections() { stop(); }

    // Becomes readable when a connection has ended.
    int ended_event() const { return ended_event_.get(); }
    size_t count() const { return all_.size(); }

    void start(Fd socket) {
        Connection& connection = all_.emplace_back();
        connection.socket = std::move(socket);
        prepare_socket(connection.socket.get());
        try {
            connection.thread = std::thread([this, &connection] {
                server_.serve_connection(connection.socket.get());
                // So that the client is told at once, and not only when the connection is reaped.
                ::shutdown(connection.socket.get(), SHUT_RDWR);
                connection.ended = true;
                const uint64_t one = 1;
                [[maybe_unused]] ssize_t written = ::write(ended_event_.get(), &one, sizeof one);
            });
        } catch (const std::system_error&) {
            all_.pop_back();  // the system has no thread left: this client is turned away
            log(LogLevel::kVerbose, "NBD server: no thread for another client");
        }
    }

    void reap() {
        uint64_t count;
        [[maybe_unused]] ssize_t read = ::read(ended_event_.get(), &count, sizeof count);
        all_.remove_if([](Connection& connection) {
            if (!connection.ended) return false;
            connection.thread.join();
            return true;
        });
    }

    void stop() {
        for (Connection& connection : all_) ::shutdown(connection.socket.get(), SHUT_RD);
        const auto end = NbdStream::Clock::now() + std::chrono::milliseconds(kStopGraceMs);
        for (reap(); !all_.empty(); reap()) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - NbdStream::Clock::now());
            if (left.count() <= 0) break;
            wait_readable(ended_event_.get(), static_cast<int>(left.count()));
        }
        for (Connection& connection : all_) ::shutdown(connection.socket.get(), SHUT_RDWR);
        for (Connection& connection : all_) connection.thread.join();
        all_.clear();
    }

  private:
    NbdServer& server_;
    Fd ended_event_;
    std::list<Connection> all_;
};

NbdServer::NbdServer(BlockDevice& device, NbdServerOptions options)
    : options_(std::move(options)), device_(std::make_unique<SharedDevice>(device)) {
    if (options_.name.size() > nbd::kMaxString || options_.description.size() > nbd::kMaxString) {
        throw Error(ErrorKind::kUsage,
                    "the name and the description of an NBD export have at most 4096 bytes");
    }
}

NbdServer::~NbdServer() = default;

void NbdServer::serve_connection(int socket) noexcept {
    try {
        NbdStream stream(socket, "the NBD client", options_.stall_timeout);
        stream.set_deadline(NbdStream::Clock::now() + options_.handshake_timeout);
        const NbdExport offer = make_offer(device_->properties(), options_);
        const auto agreement = nbd_server_handshake(stream, offer);
        if (!agreement) return;
        stream.set_deadline(std::nullopt);
        NbdRequests(stream, *device_, offer, *agreement, stopping_).run();
    } catch (const std::exception& error) {
        log(LogLevel::kVerbose, std::string("NBD server: connection ended: ") + error.what());
    }
}

void NbdServer::serve(int listening_socket, int stop_fd) {
    stopping_ = false;
    bool had_client = false;
    Connections connections(*this);
    while (true) {
        const bool full = connections.count() >= options_.max_connections;
        pollfd wanted[] = {{stop_fd, POLLIN, 0},
                           {connections.ended_event(), POLLIN, 0},
                           {full ? -1 : listening_socket, POLLIN, 0}};
        if (::poll(wanted, std::size(wanted), -1) < 0) {
            if (errno == EINTR) continue;
            throw Error::from_errno("cannot wait for NBD clients", errno);
        }
        if (wanted[0].revents != 0) break;
        if (wanted[1].revents != 0) connections.reap();
        if (options_.end_with_last_client && had_client && connections.count() == 0) break;
        if (wanted[2].revents == 0) continue;
        Fd socket(::accept4(listening_socket, nullptr, nullptr, SOCK_CLOEXEC));
        if (socket) {
            had_client = true;
            connections.start(std::move(socket));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (wait_readable(stop_fd, kAcceptPauseMs)) break;
        } else if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK || errno == EOPNOTSUPP) {
            throw Error::from_errno("cannot accept NBD clients", errno);
        }  // else that client's connection failed before it was accepted
    }
    stopping_ = true;
}

}  // namespace inspect
