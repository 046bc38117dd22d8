// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Ownership of a file descriptor, and the loops that make read and write whole.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace inspect {

// Owns one file descriptor and closes it. Movable, not copyable; -1 is "none". Not thread-safe.
class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    ~Fd() { reset(); }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int release() noexcept { return std::exchange(fd_, -1); }
    void reset(int fd = -1) noexcept;

    // A second descriptor of the same open file, close-on-exec. Throws Error.
    Fd dup() const;

  private:
    int fd_ = -1;
};

// A second descriptor of the open file of `fd`, which stays the caller's; close-on-exec. Throws Error.
Fd dup_fd(int fd);

// open(2) with O_CLOEXEC. Throws Error that names the path and what it was opened for ("open X for reading").
Fd open_file(const std::string& path, int flags, mode_t mode = 0600);

// All of these retry EINTR and short transfers. The ones that return a count return less than asked only at
// the end of the file; the others throw Error (the message starts with `what`).
size_t read_full(int fd, std::span<std::byte> out, const char* what);
size_t pread_full(int fd, std::span<std::byte> out, uint64_t offset, const char* what);
void write_full(int fd, std::span<const std::byte> in, const char* what);
void pwrite_full(int fd, std::span<const std::byte> in, uint64_t offset, const char* what);

// Two connected Unix sockets of this type (SOCK_STREAM...), close-on-exec. Throws Error(kEngine): they are
// for a process that is about to be started.
std::pair<Fd, Fd> make_socket_pair(int type);

}  // namespace inspect
