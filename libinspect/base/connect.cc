// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/connect.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <sstream>
#include <vector>

#include <inspect/error.h>

#include "base/subprocess.h"

namespace inspect {

namespace {

constexpr size_t kMaxAddresses = 8;

struct Address {
    sockaddr_storage storage = {};
    socklen_t length = 0;
    int family() const { return storage.ss_family; }
};

template <typename T>
Address make_address(const T& specific) {
    Address result;
    std::memcpy(&result.storage, &specific, sizeof specific);
    result.length = sizeof specific;
    return result;
}

// Of a numeric host.
bool add_numeric(std::vector<Address>& addresses, const std::string& host, uint16_t port) {
    sockaddr_in v4 = {};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    sockaddr_in6 v6 = {};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
        addresses.push_back(make_address(v4));
    } else if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
        addresses.push_back(make_address(v6));
    } else {
        return false;
    }
    return true;
}

std::vector<Address> resolve(const ServerAddress& server, std::chrono::milliseconds timeout) {
    std::vector<Address> addresses;
    if (server.host.empty()) {
        sockaddr_un address = {};
        address.sun_family = AF_UNIX;
        if (server.socket_path.size() >= sizeof address.sun_path) {
            throw Error(ErrorKind::kUsage, "the path of a Unix socket has at most 107 bytes, '" +
                                               server.socket_path + "' has " +
                                               std::to_string(server.socket_path.size()));
        }
        std::memcpy(address.sun_path, server.socket_path.data(), server.socket_path.size());
        return {make_address(address)};
    }
    if (add_numeric(addresses, server.host, server.port)) return addresses;
    if (server.host == "localhost") {
        add_numeric(addresses, "127.0.0.1", server.port);
        add_numeric(addresses, "::1", server.port);
        return addresses;
    }
    const auto found = run_program({"getent", "ahosts", "--", server.host}, timeout, 64 * 1024);
    std::istringstream lines(found.output);
    for (std::string line; std::getline(lines, line) && addresses.size() < kMaxAddresses;) {
        // "ADDRESS STREAM NAME", "ADDRESS DGRAM", ...
        if (line.find("STREAM") != line.npos)
            add_numeric(addresses, line.substr(0, line.find(' ')), server.port);
    }
    if (addresses.empty()) {
        throw Error(ErrorKind::kNotFound,
                    "cannot connect to '" + server.text + "': there is no host '" + server.host + "'");
    }
    return addresses;
}

// 0, or the errno.
int connect_within(int fd, const Address& address, std::chrono::milliseconds timeout) {
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0) return 0;
    // A Unix socket whose backlog is full says EAGAIN: its server is not there to accept.
    if (errno != EINPROGRESS) return errno == EAGAIN ? ETIMEDOUT : errno;
    pollfd connected = {fd, POLLOUT, 0};
    int n;
    do {
        n = ::poll(&connected, 1, static_cast<int>(timeout.count()));
    } while (n < 0 && errno == EINTR);
    if (n == 0) return ETIMEDOUT;
    int error = 0;
    socklen_t length = sizeof error;
    if (n < 0 || ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0) return errno;
    return error;
}

uint16_t parse_port(const std::string& text) {
    constexpr int kBase = 10;
    uint16_t port = 0;
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, port, kBase);
    return error == std::errc() && stopped == end ? port : 0;
}

}  // namespace

ServerAddress ServerAddress::parse(const std::string& text) {
    ServerAddress server{.text = text};
    if (text.starts_with("unix:") && text.size() > 5) {
        server.socket_path = text.substr(5);
        return server;
    }
    const size_t colon = text.rfind(':');
    if (text.starts_with("tcp:") && colon > 4) {
        server.host = text.substr(4, colon - 4);
        server.port = parse_port(text.substr(colon + 1));
        if (server.host.size() > 2 && server.host.front() == '[' && server.host.back() == ']')
            server.host = server.host.substr(1, server.host.size() - 2);
        else if (server.host.find(':') != text.npos)
            server.port = 0;
        if (server.port != 0) return server;
    }
    throw Error(ErrorKind::kUsage, "'" + text + "' is neither unix:/PATH nor tcp:HOST:PORT");
}

Fd connect_to_server(const ServerAddress& server, std::chrono::milliseconds timeout) {
    int error = 0;
    for (const Address& address : resolve(server, timeout)) {
        Fd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        error = fd ? connect_within(fd.get(), address, timeout) : errno;
        if (error != 0) continue;
        ::fcntl(fd.get(), F_SETFL, 0);  // from here on blocking, with timeouts
        return fd;
    }
    const std::string what = "cannot connect to '" + server.text + "'";
    if (error == ECONNREFUSED || error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH) {
        throw Error::from_errno(ErrorKind::kNotFound, what + " (does a server listen there?)", error);
    }
    throw Error::from_errno(what, error, ErrorKind::kNotFound);
}

}  // namespace inspect
