// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/output.h"

#include <unistd.h>

#include <cerrno>

#include <inspect/error.h>

#include "cli/signals.h"

namespace inspect::cli {
namespace {

[[noreturn]] void fail(int errnum) {
    if (errnum == EPIPE && !sigpipe_was_ignored()) throw BrokenPipe();
    throw Error::from_errno("cannot write to the standard output", errnum, ErrorKind::kDenied);
}

}  // namespace

void Output::write_through(std::string_view text) {
    while (!text.empty()) {
        ssize_t written = ::write(fd_, text.data(), text.size());
        if (written >= 0) {
            text.remove_prefix(static_cast<size_t>(written));
        } else if (errno == EINTR) {
            check_interrupted();
        } else {
            fail(errno);
        }
    }
}

void Output::write(std::string_view text) {
    if (buffer_.size() + text.size() > kBufferSize) flush();
    if (text.size() >= kBufferSize) {
        write_through(text);
        return;
    }
    if (buffer_.capacity() == 0) buffer_.reserve(kBufferSize);
    buffer_ += text;
}

void Output::write(std::span<const std::byte> bytes) {
    write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void Output::flush() {
    // Emptied first: what failed to be written once is not tried again.
    std::string pending;
    pending.swap(buffer_);
    write_through(pending);
    pending.clear();
    buffer_.swap(pending);
}

void Output::close() {
    flush();
    if (fd_ < 0) return;
    int fd = fd_;
    fd_ = -1;
    // A descriptor that never was open is fine as long as nothing was written.
    if (::close(fd) != 0 && errno != EBADF && errno != EINTR) fail(errno);
}

bool Output::is_terminal() const { return isatty(fd_) == 1; }

}  // namespace inspect::cli
