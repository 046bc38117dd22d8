// SPDX-License-Identifier: GPL-2.0-or-later
//
// SIGINT, SIGTERM and SIGHUP: end what runs, remove what is temporary, and then die of the signal, so that
// the parent sees the truth. SIGPIPE is ignored from the start, because the library writes to sockets; it
// counts again for our own end.
#pragma once

namespace inspect {
class Session;
}

namespace inspect::cli {

// Called once at the start of main(). A SIGPIPE that the parent ignored stays ignored: then a closed pipe is
// an ordinary error.
void signals_start();
bool sigpipe_was_ignored();

// While it lives, the signals interrupt the session instead of killing the process. A second signal of the
// same kind kills at once.
class SignalScope {
  public:
    SignalScope();
    ~SignalScope();
    SignalScope(const SignalScope&) = delete;
    SignalScope& operator=(const SignalScope&) = delete;

    // The session that is interrupted; null for none. Throws Error(kCancelled) when a signal has come
    // already.
    void attach(Session* session);
    // Readable once a signal has come.
    int fd() const;
};

// The signal that came while a SignalScope lived; 0 for none.
int pending_signal();
// Throws Error(kCancelled) when there is one.
void check_interrupted();
// Waits until `fd` can be read. Throws Error(kCancelled) when a signal comes first.
void wait_readable(int fd);

// Ends the process by that signal.
[[noreturn]] void die_by_signal(int signal);

}  // namespace inspect::cli
