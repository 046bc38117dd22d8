// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qsd.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include <inspect/error.h>

#include "block/nbd_listen.h"
#include "block/nbd_stream.h"
#include "block/nbd_uri.h"
#include "block/qsd_location.h"

namespace inspect {

using nlohmann::json;

namespace {

constexpr char kProgram[] = "qemu-storage-daemon";
// A remote image may take its time; a local one takes some ten milliseconds.
constexpr std::chrono::seconds kStartTimeout{60};

constexpr std::array kFormats = {"raw", "qcow2",     "qcow", "qed",   "vmdk",  "vdi", "vhdx",
                                 "vpc", "parallels", "dmg",  "bochs", "cloop", "luks"};
// Formats that QEMU can't write.
constexpr std::array kReadOnlyFormats = {"dmg", "bochs", "cloop"};

// Formats that may have a backing file.
constexpr std::array kBackedFormats = {"qcow2", "qcow", "qed", "vmdk"};

// Removed with its socket as soon as we are connected: nobody else ever finds them.
class SocketDirectory {
  public:
    SocketDirectory() : path_((std::filesystem::temp_directory_path() / "insp-qsd-XXXXXX").string()) {
        if (::mkdtemp(path_.data()) == nullptr) {
            throw Error::from_errno("cannot make a directory for a socket ('" + path_ + "')", errno);
        }
    }
    ~SocketDirectory() {
        ::unlink(socket().c_str());
        ::rmdir(path_.c_str());
    }
    SocketDirectory(const SocketDirectory&) = delete;
    SocketDirectory& operator=(const SocketDirectory&) = delete;
    std::string socket() const { return path_ + "/nbd"; }

  private:
    std::string path_;
};

json cache_options(QsdCache cache) {
    return {{"direct", cache == QsdCache::kNone || cache == QsdCache::kDirectsync},
            {"no-flush", cache == QsdCache::kUnsafe}};
}

json block_node(const QsdImage& image, bool with_key) {
    json file = qsd_location(image.location);
    json node = {{"driver", image.format}, {"node-name", "disk"}};
    for (json* each : {&file, &node}) {
        (*each)["read-only"] = image.read_only;
        (*each)["cache"] = cache_options(image.cache);
        (*each)["discard"] = "unmap";
        if (image.force_share) (*each)["force-share"] = true;
    }
    node["file"] = std::move(file);
    if (!image.allow_other_files && is_among(kBackedFormats, image.format)) node["backing"] = nullptr;
    if (with_key) {
        if (image.format == "luks") {
            node["key-secret"] = "key";
        } else if (image.format == "qcow2") {
            node["encrypt"] = {{"format", "luks"}, {"key-secret", "key"}};
        } else {
            throw Error(ErrorKind::kUsage, "images of format " + image.format + " take no passphrase");
        }
    }
    return node;
}

// The daemon's monitor (QMP), for one question: what it has opened.
class Monitor {
  public:
    Monitor() {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
            throw Error::from_errno(std::string("cannot make a pair of sockets for ") + kProgram, errno);
        }
        ours_.reset(ends[0]);
        theirs_.reset(ends[1]);
        stream_ = std::make_unique<NbdStream>(ours_.get(), kProgram, kStartTimeout);
        // It reads this when it is ready.
        constexpr std::string_view kQuestion =
            R"({"execute":"qmp_capabilities"}{"execute":"query-named-block-nodes","arguments":{"flat":true}})";
        stream_->write(std::as_bytes(std::span(kQuestion)));
    }
    std::vector<std::string> arguments() const {
        return {"--chardev", "socket,id=monitor,fd=" + std::to_string(theirs_.get()), "--monitor",
                json{{"chardev", "monitor"}}.dump()};
    }
    int their_end() const { return theirs_.get(); }
    void close_their_end() { theirs_.reset(); }

