// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_open.h"

#include <sys/socket.h>

#include <cerrno>

#include <inspect/error.h>

#include "block/nbd_uri.h"

namespace inspect {

namespace {

constexpr std::chrono::seconds kConnectTimeout{30};

std::string find_insp_nbd() {
    const std::string program = find_helper_program("insp-nbd", "INSP_NBD");
    if (!program.empty()) return program;
    throw Error(
        ErrorKind::kNotFound,
        "encrypted NBD needs libinspect's program insp-nbd, which is not installed; it is built where "
        "libnbd-dev is");
}

std::unique_ptr<NbdBridge> open_with_tls(const NbdUri& uri, NbdDeviceOptions options) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        throw Error::from_errno("cannot make a pair of sockets for '" + uri.text + "'", errno);
    }
    Fd ours(ends[0]);
    Fd theirs(ends[1]);
    if (theirs.get() < 3) theirs = theirs.dup();
    std::vector<std::string> line = {find_insp_nbd(), "--uri=" + uri.text,
                                     "--socket=" + std::to_string(theirs.get())};
    if (options.read_only) line.emplace_back("--read-only");
    auto program = std::make_unique<Subprocess>(SubprocessOptions{
        .arguments = std::move(line), .inherited = {theirs.get()}, .death_signal = SIGTERM});
    theirs.reset();  // so that its end is the connection's
    try {
        return std::make_unique<NbdBridge>(
            std::make_unique<NbdDevice>(std::move(ours), "", std::move(options)), std::move(program));
    } catch (const Error&) {
        if (!program || !program->wait(std::chrono::seconds(2)) || program->errors().empty()) throw;
        throw Error(ErrorKind::kNotFound, "cannot open '" + uri.text + "': " + program->errors());
    }
}

}  // namespace

std::unique_ptr<NbdBridge> open_nbd(const std::string& text, bool read_only) {
    const NbdUri uri = NbdUri::parse(text);
    NbdDeviceOptions options{.name = text, .read_only = read_only};
    if (uri.tls) return open_with_tls(uri, std::move(options));
    return std::make_unique<NbdBridge>(std::make_unique<NbdDevice>(
        connect_to_nbd_server(uri, kConnectTimeout), uri.export_name, std::move(options)));
}

}  // namespace inspect
