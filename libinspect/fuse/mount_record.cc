// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/mount_record.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "guest/printable.h"

namespace inspect::fuse {

namespace {

constexpr size_t kMostMessage = 64 << 10;
constexpr std::array kKinds = {ErrorKind::kNotFound, ErrorKind::kUnsupported, ErrorKind::kCorrupt,
                               ErrorKind::kBusy,     ErrorKind::kDenied,      ErrorKind::kNoSpace,
                               ErrorKind::kEngine,   ErrorKind::kUsage,       ErrorKind::kCancelled,
                               ErrorKind::kInternal};

// A directory that is ours alone. Throws Error.
std::string runtime_directory() {
    const char* runtime = std::getenv("XDG_RUNTIME_DIR");
    struct stat status;
    // After su(1) it may be another user's, who couldn't use what is made there by this one.
    const bool own = runtime && *runtime == '/' && ::stat(runtime, &status) == 0 && S_ISDIR(status.st_mode) &&
                     status.st_uid == ::geteuid();
    std::string path =
        own ? std::string(runtime) + "/libinspect" : "/tmp/libinspect-" + std::to_string(::geteuid());
    if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST)
        throw Error::from_errno("cannot make " + quoted(path) + ", where mounts are recorded", errno);
    if (::lstat(path.c_str(), &status) < 0) throw Error::from_errno("cannot look at " + quoted(path), errno);
    if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0)
        throw Error(ErrorKind::kDenied,
                    quoted(path) + ", where mounts are recorded, is not a directory of this user alone");
    return path;
}

std::string record_path(const std::string& mount_point) {
    uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (unsigned char byte : mount_point) hash = (hash ^ byte) * 0x100000001b3;
    char name[32];
    std::snprintf(name, sizeof name, "/mount-%016llx", static_cast<unsigned long long>(hash));
    return runtime_directory() + name;
}

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        throw Error(ErrorKind::kUsage,
                    "the path of $XDG_RUNTIME_DIR is too long for a socket: " + quoted(path));
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

Fd make_socket() {
    Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!fd) throw Error::from_errno("cannot make a socket", errno);
    return fd;
}

// Empty when nobody listens there.
Fd connect_to(const std::string& path) {
    Fd fd = make_socket();
    sockaddr_un address = address_of(path);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    if (errno == ENOENT || errno == ECONNREFUSED) return {};
    throw Error::from_errno("cannot reach the process of the mount at " + quoted(path), errno);
}

// A client that has gone doesn't want to know.
void send_text(int socket, const std::string& text) {
    [[maybe_unused]] ssize_t sent = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

std::string take_result_file(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) return {};
    std::string text(kMostMessage, '\0');
    text.resize(read_full(fd.get(), std::as_writable_bytes(std::span(text)), "read a mount's result"));
    ::unlink(path.c_str());
    return text;
}

}  // namespace

std::string encode_result(const MountResult& result) {
    if (!result.error) return result.changed ? "changed" : "unchanged";
    std::string text = std::string(error_kind_name(result.error->kind())) + "\n" + result.error->message();
    if (text.size() > kMostMessage / 2) text.resize(kMostMessage / 2);
    return text;
}

std::optional<MountResult> decode_result(const std::string& text) {
    if (text == "changed" || text == "unchanged")
        return MountResult{.changed = text == "changed", .error = {}};
    size_t end = text.find('\n');
    if (end == text.npos) return std::nullopt;
    for (ErrorKind kind : kKinds)
        if (text.compare(0, end, error_kind_name(kind)) == 0)
            return MountResult{.error = Error(kind, text.substr(end + 1))};
    return std::nullopt;
}

std::string canonical_mount_point(const std::string& directory) {
    char resolved[PATH_MAX];
    if (::realpath(directory.c_str(), resolved)) return resolved;
    int error = errno;
    std::string trimmed = directory;
    while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
    size_t slash = trimmed.rfind('/');
    std::string parent = slash == trimmed.npos ? "." : trimmed.substr(0, slash + 1);
    std::string name = slash == trimmed.npos ? trimmed : trimmed.substr(slash + 1);
    bool dead = error == ENOTCONN || error == EIO || error == EACCES;
    if (!dead || name.empty() || name == "." || name == ".." || !::realpath(parent.c_str(), resolved))
        throw Error::from_errno("cannot find " + quoted(directory), error);
    std::string result = resolved;
    return (result == "/" ? "" : result) + "/" + name;
}

