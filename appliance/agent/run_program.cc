// SPDX-License-Identifier: GPL-2.0-or-later
//
// RunProgram: a program's three streams, or its terminal, between it and the host; and connections to a
// service there.
#include "run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <optional>

#include "base/fd.h"
#include "child.h"
#include "failure.h"
#include "service.h"

namespace inspect::agent {

namespace {

constexpr size_t kChunk = 64 << 10;
constexpr int kLookEveryMs = 1000;           // for signs of life to the host
constexpr size_t kTerminalHolds = 16 << 10;  // more than the kernel keeps of what was written to one
constexpr uint32_t kNotFound = 127;
constexpr uint32_t kNotRunnable = 126;
constexpr char kEndOfInput = 4;  // ^D

// One end of each stream is ours, the other the program's.
struct Streams {
    Fd input;  // to write to
    Fd output;
    Fd errors;  // empty with a terminal
    bool terminal = false;

    struct Theirs {
        Fd input;
        Fd output;
        Fd errors;
    };
    Theirs theirs = {};
};

winsize to_winsize(const proto::TerminalSize& size) {
    winsize result{};
    result.ws_row = static_cast<unsigned short>(std::min<uint32_t>(size.rows(), USHRT_MAX));
    result.ws_col = static_cast<unsigned short>(std::min<uint32_t>(size.columns(), USHRT_MAX));
    return result;
}

Streams open_terminal(const proto::TerminalSize& size) {
    Streams streams;
    streams.terminal = true;
    streams.output = Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!streams.output || ::grantpt(streams.output.get()) < 0 || ::unlockpt(streams.output.get()) < 0)
        fail_errno("cannot open", "a terminal");
    winsize window = to_winsize(size);
    ::ioctl(streams.output.get(), TIOCSWINSZ, &window);
    streams.input = streams.output.dup();
    char name[64];
    if (::ptsname_r(streams.output.get(), name, sizeof name) != 0) fail_errno("cannot open", "a terminal");
    streams.theirs.input = Fd(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!streams.theirs.input) fail_errno("cannot open", name);
    streams.theirs.output = streams.theirs.input.dup();
    streams.theirs.errors = streams.theirs.input.dup();
    return streams;
}

Streams open_pipes(bool with_input) {
    Streams streams;
    auto connect = [](Fd& reads, Fd& writes) {
        Pipe pipe = make_pipe();
        reads = std::move(pipe.read);
        writes = std::move(pipe.write);
    };
    connect(streams.output, streams.theirs.output);
    connect(streams.errors, streams.theirs.errors);
    if (with_input) {
        connect(streams.theirs.input, streams.input);
    } else {
        streams.theirs.input = Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        if (!streams.theirs.input) fail_errno("cannot open", "/dev/null");
    }
    return streams;
}

// What the host sends. What is for stdin is on its way to a program that may not read it, or not now.
class Input {
  public:
    Input(Connection& connection, Fd pipe, bool terminal, Service* service)
        : connection_(connection), pipe_(std::move(pipe)), terminal_(terminal), service_(service) {
        if (pipe_) ::fcntl(pipe_.get(), F_SETFL, O_NONBLOCK);
    }

    // The descriptor to poll for writing; -1: there is nothing to write.
    int wanted_fd() const { return waiting_.empty() ? -1 : pipe_.get(); }

    // Passes on what has arrived, as far as there is room for it.
    void pass_on() {
        for (;;) {
            while (waiting_.empty() && connection_.upload_waiting()) take(connection_.receive());
            if (waiting_.empty()) {
                if (ended_) pipe_.reset();
                return;
            }
            ssize_t n = ::write(pipe_.get(), waiting_.data(), waiting_.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0 && errno == EAGAIN) return;
            if (n < 0) {  // nobody will read it: the rest is dropped as it comes
                pipe_.reset();
                n = static_cast<ssize_t>(waiting_.size());
            }
            waiting_.erase(0, static_cast<size_t>(n));
        }
    }

