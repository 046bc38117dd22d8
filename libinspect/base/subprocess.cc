// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>

#include <inspect/error.h>

namespace inspect {

namespace {

constexpr size_t kMaxErrors = 64 * 1024;

// Forks always from one thread that lives as long as the process: PR_SET_PDEATHSIG means the thread that
// forked, and callers' threads come and go.
class ForkThread {
  public:
    pid_t run(const std::function<pid_t()>& fork) {
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [this] { return job_ == nullptr; });
        job_ = &fork;
        if (!started_ || owner_ != ::getpid()) {  // a forked copy of us has not got the thread
            std::thread([this] { loop(); }).detach();
            started_ = true;
            owner_ = ::getpid();
        }
        wanted_.notify_one();
        done_.wait(lock, [&] { return finished_ == &fork; });
        finished_ = nullptr;
        job_ = nullptr;
        idle_.notify_one();
        return result_;
    }

  private:
    [[noreturn]] void loop() {
        sigset_t all;  // signals are the caller's threads' business
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
        std::unique_lock lock(mutex_);
        while (true) {
            wanted_.wait(lock, [this] { return job_ != nullptr && finished_ == nullptr; });
            result_ = (*job_)();
            finished_ = job_;
            done_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable idle_, wanted_, done_;
    const std::function<pid_t()>* job_ = nullptr;
    const std::function<pid_t()>* finished_ = nullptr;
    pid_t result_ = -1;
    bool started_ = false;
    pid_t owner_ = -1;
};

ForkThread& fork_thread() {
    static auto* thread = new ForkThread;  // never destroyed: its thread never ends
    return *thread;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> result;
    for (std::string& string : strings) result.push_back(string.data());
    result.push_back(nullptr);
    return result;
}

// Our environment with what is added in it, and messages in English: they are quoted in ours.
std::vector<std::string> make_environment(const SubprocessOptions& options) {
    std::vector<std::string> result(options.environment);
    result.push_back("LC_ALL=C.UTF-8");
    if (!options.inherit_environment) {
        result.push_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        return result;
    }
    const size_t fixed = result.size();
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const std::string_view name = text.substr(0, std::min(text.find('='), text.size()));
        const bool replaced = std::any_of(
            result.begin(), result.begin() + static_cast<std::ptrdiff_t>(fixed),
            [&](const std::string& other) { return other.starts_with(name) && other[name.size()] == '='; });
        if (!replaced) result.emplace_back(text);
    }
    return result;
}

// The same, and not one of the three that the child gets anew. (Who started us may have closed those.)
Fd above_standard(Fd fd) { return fd && fd.get() < 3 ? fd.dup() : std::move(fd); }

// What the child needs, prepared: after the fork it may only call what is safe in a signal handler.
struct Prepared {
    std::string program;
    std::vector<std::string> arguments, environment;
    std::vector<char*> argv, envp;
    std::vector<int> keep;  // sorted
    int null, output, errors;
    int failure;  // a pipe: the errno of a failed exec
    pid_t parent;
    int death_signal;
};

[[noreturn]] void child(const Prepared& p) {
    // A parent that is gone already sends no signal.
    ::prctl(PR_SET_PDEATHSIG, p.death_signal);
    if (::getppid() != p.parent) ::_exit(127);
    ::setpgid(0, 0);  // Ctrl-C in the terminal is for us to handle
    struct sigaction standard = {};
    standard.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &standard, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);

    bool ok = ::dup2(p.null, 0) >= 0 && ::dup2(p.output, 1) >= 0 && ::dup2(p.errors, 2) >= 0;
    // Of all others, only what it shall have.
    unsigned from = 3;
    for (const int fd : p.keep) {
        ok = ok && ::fcntl(fd, F_SETFD, 0) >= 0;
        if (static_cast<unsigned>(fd) > from) {
            ::syscall(SYS_close_range, from, static_cast<unsigned>(fd) - 1, 4 /* CLOSE_RANGE_CLOEXEC */);
        }
        from = static_cast<unsigned>(fd) + 1;
    }
    ::syscall(SYS_close_range, from, ~0u, 4);
    if (ok) ::execve(p.program.c_str(), p.argv.data(), p.envp.data());
    const int error = errno;
    [[maybe_unused]] ssize_t written = ::write(p.failure, &error, sizeof error);
    ::_exit(127);
}

std::string read_errors(int fd) {
    std::string text(kMaxErrors, '\0');
    const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    text.resize(std::min(text.find('\0'), text.size()));
    for (char& c : text) {
        if (c != '\n' && (c < 0x20 || c == 0x7f)) c = '?';
    }
    while (text.ends_with('\n')) text.pop_back();
    return text;
}

}  // namespace

std::string find_helper_program(const std::string& name, const char* variable) {
    if (const char* named = ::secure_getenv(variable); named != nullptr && *named != '\0') return named;
    char self[PATH_MAX];
    const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
    std::string prefix(self, length > 0 ? static_cast<size_t>(length) : 0);
    for (int i = 0; i < 2; ++i) prefix.resize(prefix.rfind('/') == prefix.npos ? 0 : prefix.rfind('/'));
    for (const std::string& directory : {prefix + "/libexec/libinspect/", std::string(INSP_LIBEXECDIR "/")})
        if (::access((directory + name).c_str(), X_OK) == 0) return directory + name;
    return "";
}

