// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/editor.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <inspect/error.h>

#include "cli/signals.h"

extern char** environ;

namespace inspect::cli {
namespace {

// Restores a signal's disposition.
class IgnoredSignal {
  public:
    explicit IgnoredSignal(int signal) : signal_(signal) {
        struct sigaction ignore = {};
        ignore.sa_handler = SIG_IGN;
        sigaction(signal, &ignore, &saved_);
    }
    ~IgnoredSignal() { sigaction(signal_, &saved_, nullptr); }
    IgnoredSignal(const IgnoredSignal&) = delete;
    IgnoredSignal& operator=(const IgnoredSignal&) = delete;

  private:
    int signal_;
    struct sigaction saved_ = {};
};

pid_t spawn(const std::string& command, const std::string& file) {
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t defaults;
    sigemptyset(&defaults);
    for (int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE}) sigaddset(&defaults, signal);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    // "$EDITOR" may have arguments; the file's name is never parsed by the shell.
    std::string script = command + " \"$@\"";
    const char* arguments[] = {"sh", "-c", script.c_str(), command.c_str(), file.c_str(), nullptr};
    pid_t child = -1;
    int error = posix_spawn(&child, "/bin/sh", nullptr, &attributes, const_cast<char**>(arguments), environ);
    posix_spawnattr_destroy(&attributes);
    if (error != 0)
        throw Error::from_errno("cannot run the editor '" + command + "'", error, ErrorKind::kInternal);
    return child;
}

}  // namespace

std::string editor_command() {
    for (const char* name : {"VISUAL", "EDITOR"}) {
        const char* value = getenv(name);
        if (value != nullptr && *value != 0) return value;
    }
    return "vi";
}

void run_editor(const std::string& command, const std::string& file) {
    int status = 0;
    {
        IgnoredSignal interrupt(SIGINT);
        IgnoredSignal quit(SIGQUIT);
        pid_t child = spawn(command, file);
        while (waitpid(child, &status, 0) < 0) {
            if (errno != EINTR)
                throw Error::from_errno("cannot wait for the editor", errno, ErrorKind::kInternal);
            if (pending_signal() != 0) kill(child, pending_signal());
        }
    }
    check_interrupted();
    if (WIFSIGNALED(status))
        throw Error(ErrorKind::kCancelled, "the editor '" + command + "' was killed by signal " +
                                               std::to_string(WTERMSIG(status)) + "; nothing was written");
    if (WEXITSTATUS(status) != 0)
        throw Error(ErrorKind::kCancelled, "the editor '" + command + "' failed with exit code " +
                                               std::to_string(WEXITSTATUS(status)) + "; nothing was written");
}

bool same_contents(const std::string& a, const std::string& b) {
    struct Close {
        void operator()(FILE* file) const { fclose(file); }
    };
    std::unique_ptr<FILE, Close> files[2];
    for (int i = 0; i < 2; ++i) {
        const std::string& path = i == 0 ? a : b;
        files[i].reset(fopen(path.c_str(), "re"));
        if (!files[i]) throw Error::from_errno("cannot read '" + path + "' after the edit", errno);
    }
    std::vector<char> buffers[2] = {std::vector<char>(64 * 1024), std::vector<char>(64 * 1024)};
    for (;;) {
        size_t got[2];
        for (int i = 0; i < 2; ++i) {
            got[i] = fread(buffers[i].data(), 1, buffers[i].size(), files[i].get());
            if (ferror(files[i].get()))
                throw Error::from_errno("cannot read '" + (i == 0 ? a : b) + "' after the edit", errno);
        }
        if (got[0] != got[1] || memcmp(buffers[0].data(), buffers[1].data(), got[0]) != 0) return false;
        if (got[0] == 0) return true;
    }
}

}  // namespace inspect::cli
