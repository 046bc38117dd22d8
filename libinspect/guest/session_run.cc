// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Programs in the appliance: Session::run.
#include <optional>
#include <utility>

#include "guest/printable.h"
#include "guest/session_impl.h"
#include "protocol/forwarding.h"

namespace inspect {

namespace {

constexpr size_t kInputBuffer = 64 << 10;
constexpr int kMaxExitStatus = 255;
constexpr int kMaxSignal = 64;

proto::TerminalSize to_wire(const TerminalSize& size) {
    proto::TerminalSize wire;
    wire.set_rows(size.rows);
    wire.set_columns(size.columns);
    return wire;
}

void require_text(const std::string& text, const char* what) {
    if (text.find('\0') != text.npos) throw Error(ErrorKind::kUsage, quoted(text) + " can't be " + what);
}

proto::RunProgram to_wire(const RunOptions& options) {
    if (options.arguments.empty() || options.arguments[0].empty())
        throw Error(ErrorKind::kUsage, "there is no program to run");
    proto::RunProgram run;
    for (const std::string& argument : options.arguments) {
        require_text(argument, "an argument of a program");
        run.add_arguments(argument);
    }
    for (const std::string& variable : options.environment) {
        require_text(variable, "an environment variable");
        if (variable.find('=') == 0 || variable.find('=') == variable.npos)
            throw Error(ErrorKind::kUsage,
                        quoted(variable) + " is no environment variable: write NAME=value");
        run.add_environment(variable);
    }
    require_text(options.directory, "a directory");
    run.set_directory(options.directory);
    run.set_chroot(options.chroot);
    run.set_bare_disks(options.bare_disks);
    run.set_input(static_cast<bool>(options.input));
    if (options.service_port != 0 && (options.input || options.terminal || !options.connect_service))
        throw Error(ErrorKind::kUsage, "a program with a service has no input");
    run.set_service_port(options.service_port);
    return run;
}

RunResult to_result(const proto::RunResult& wire) {
    if (wire.exit_status() > kMaxExitStatus || wire.signal() > kMaxSignal)
        throw ProtocolError("an exit status that there is not");
    return {.exit_status = static_cast<int>(wire.exit_status()),
            .signal = static_cast<int>(wire.signal()),
            .not_started = printable(wire.not_started())};
}

}  // namespace

RunResult Session::run(const RunOptions& options) {
    proto::Request request;
    *request.mutable_run_program() = to_wire(options);
    TerminalSize size;
    if (options.terminal) {
        size = options.terminal();
        *request.mutable_run_program()->mutable_terminal() = to_wire(size);
    }

    std::optional<protocol::Forwarding> forwarding;
    if (options.service_port != 0) forwarding.emplace([&] { return Fd(options.connect_service()); });

    Connection::Handlers handlers;
    handlers.on_data = [&](std::span<const std::byte> bytes) {
        if (options.on_output) options.on_output(bytes);
    };
    handlers.on_item = [&](const proto::Item& item) {
        if (item.has_forwarded() && forwarding) {
            if (!forwarding->receive(item.forwarded())) throw ProtocolError("a connection that can't be");
            return;
        }
        if (!item.has_error_output()) throw ProtocolError("an item that is no output of a program");
        if (options.on_error_output) options.on_error_output(std::as_bytes(std::span(item.error_output())));
    };
    // True as long as the program may read more.
    auto send_input = [&](Connection::Upload& out, std::vector<std::byte>& buffer) {
        std::optional<size_t> count = options.input(buffer);
        if (!count) return true;
        if (*count > buffer.size())
            throw Error(ErrorKind::kUsage, "an input gave more bytes than there was room for");
        return *count > 0 && out.data(std::span(buffer).first(*count));
    };
    if (options.input) {
        handlers.upload = [&](Connection::Upload& out) {
            std::vector<std::byte> buffer(kInputBuffer);
            const int fd = options.input_ready_fd;
            while (fd < 0 ? !out.ended() : out.wait(fd)) {
                if (options.terminal && size != options.terminal()) {
                    size = options.terminal();
                    proto::Item item;
                    *item.mutable_terminal_size() = to_wire(size);
                    if (!out.item(item)) return;
                }
                if (!send_input(out, buffer)) return;
            }
        };
    }
    if (forwarding) {
        handlers.upload = [&](Connection::Upload& out) {
            const auto send = [&](const proto::Forwarded& piece) {
                proto::Item item;
                *item.mutable_forwarded() = piece;
                return out.item(item);
            };
            while (out.wait(forwarding->ready_fd())) forwarding->work(send);
        };
    }
    const bool in_tree = options.chroot;
    proto::Response answer = in_tree ? impl_->call_in_tree(std::move(request), handlers)
                                     : impl_->call(std::move(request), handlers);
    if (!answer.has_run()) throw ProtocolError("an answer without a program's exit status");
    return to_result(answer.run());
}

}  // namespace inspect
