// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/secret.h"

#include <fcntl.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include <inspect/error.h>

#include "base/fd.h"

namespace inspect {

std::string read_secret(const std::string& path) {
    const Fd fd = open_file(path, O_RDONLY);
    std::string text(kMaxSecret, '\0');
    text.resize(read_full(fd.get(), std::as_writable_bytes(std::span(text)), "read a password"));
    text.resize(std::min(text.size(), text.find('\n')));
    if (text.ends_with('\r')) text.pop_back();
    return text;
}

std::string ask_secret(const std::string& prompt, const std::string& what) {
    const Fd terminal(::isatty(STDIN_FILENO) == 1 ? ::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY) : -1);
    if (!terminal) throw Error(ErrorKind::kUsage, "there is no terminal to ask for " + what);
    termios before{};
    const bool hidden = ::tcgetattr(terminal.get(), &before) == 0;
    termios quiet = before;
    // Ctrl-C comes as a character: who dies of it would leave a terminal that shows nothing.
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    quiet.c_cc[VEOL] = before.c_cc[VINTR];  // at once, not with the next line's end
    if (hidden) ::tcsetattr(terminal.get(), TCSAFLUSH, &quiet);
    std::string line;
    bool interrupted = false;
    ssize_t got = 0;
    try {
        write_full(terminal.get(), std::as_bytes(std::span(prompt)), "ask for a password");
        char c = 0;
        while ((got = ::read(terminal.get(), &c, 1)) == 1 && c != '\n' && line.size() < kMaxSecret) {
            if (hidden && static_cast<cc_t>(c) == before.c_cc[VINTR]) {
                interrupted = true;
                break;
            }
            line += c;
        }
    } catch (const Error&) {
        if (hidden) ::tcsetattr(terminal.get(), TCSAFLUSH, &before);
        throw;
    }
    if (hidden) ::tcsetattr(terminal.get(), TCSAFLUSH, &before);
    write_full(terminal.get(), std::as_bytes(std::span("\n", 1)), "ask for a password");
    // What it is for the rest of the program, which may have a handler.
    if (interrupted) ::raise(SIGINT);
    if (interrupted || got < 0) throw Error(ErrorKind::kCancelled, "interrupted");
    if (got == 0 && line.empty()) throw Error(ErrorKind::kUsage, "nothing was typed for " + what);
    return line;
}

}  // namespace inspect