  private:
    void take(Connection::Upload upload) {
        switch (upload.type) {
            case protocol::FrameType::kData:
                if (pipe_) waiting_ = std::move(upload.payload);
                return;
            case protocol::FrameType::kEnd:
                ended_ = true;
                // A terminal's end of input is a key; closing it would hang up.
                if (terminal_ && pipe_) {
                    waiting_ = kEndOfInput;
                    ended_ = false;
                }
                return;
            default:
                take_item(upload.payload);
        }
    }

    void take_item(const std::string& payload) {
        proto::Item item;
        const bool parsed = item.ParseFromString(payload);
        if (parsed && item.has_forwarded() && service_ && service_->receive(item.forwarded())) return;
        if (!parsed || !item.has_terminal_size() || !terminal_)
            throw Failure(proto::USAGE, "an item that has no place here", EINVAL);
        if (!pipe_) return;
        winsize window = to_winsize(item.terminal_size());
        ::ioctl(pipe_.get(), TIOCSWINSZ, &window);
    }

    Connection& connection_;
    Fd pipe_;
    bool terminal_;
    Service* service_;
    bool ended_ = false;
    std::string waiting_;
};

// Each reads once, at most `most` bytes, and sends them. How many there were; none at the end.
std::optional<size_t> forward_output(Connection& connection, int from, size_t most = kChunk) {
    std::span<std::byte> room = connection.data_room(std::min(most, kChunk));
    const ssize_t n = ::read(from, room.data(), room.size());
    const bool ended = n == 0 || (n < 0 && errno != EAGAIN);
    const size_t count = n > 0 ? static_cast<size_t>(n) : 0;
    connection.send_data(count);
    if (ended) return std::nullopt;
    return count;
}

std::optional<size_t> forward_errors(Connection& connection, int from, std::string& buffer,
                                     size_t most = kChunk) {
    const ssize_t n = ::read(from, buffer.data(), std::min(most, buffer.size()));
    if (n <= 0) return std::nullopt;
    proto::Item item;
    item.set_error_output(buffer.data(), static_cast<size_t>(n));
    connection.send_item(item);
    return static_cast<size_t>(n);
}

// How much can be read there now.
size_t readable_now(const Fd& from) {
    pollfd wait{from.get(), POLLIN, 0};
    int bytes = 0;
    if (::poll(&wait, 1, 0) != 1 || ::ioctl(from.get(), FIONREAD, &bytes) < 0) return 0;
    return static_cast<size_t>(std::max(bytes, 0));
}

// What an ended program has written is all there. What it has left behind may go on writing for ever.
void forward_rest(Connection& connection, const Streams& streams, std::string& buffer) {
    // A terminal has more than it tells: what isn't in its buffer yet.
    size_t output = streams.terminal ? kTerminalHolds : readable_now(streams.output);
    while (output > 0 && readable_now(streams.output) > 0)
        output -= forward_output(connection, streams.output.get(), output).value_or(output);
    size_t errors = readable_now(streams.errors);
    while (errors > 0)
        errors -= forward_errors(connection, streams.errors.get(), buffer, errors).value_or(errors);
}

// Kills and reaps the program if it is still there.
struct Reaper {
    pid_t pid;
    ~Reaper() {
        if (pid <= 0) return;
        ::kill(-pid, SIGKILL);  // it leads a session and a process group
        ::kill(pid, SIGKILL);
        wait();
    }
    int wait() {
        int status = 0;
        while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        pid = 0;
        return status;
    }
};

// Until the program has ended and what it wrote is read: not until its output is closed, which may be open in
// what it left behind.
int attend(Connection& connection, pid_t pid, Streams& streams, Service* service) {
    Reaper reaper{pid};
    Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process) fail_errno("cannot watch", "the program");
    Input input(connection, std::move(streams.input), streams.terminal, service);
    std::string buffer(kChunk, '\0');
    for (bool exited = false; !exited;) {
        input.pass_on();
        if (service) service->work(connection);
        connection.flush();
        pollfd wait[] = {{streams.output.get(), POLLIN, 0},
                         {streams.errors.get(), POLLIN, 0},
                         {process.get(), POLLIN, 0},
                         {connection.input_fd(), POLLIN, 0},
                         {input.wanted_fd(), POLLOUT, 0},
                         {service ? service->ready_fd() : -1, POLLIN, 0},
                         {service ? service->listener_fd() : -1, POLLIN, 0}};
        int ready = ::poll(wait, std::size(wait), kLookEveryMs);
        if (ready < 0 && errno != EINTR) fail_errno("cannot wait for", "the program");
        if (ready < 0) continue;
        if (wait[3].revents) connection.hear();
        if (connection.cancelled()) throw Cancelled();
        connection.check_cancelled();
        if (wait[0].revents && !forward_output(connection, streams.output.get())) streams.output.reset();
        if (wait[1].revents && !forward_errors(connection, streams.errors.get(), buffer))
            streams.errors.reset();
        if (wait[2].revents) exited = true;
    }
    forward_rest(connection, streams, buffer);
    return reaper.wait();
}