    // Throws Error(kUnsupported) when the image has made the daemon open, or would have, more than itself.
    void refuse_other_files(const QsdImage& image) {
        std::string other;
        try {
            answer();  // to qmp_capabilities
            const json nodes = answer();
            if (nodes.size() > 2) other = "other files";  // the format's node and the file's
            for (const json& node : nodes) {
                const std::string backing = node.at("image").value("backing-filename", "");
                if (!backing.empty()) other = "the backing file '" + backing + "'";
            }
        } catch (const json::exception&) {
            throw Error(ErrorKind::kInternal, std::string(kProgram) + " does not say what it has opened");
        }
        if (other.empty()) return;
        throw Error(ErrorKind::kUnsupported, "'" + image.location + "' refers to " + other +
                                                 ", which may only be opened when that is allowed: give the "
                                                 "image's format (--format=" +
                                                 image.format + ") or --allow-backing");
    }

  private:
    // To the next command. The greeting, and events, are passed over.
    json answer() {
        while (true) {
            const json message = json::parse(line());
            if (message.contains("return") || message.contains("error")) return message.at("return");
        }
    }
    std::string line() {
        constexpr size_t kMaxLine = 1u << 20;
        std::string result;
        while (true) {
            const char c = static_cast<char>(stream_->take(1)[0]);
            if (c == '\n') return result;
            if (result.size() == kMaxLine)
                throw Error(ErrorKind::kInternal, std::string(kProgram) + " says too much");
            result += c;
        }
    }
    Fd ours_, theirs_;
    std::unique_ptr<NbdStream> stream_;
};

// What the daemon said when no key slot took the passphrase.
struct WrongPassphrase {};

// The daemon's complaint, without the command line that it quotes.
Error complaint(const QsdImage& image, std::string text) {
    text.resize(std::min(text.find('\n'), text.size()));
    if (const size_t quoted = text.rfind("}: "); quoted != text.npos) text = text.substr(quoted + 3);
    const auto says = [&](std::string_view part) { return text.find(part) != text.npos; };
    ErrorKind kind = ErrorKind::kCorrupt;
    std::string hint;
    if (says("No such file")) {
        kind = ErrorKind::kNotFound;
    } else if (says("Permission denied") || says("Operation not permitted")) {
        kind = ErrorKind::kDenied;
    } else if (says("key-secret") || says("password")) {
        kind = ErrorKind::kDenied;
        hint = " (the image is encrypted: its key is needed)";
    } else if (says(" lock")) {
        kind = ErrorKind::kBusy;
        hint = " (is a virtual machine running on it?)";
    } else if (says("Unknown driver") || says("Unknown protocol") || says("does not accept value") ||
               says("Invalid parameter")) {
        kind = ErrorKind::kUnsupported;
        if (qsd_is_remote(image.location)) {
            hint =
                " (QEMU's drivers for rbd, iscsi, ssh, https and nfs are in Debian's package "
                "qemu-block-extra)";
        }
    }
    return Error(kind, "cannot open '" + image.location + "' as " + image.format + " with " + kProgram +
                           ": " + (text.empty() ? "it gave no reason" : text) + hint);
}

}  // namespace

bool qsd_knows_format(std::string_view format) { return is_among(kFormats, format); }

std::vector<std::string> qsd_arguments(const QsdImage& image, int key_fd) {
    if (!qsd_knows_format(image.format)) {
        throw Error(ErrorKind::kUsage, "'" + image.format + "' is no image format");
    }
    if (!image.read_only && (qsd_is_read_only(image.location) || is_among(kReadOnlyFormats, image.format))) {
        throw Error(ErrorKind::kDenied, "'" + image.location + "' can only be read");
    }
    // Everything as JSON: in the key=value form a comma in a file's name would end it.
    std::vector<std::string> arguments = {kProgram};
    if (key_fd >= 0) {
        const std::string file = "/dev/fd/" + std::to_string(key_fd);
        arguments.insert(arguments.end(),
                         {"--object", json{{"qom-type", "secret"}, {"id", "key"}, {"file", file}}.dump()});
    }
    json exported = {{"type", "nbd"},
                     {"id", "export"},
                     {"node-name", "disk"},
                     {"name", ""},
                     {"writable", !image.read_only}};
    if (image.cache == QsdCache::kWritethrough || image.cache == QsdCache::kDirectsync)
        exported["writethrough"] = true;
    try {
        arguments.insert(arguments.end(),
                         {"--blockdev", block_node(image, key_fd >= 0).dump(), "--export", exported.dump()});
    } catch (const json::exception&) {
        throw Error(ErrorKind::kUnsupported,
                    "'" + image.location + "' is no valid UTF-8, which QEMU demands of names");
    }
    return arguments;
}

