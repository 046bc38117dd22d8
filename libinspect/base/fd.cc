// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/fd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include <inspect/error.h>

namespace inspect {

void Fd::reset(int fd) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
}

Fd Fd::dup() const { return dup_fd(fd_); }

Fd dup_fd(int fd) {
    int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) throw Error::from_errno("duplicate a file descriptor", errno);
    return Fd(copy);
}

Fd open_file(const std::string& path, int flags, mode_t mode) {
    int fd;
    do {
        fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        int saved = errno;
        const char* purpose = (flags & O_ACCMODE) == O_RDONLY ? "for reading"
                              : (flags & O_CREAT)             ? "to create it"
                                                              : "for writing";
        throw Error::from_errno("cannot open '" + path + "' " + purpose, saved);
    }
    return Fd(fd);
}

namespace {

// Runs `step(done)` until all `size` bytes are through or it returns 0.
template <typename Step>
size_t transfer(size_t size, const char* what, Step step) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = step(done);
        if (n < 0) {
            if (errno == EINTR) continue;
            throw Error::from_errno(what, errno);
        }
        if (n == 0) break;
        done += static_cast<size_t>(n);
    }
    return done;
}

}  // namespace

size_t read_full(int fd, std::span<std::byte> out, const char* what) {
    return transfer(out.size(), what,
                    [&](size_t done) { return ::read(fd, out.data() + done, out.size() - done); });
}

size_t pread_full(int fd, std::span<std::byte> out, uint64_t offset, const char* what) {
    return transfer(out.size(), what, [&](size_t done) {
        return ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    });
}

void write_full(int fd, std::span<const std::byte> in, const char* what) {
    transfer(in.size(), what, [&](size_t done) { return ::write(fd, in.data() + done, in.size() - done); });
}

void pwrite_full(int fd, std::span<const std::byte> in, uint64_t offset, const char* what) {
    transfer(in.size(), what, [&](size_t done) {
        return ::pwrite(fd, in.data() + done, in.size() - done, static_cast<off_t>(offset + done));
    });
}

std::pair<Fd, Fd> make_socket_pair(int type) {
    int ends[2];
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0)
        throw Error::from_errno(ErrorKind::kEngine, "cannot make a pair of sockets", errno);
    return {Fd(ends[0]), Fd(ends[1])};
}

}  // namespace inspect