void require_text(const std::string& text) {
    if (text.find('\0') != text.npos)
        throw Failure(proto::USAGE, "an argument of the program has a zero byte in it", EINVAL);
}

}  // namespace

void run_program(const Context& context, const proto::RunProgram& request, Program program) {
    if (request.arguments().empty() || request.arguments(0).empty())
        throw Failure(proto::USAGE, "there is no program to run", EINVAL);
    for (const std::string& argument : request.arguments()) {
        require_text(argument);
        program.arguments.push_back(argument);
    }
    // The last of a name counts, as for env(1).
    auto set_variable = [&](const std::string& variable) {
        require_text(variable);
        std::string name = variable.substr(0, variable.find('=')) + "=";
        std::erase_if(program.environment, [&](const std::string& other) { return other.starts_with(name); });
        program.environment.push_back(variable);
    };
    for (char** variable = environ; *variable; ++variable) set_variable(*variable);
    // In the guest's tree /tmp is the appliance's: what a script leaves at home would be gone.
    if (request.chroot()) set_variable("HOME=/root");
    for (const std::string& variable : request.environment()) set_variable(variable);
    require_text(request.directory());
    program.directory = request.directory().empty() ? "/" : request.directory();
    program.chroot = request.chroot();

    std::optional<Service> service;
    if (request.service_port() != 0) {
        if (request.input() || request.has_terminal())
            throw Failure(proto::USAGE, "a program with a service has no input", EINVAL);
        service.emplace(request.service_port());
    }
    Streams streams =
        request.has_terminal() ? open_terminal(request.terminal()) : open_pipes(request.input());
    program.terminal = streams.terminal;
    program.input = streams.theirs.input.get();
    program.output = streams.theirs.output.get();
    program.errors = streams.theirs.errors.get();
    StartedProgram started = start_program(program);
    streams.theirs = {};
    proto::RunResult& result = *context.response.mutable_run();
    if (started.pid < 0) {
        std::string what = std::string(started.failed_step);
        if (what == "run") what += " " + program.arguments[0];
        if (what == "change to the directory") what += " " + program.directory;
        result.set_not_started("cannot " + what + ": " + errno_text(started.errnum));
        result.set_exit_status(started.errnum == ENOENT ? kNotFound : kNotRunnable);
        return;
    }
    int status = attend(context.connection, started.pid, streams, service ? &*service : nullptr);
    if (WIFSIGNALED(status)) {
        result.set_signal(static_cast<uint32_t>(WTERMSIG(status)));
    } else {
        result.set_exit_status(static_cast<uint32_t>(WEXITSTATUS(status)));
    }
}

}  // namespace inspect::agent
