// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp rescue: a shell in the appliance, with the disks attached.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "cli/escape_keys.h"
#include "cli/guest.h"
#include "cli/program.h"
#include "cli/terminal.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kRescueOwnOptions[] = {
    {'i', "inspector", Takes::kNothing, "", "mount the operating system on /sysroot"},
    {'e', "escape", Takes::kValue, "KEY", "the escape key: like '^]', which is the default, or 'none'"},
    {0, "log", Takes::kValue, "FILE", "write all that the terminal shows to this file", "", "<file>"},
    {0, "chroot", Takes::kNothing, "", "a shell of the guest, in the guest's tree"},
};

constexpr char kHelp[] =
    "\r\n^] ?  this help\r\n"
    "^] q  end the shell; changes are kept (also: x)\r\n"
    "^] d  end the shell and discard all changes\r\n"
    "^] z  suspend insp\r\n"
    "^] ^] the key itself\r\n";

// Thrown through the running program: the user wants its end.
struct Ended {
    bool keep_changes;
};

class Log {
  public:
    explicit Log(const std::optional<std::string>& path) {
        if (!path) return;
        fd_ = ::open(path->c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd_ < 0) throw Error::from_errno("cannot write '" + *path + "'", errno, ErrorKind::kDenied);
        output_.emplace(fd_);
    }
    ~Log() {
        if (fd_ >= 0) ::close(fd_);
    }
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    void write(std::span<const std::byte> bytes) {
        if (!output_) return;
        output_->write(bytes);
        output_->flush();
    }

  private:
    int fd_ = -1;
    std::optional<Output> output_;
};

RunOptions shell_options(const Arguments& args) {
    RunOptions options;
    options.chroot = args.has("chroot");
    options.arguments = options.chroot ? std::vector<std::string>{"/bin/sh", "-i"}
                                       : std::vector<std::string>{"/bin/bash", "--norc", "--noprofile", "-i"};
    const char* terminal = std::getenv("TERM");
    options.environment = {"PS1=><rescue> ", std::string("TERM=") + (terminal ? terminal : "dumb")};
    return options;
}

// The shell with the user's terminal. Throws Ended.
RunResult run_in_terminal(Session& session, RunOptions options, EscapeKeys keys, Log& log, Output& out) {
    RawTerminal terminal;
    options.terminal = [&] { return terminal.size(); };
    options.input_ready_fd = terminal.ready_fd();
    options.input = [&](std::span<std::byte> buffer) -> std::optional<size_t> {
        std::optional<size_t> count = terminal.read(buffer);
        if (!count || *count == 0) return count;
        EscapeAction action;
        size_t kept = keys.filter(buffer.first(*count), action);
        switch (action) {
            case EscapeAction::kNone:
                break;
            case EscapeAction::kHelp:
                write_stderr(kHelp);
                break;
            case EscapeAction::kQuit:
                throw Ended{true};
            case EscapeAction::kDiscard:
                throw Ended{false};
            case EscapeAction::kSuspend:
                terminal.suspend();
                break;
        }
        if (kept == 0) return std::nullopt;
        return kept;
    };
    options.on_output = [&](std::span<const std::byte> bytes) {
        out.write(bytes);
        out.flush();
        log.write(bytes);
    };
    return session.run(options);
}

// The shell in a terminal of its own that is fed from a file or pipe.
RunResult run_script(Session& session, RunOptions options, Log& log, Output& out) {
    options.terminal = [] { return TerminalSize(); };
    return run_on_standard_streams(session, std::move(options), out,
                                   [&](std::span<const std::byte> bytes) { log.write(bytes); });
}

void announce(const Context& context, bool writable, bool mounted) {
    if (context.quiet()) return;
    std::string text = mounted ? "The guest is mounted on /sysroot. " : "";
    text +=
        writable
            ? "What you change is put into the images when the shell ends; '^] d' ends it and discards all."
            : "Read-only: what you change is forgotten when the shell ends.";
    write_stderr(text + "\n");
}

int run_rescue(Context& context) {
    const Arguments& args = context.args;
    const bool writable = !args.has("ro");
    if (!writable && args.has("rw")) throw UsageError("--ro and --rw can't be used together");
    EscapeKeys keys = EscapeKeys::parse(args.value("escape").value_or("^]"));
    Guest guest(context, writable ? Access::kChange : Access::kRead);
    const bool mounted = args.has("inspector") || args.has("mount") || args.has("root") || args.has("chroot");
    if (mounted) guest.mount();
    Log log(args.value("log"));
    guest.call("ping").ping();  // until it is up, ^C is for us
    announce(context, writable, mounted);
    try {
        Session& session = guest.call("run");
        RunResult result = ::isatty(STDIN_FILENO)
                               ? run_in_terminal(session, shell_options(args), keys, log, context.out)
                               : run_script(session, shell_options(args), log, context.out);
        if (!result.not_started.empty()) throw Error(ErrorKind::kNotFound, result.not_started);
    } catch (const Ended& ended) {
        if (!ended.keep_changes && writable) {
            if (!context.quiet()) write_stderr("\nThe changes are discarded.\n");
            return kExitSuccess;
        }
        write_stderr("\n");
    }
    if (!writable) return kExitSuccess;
    const bool changed = guest.commit();
    if (!context.quiet())
        write_stderr(changed ? "The changes are in the images.\n" : "Nothing changed in the images.\n");
    return kExitSuccess;
}

}  // namespace

constexpr Command kRescueCommand = {
    .name = "rescue",
    .summary = "open a shell in the appliance, with the disks attached",
    .operands = "",
    .description =
        "Opens a shell in the appliance, which has the tools for file systems, partitions and\n"
        "volumes, and no network. The disks are /dev/sda... What you change is put into the images\n"
        "when the shell ends, all of it; with --ro it is forgotten.",
    .examples =
        "insp rescue -a disk.img -i\n"
        "insp rescue -a disk.img --ro --log session.txt",
    .options = kRescueOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .max_operands = 0,
    .run = run_rescue,
};

}  // namespace inspect::cli