std::string find_program(const std::string& name) {
    if (name.find('/') != name.npos) return ::access(name.c_str(), X_OK) == 0 ? name : "";
    const char* path = std::getenv("PATH");
    std::string_view left = path != nullptr ? path : "/usr/bin:/bin";
    while (true) {
        const size_t end = std::min(left.find(':'), left.size());
        if (end > 0) {  // the current directory is no place for programs
            std::string candidate = std::string(left.substr(0, end)) + "/" + name;
            if (::access(candidate.c_str(), X_OK) == 0) return candidate;
        }
        if (end == left.size()) return "";
        left.remove_prefix(end + 1);
    }
}

Subprocess::Subprocess(const SubprocessOptions& options) {
    const std::string& name = options.arguments.at(0);
    Prepared prepared;
    prepared.program = find_program(name);
    if (prepared.program.empty())
        throw Error(ErrorKind::kNotFound, "the program '" + name + "' is not installed");
    prepared.arguments = options.arguments;
    prepared.environment = make_environment(options);
    prepared.argv = pointers(prepared.arguments);
    prepared.envp = pointers(prepared.environment);

    const std::string what = "cannot start '" + prepared.program + "'";
    // A file of a fixed size, so that the program can't fill our memory by complaining.
    errors_ = above_standard(Fd(::memfd_create("insp-stderr", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
    if (!errors_ || ::ftruncate(errors_.get(), kMaxErrors) < 0 ||
        ::fcntl(errors_.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0) {
        throw Error::from_errno(what, errno);
    }
    const Fd null = above_standard(open_file("/dev/null", O_RDWR));
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) throw Error::from_errno(what, errno);
    const Fd failed(ends[0]);
    Fd failure = above_standard(Fd(ends[1]));
    prepared.null = null.get();
    prepared.output = options.standard_output >= 0 ? options.standard_output : null.get();
    prepared.errors = errors_.get();
    prepared.failure = failure.get();
    prepared.keep = options.inherited;
    std::ranges::sort(prepared.keep);
    prepared.parent = ::getpid();
    prepared.death_signal = options.death_signal;

    int error = 0;
    pid_ = fork_thread().run([&] {
        const pid_t pid = ::fork();
        if (pid == 0) child(prepared);
        error = errno;
        return pid;
    });
    if (pid_ < 0) throw Error::from_errno(what, error);
    failure.reset();
    pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    if (!pidfd_) {
        error = errno;
        end(std::chrono::milliseconds(0));
        throw Error::from_errno(what, error);
    }
    if (read_full(failed.get(), std::as_writable_bytes(std::span(&error, 1)), what.c_str()) == sizeof error) {
        wait(std::chrono::milliseconds(1000));
        throw Error::from_errno(what, error);
    }
}

Subprocess::~Subprocess() {
    if (pid_ > 0) end(std::chrono::milliseconds(0));
}

std::optional<int> Subprocess::wait(std::chrono::milliseconds timeout) {
    if (status_) return status_;
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (true) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        pollfd ended = {pidfd_.get(), POLLIN, 0};
        const int n = ::poll(&ended, 1, std::max<int>(0, static_cast<int>(left.count())));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return std::nullopt;
        int status = 0;
        ::waitpid(pid_, &status, 0);
        return status_ = status;
    }
}

int Subprocess::end(std::chrono::milliseconds patience) {
    if (status_) return *status_;
    if (patience.count() > 0) {
        ::kill(pid_, SIGTERM);
        if (auto status = wait(patience)) return *status;
    }
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    status_ = status;
    return status;
}

std::string Subprocess::errors() const { return read_errors(errors_.get()); }

std::string Subprocess::describe(int status) {
    if (WIFSIGNALED(status)) return "was killed by signal " + std::to_string(WTERMSIG(status));
    return "ended with status " + std::to_string(WEXITSTATUS(status));
}

ProgramResult run_program(SubprocessOptions options, std::chrono::milliseconds timeout, size_t max_output) {
    const std::string name = options.arguments.at(0);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) throw Error::from_errno("cannot run '" + name + "'", errno);
    const Fd ours(ends[0]);
    Fd theirs = above_standard(Fd(ends[1]));
    options.standard_output = theirs.get();
    Subprocess process(options);
    theirs.reset();
    ProgramResult result;
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    const auto left = [&] {
        return std::max(std::chrono::milliseconds(0), std::chrono::ceil<std::chrono::milliseconds>(
                                                          deadline - std::chrono::steady_clock::now()));
    };
    const Error too_slow(ErrorKind::kInternal,
                         "'" + name + "' has not ended after " + std::to_string(timeout.count()) + " ms");
    while (true) {
        pollfd readable = {ours.get(), POLLIN, 0};
        const int n = ::poll(&readable, 1, static_cast<int>(left().count()));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) throw too_slow;
        char buffer[16 * 1024];
        const ssize_t got = ::read(ours.get(), buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        result.output.append(buffer, static_cast<size_t>(got));
        if (result.output.size() > max_output) {
            throw Error(ErrorKind::kInternal,
                        "'" + name + "' wrote more than " + std::to_string(max_output) + " bytes");
        }
    }
    const auto status = process.wait(left());
    if (!status) throw too_slow;
    result.status = *status;
    result.errors = process.errors();
    return result;
}

ProgramResult run_program(std::vector<std::string> arguments, std::chrono::milliseconds timeout,
                          size_t max_output) {
    return run_program(SubprocessOptions{.arguments = std::move(arguments)}, timeout, max_output);
}

}  // namespace inspect
