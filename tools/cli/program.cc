// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/program.h"

#include <unistd.h>

#include <cerrno>

#include "cli/context.h"

namespace inspect::cli {
namespace {

constexpr int kSignalBase = 128;

std::optional<size_t> read_stdin(std::span<std::byte> buffer) {
    ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (count >= 0) return static_cast<size_t>(count);
    if (errno == EINTR || errno == EAGAIN) return std::nullopt;
    // A terminal that hung up, or a descriptor that was closed or is for writing only: there is no input.
    if (errno == EIO || errno == EBADF) return 0;
    throw Error::from_errno("cannot read stdin", errno);
}

}  // namespace

RunResult run_on_standard_streams(Session& session, RunOptions options, Output& out, const Sink& also) {
    options.input = read_stdin;
    options.input_ready_fd = STDIN_FILENO;
    options.on_output = [&](std::span<const std::byte> bytes) {
        // At once: whoever reads it may answer on stdin.
        out.write(bytes);
        out.flush();
        if (also) also(bytes);
    };
    options.on_error_output = [](std::span<const std::byte> bytes) {
        write_stderr({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    };
    return session.run(options);
}

int exit_code_of(const RunResult& result) {
    return result.signal != 0 ? kSignalBase + result.signal : result.exit_status;
}

}  // namespace inspect::cli
