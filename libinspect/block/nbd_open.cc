// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_open.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>

#include <inspect/error.h>

#include "block/nbd_uri.h"

namespace inspect {

namespace {

constexpr std::chrono::seconds kConnectTimeout{30};

// insp-nbd: $INSP_NBD, else ../libexec/libinspect/ beside the running program's directory, else the
// installation's.
std::string find_insp_nbd() {
    if (const char* named = ::secure_getenv("INSP_NBD"); named != nullptr && *named != '\0') return named;
    char self[PATH_MAX];
    const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
    std::string prefix(self, length > 0 ? static_cast<size_t>(length) : 0);
    for (int i = 0; i < 2; ++i) prefix.resize(prefix.rfind('/') == prefix.npos ? 0 : prefix.rfind('/'));
    for (const std::string& place :
         {prefix + "/libexec/libinspect/insp-nbd", std::string(INSP_LIBEXECDIR "/insp-nbd")}) {
        if (::access(place.c_str(), X_OK) == 0) return place;
    }
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