MountRecord::MountRecord(const std::string& mount_point) : path_(record_path(mount_point)) {
    if (connect_to(path_ + ".sock"))
        throw Error(ErrorKind::kBusy, quoted(mount_point) + " has a guest's tree mounted already");
    ::unlink((path_ + ".sock").c_str());
    ::unlink((path_ + ".result").c_str());
    listener_ = make_socket();
    sockaddr_un address = address_of(path_ + ".sock");
    constexpr int kBacklog = 16;
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ||
        ::listen(listener_.get(), kBacklog) < 0 || ::fcntl(listener_.get(), F_SETFL, O_NONBLOCK) < 0)
        throw Error::from_errno("cannot listen on " + quoted(path_ + ".sock"), errno);
}

MountRecord::~MountRecord() {
    if (listener_) ::unlink((path_ + ".sock").c_str());
}

std::vector<int> MountRecord::descriptors() const {
    std::vector<int> result{listener_.get()};
    for (const Client& client : clients_)
        if (!client.wish) result.push_back(client.socket.get());
    return result;
}

MountRecord::Wish MountRecord::serve() {
    for (;;) {
        Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!socket) break;
        clients_.push_back({std::move(socket)});
    }
    Wish wish = Wish::kNone;
    std::erase_if(clients_, [&](Client& client) {
        if (client.wish) return false;
        char text[16];
        ssize_t size = ::recv(client.socket.get(), text, sizeof text, MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
        std::string_view asked(text, size > 0 ? static_cast<size_t>(size) : 0);
        if (asked != "unmount" && asked != "lazy" && asked != "wait") return true;
        client.wish = asked == "unmount" ? Wish::kUnmount : asked == "lazy" ? Wish::kLazy : Wish::kNone;
        wish = std::max(wish, *client.wish);
        return false;
    });
    return wish;
}

bool MountRecord::wants_lazy() const {
    return std::ranges::any_of(clients_, [](const Client& client) { return client.wish == Wish::kLazy; });
}

void MountRecord::refuse(const std::string& why, bool lazy) {
    const std::string busy = encode_result({.error = Error(ErrorKind::kBusy, why)});
    std::erase_if(clients_, [&](const Client& client) {
        if (client.wish != Wish::kUnmount && !(lazy && client.wish == Wish::kLazy)) return false;
        send_text(client.socket.get(), busy);
        return true;
    });
}

void MountRecord::finish(const MountResult& result) {
    std::string text = encode_result(result);
    // Written before the last look at who has come, so that nobody finds neither.
    std::string file = path_ + ".result";
    if (Fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)); fd) {
        [[maybe_unused]] ssize_t written = ::write(fd.get(), text.data(), text.size());
    }
    serve();
    // Gone before anybody is told: the next mount may be right behind.
    ::unlink((path_ + ".sock").c_str());
    listener_.reset();
    for (const Client& client : clients_) send_text(client.socket.get(), text);
    clients_.clear();
}

std::optional<MountResult> ask_mount(const std::string& mount_point, const UnmountOptions& options) {
    std::string path = record_path(mount_point);
    if (Fd socket = connect_to(path + ".sock")) {
        send_text(socket.get(), options.wait_only ? "wait" : options.lazy ? "lazy" : "unmount");
        std::string text(kMostMessage, '\0');
        ssize_t size;
        do {
            size = ::recv(socket.get(), text.data(), text.size(), 0);
        } while (size < 0 && errno == EINTR);
        text.resize(size > 0 ? static_cast<size_t>(size) : 0);
        if (std::optional<MountResult> result = decode_result(text)) {
            // Here, not by who answered: who asks next must not find it.
            if (!(result->error && result->error->kind() == ErrorKind::kBusy))
                ::unlink((path + ".result").c_str());
            return result;
        }
    }
    return decode_result(take_result_file(path + ".result"));
}

}  // namespace inspect::fuse
