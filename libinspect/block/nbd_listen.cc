// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_listen.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <inspect/error.h>

namespace inspect {

namespace {

constexpr int kBacklog = 16;

Fd make_socket(int family) {
    Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) throw Error::from_errno("cannot make a socket", errno);
    return fd;
}

template <typename Address>
const sockaddr* generic(const Address& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

}  // namespace

Fd listen_on_unix_socket(const std::string& path) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        throw Error(ErrorKind::kUsage,
                    "the path of a Unix socket has 1 to 107 bytes, which '" + path + "' has not");
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    const std::string what = "cannot listen on the Unix socket '" + path + "'";
    Fd fd = make_socket(AF_UNIX);
    if (::bind(fd.get(), generic(address), sizeof address) < 0) {
        if (errno != EADDRINUSE) throw Error::from_errno(what, errno);
        // What refuses a connection is a socket that nobody listens on, or no socket at all.
        struct stat st;
        Fd probe = make_socket(AF_UNIX);
        if (::lstat(path.c_str(), &st) < 0 || !S_ISSOCK(st.st_mode) ||
            ::connect(probe.get(), generic(address), sizeof address) == 0 || errno != ECONNREFUSED) {
            throw Error(ErrorKind::kBusy, what + ": it is in use");
        }
        if (::unlink(path.c_str()) < 0 || ::bind(fd.get(), generic(address), sizeof address) < 0) {
            throw Error::from_errno(what, errno);
        }
    }
    if (::listen(fd.get(), kBacklog) < 0) throw Error::from_errno(what, errno);
    return fd;
}

Fd listen_on_loopback(uint16_t port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::string what = "cannot listen on port " + std::to_string(port) + " of 127.0.0.1";
    Fd fd = make_socket(AF_INET);
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd.get(), generic(address), sizeof address) < 0 || ::listen(fd.get(), kBacklog) < 0) {
        throw errno == EADDRINUSE ? Error(ErrorKind::kBusy, what + ": it is in use")
                                  : Error::from_errno(what, errno);
    }
    return fd;
}

uint16_t local_port(int socket) {
    sockaddr_in address = {};
    socklen_t length = sizeof address;
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) < 0 ||
        address.sin_family != AF_INET) {
        throw Error::from_errno("cannot tell the port of a socket", errno);
    }
    return ntohs(address.sin_port);
}

}  // namespace inspect