namespace {

// A file in memory, where no other user can read it.
Fd file_of(const EncryptionKey& key) {
    Fd file(::memfd_create("insp-key", MFD_CLOEXEC));
    if (!file) throw Error::from_errno("cannot make a file in memory", errno);
    write_full(file.get(), std::as_bytes(std::span(key.secret)), "hand over a passphrase");
    return file;
}

// With this key; null: none.
std::unique_ptr<NbdBridge> open_with_key(const QsdImage& image, const EncryptionKey* key) {
    Fd key_file;
    if (key != nullptr) key_file = file_of(*key);
    std::vector<std::string> arguments = qsd_arguments(image, key_file.get());
    Fd connection;
    std::unique_ptr<Subprocess> daemon;
    std::optional<Monitor> monitor;
    std::vector<int> inherited;
    if (key_file) inherited.push_back(key_file.get());
    if (!image.allow_other_files) {
        monitor.emplace();
        const auto monitoring = monitor->arguments();
        arguments.insert(arguments.end() - 2, monitoring.begin(), monitoring.end());
        inherited.push_back(monitor->their_end());
    }
    {
        // We connect before the daemon is there; it inherits the socket with our connection waiting in it.
        // When it is ready it answers, when it ends the connection does: nothing is polled for, nothing has a
        // name.
        const SocketDirectory directory;
        const Fd listening = listen_on_unix_socket(directory.socket());
        NbdUri uri;
        uri.text = uri.socket_path = directory.socket();
        connection = connect_to_nbd_server(uri, std::chrono::seconds(1));
        const json address = {{"addr", {{"type", "fd"}, {"str", std::to_string(listening.get())}}},
                              {"max-connections", 1}};
        inherited.push_back(listening.get());
        // Servers come before exports.
        arguments.insert(arguments.end() - 2, {"--nbd-server", address.dump()});
        try {
            daemon = std::make_unique<Subprocess>(
                SubprocessOptions{.arguments = arguments, .inherited = inherited, .death_signal = SIGTERM});
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kNotFound) throw;
            throw Error(ErrorKind::kNotFound, "cannot open '" + image.location + "' as " + image.format +
                                                  ": that needs the program " + kProgram +
                                                  ", which is in Debian's package qemu-system-common");
        }
    }
    if (monitor) monitor->close_their_end();
    std::unique_ptr<NbdDevice> device;
    try {
        device = std::make_unique<NbdDevice>(
            std::move(connection), "",
            NbdDeviceOptions{
                .name = image.location, .read_only = image.read_only, .handshake_timeout = kStartTimeout});
    } catch (const Error&) {
        // It hung up because it ended, and has said why.
        if (!daemon->wait(std::chrono::seconds(2))) throw;
        if (key != nullptr && daemon->errors().find("Invalid password") != std::string::npos)
            throw WrongPassphrase();
        throw complaint(image, daemon->errors());
    }
    auto bridge = std::make_unique<NbdBridge>(std::move(device), std::move(daemon));
    if (monitor) monitor->refuse_other_files(image);
    return bridge;
}

}  // namespace

std::unique_ptr<NbdBridge> open_with_qsd(const QsdImage& image) {
    if (image.keys.empty()) return open_with_key(image, nullptr);
    for (const EncryptionKey& key : image.keys) {
        try {
            return open_with_key(image, &key);
        } catch (const WrongPassphrase&) {
        }
    }
    throw Error(ErrorKind::kDenied,
                "'" + image.location + "' is encrypted, and no key that was given for it fits");
}

}  // namespace inspect
