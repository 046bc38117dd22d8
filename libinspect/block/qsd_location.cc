// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qsd_location.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include <inspect/error.h>

#include "block/nbd_uri.h"

namespace inspect {

using nlohmann::json;

namespace {

constexpr std::array kHttp = {"http", "https", "ftp", "ftps"};
constexpr std::array kOthers = {"rbd", "iscsi", "ssh", "nfs", "nbd", "nbd+unix", "nbds", "nbds+unix"};
// QEMU's others, which we would have to know to say where what is in them.
constexpr std::array kUnknown = {"gluster", "gluster+tcp", "gluster+unix", "gluster+rdma", "sheepdog",
                                 "fat",     "json",        "nvme",         "vxhs",         "tftp"};

// "ssh" of ssh://host/path; "" of a path. A path may have colons; one whose first component looks like one of
// the schemes is written as ./rbd:x.
std::string scheme_of(std::string_view location) {
    const size_t colon = location.find(':');
    if (colon == location.npos) return "";
    std::string scheme(location.substr(0, colon));
    if (scheme == "rbd" || scheme == "json" || scheme == "fat") return scheme;
    return location.substr(colon).starts_with("://") ? scheme : "";
}

Error wrong(const std::string& location, const std::string& why) {
    return Error(ErrorKind::kUsage, "'" + location + "' is not understood: " + why);
}

// SCHEME://[USER@]HOST[:PORT]/PATH[?QUERY]
struct Uri {
    std::string user, host, port, path;

    Uri(const std::string& location, bool takes_query) {
        std::string_view rest = std::string_view(location).substr(location.find("://") + 3);
        if (const size_t query = rest.find('?'); query != rest.npos) {
            if (!takes_query) throw wrong(location, "parameters (?...) are not supported");
            rest = rest.substr(0, query);
        }
        const size_t slash = rest.find('/');
        if (slash == rest.npos) throw wrong(location, "there is no path");
        path = decode(location, rest.substr(slash));
        std::string_view authority = rest.substr(0, slash);
        if (const size_t at = authority.rfind('@'); at != authority.npos) {
            const std::string_view all = authority.substr(0, at);
            if (all.find_first_of(":%") != all.npos) {
                throw Error(
                    ErrorKind::kUnsupported,
                    "a password does not belong into an image's location, where every user of the host "
                    "can see it: '" +
                        location.substr(0, location.find("://")) + "://...'");
            }
            user = all;
            authority.remove_prefix(at + 1);
        }
        size_t host_end = authority.find(':');
        if (authority.starts_with('[')) {
            const size_t end = authority.find(']');
            if (end == authority.npos) throw wrong(location, "a ']' is missing");
            host = authority.substr(1, end - 1);
            host_end = end + 1 < authority.size() ? end + 1 : authority.npos;
            if (host_end != authority.npos && authority[host_end] != ':')
                throw wrong(location, "the port is wrong");
        } else {
            host = authority.substr(0, host_end);
        }
        if (host.empty()) throw wrong(location, "there is no host");
        if (host_end == authority.npos) return;
        port = authority.substr(host_end + 1);
        unsigned number = 0;
        const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
        if (error != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535) {
            throw wrong(location, "the port is no number from 1 to 65535");
        }
    }

    static std::string decode(const std::string& location, std::string_view text) {
        std::string result;
        for (size_t i = 0; i < text.size(); ++i) {
            if (text[i] != '%') {
                result += text[i];
                continue;
            }
            unsigned value = 0;
            const std::string_view digits = text.substr(i + 1, 2);
            const auto [end, error] =
                std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
            if (error != std::errc() || digits.size() != 2 || end != digits.data() + 2 || value == 0) {
                throw wrong(location, "a '%' is not followed by two hexadecimal digits other than 00");
            }
            result += static_cast<char>(value);
            i += 2;
        }
        return result;
    }
};

json ssh(const std::string& location) {
    const Uri uri(location, false);
    json node = {{"driver", "ssh"},
                 {"path", uri.path},
                 {"server", {{"host", uri.host}, {"port", uri.port.empty() ? "22" : uri.port}}}};
    if (!uri.user.empty()) node["user"] = uri.user;
    return node;
}

// iscsi://[USER@]PORTAL/TARGET/LUN
json iscsi(const std::string& location) {
    const Uri uri(location, false);
    const size_t slash = uri.path.rfind('/');
    unsigned lun = 0;
    const char* begin = uri.path.data() + slash + 1;
    const char* end = uri.path.data() + uri.path.size();
    const auto [parsed, error] = std::from_chars(begin, end, lun);
    if (slash == 0 || error != std::errc() || parsed != end || lun > 65535) {
        throw wrong(location, "it should be iscsi://HOST[:PORT]/TARGET/LUN");
    }
    const std::string host = uri.host.find(':') == uri.host.npos ? uri.host : "[" + uri.host + "]";
    json node = {{"driver", "iscsi"},
                 {"transport", "tcp"},
                 {"portal", host + ":" + (uri.port.empty() ? "3260" : uri.port)},
                 {"target", uri.path.substr(1, slash - 1)},
                 {"lun", lun}};
    if (!uri.user.empty()) node["user"] = uri.user;
    return node;
}

json nfs(const std::string& location) {
    const Uri uri(location, false);
    if (!uri.port.empty() || !uri.user.empty()) throw wrong(location, "it should be nfs://HOST/PATH");
    return {{"driver", "nfs"}, {"path", uri.path}, {"server", {{"type", "inet"}, {"host", uri.host}}}};
}

json nbd_node(const std::string& location) {
    const NbdUri uri = NbdUri::parse(location);
    if (uri.tls) {
        throw Error(ErrorKind::kUnsupported,
                    "only raw images are read over encrypted NBD, which '" + location + "' is");
    }
    json node = {{"driver", "nbd"}, {"export", uri.export_name}};
    if (uri.host.empty()) {
        node["server"] = {{"type", "unix"}, {"path", uri.socket_path}};
    } else {
        node["server"] = {{"type", "inet"}, {"host", uri.host}, {"port", std::to_string(uri.port)}};
    }
    return node;
}

// Splits where `separator` is not escaped by a backslash; takes the backslashes away from what it returns
// last.
std::vector<std::string> split_escaped(std::string_view text, char separator) {
    std::vector<std::string> parts(1);
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 1 < text.size()) {
            parts.back() += text[++i];
        } else if (text[i] == separator) {
            parts.emplace_back();
        } else {
            parts.back() += text[i];
        }
    }
    return parts;
}

// rbd:POOL/[NAMESPACE/]IMAGE[@SNAPSHOT][:id=USER][:conf=FILE][:mon_host=HOST[:PORT][;...]]
json rbd(const std::string& location) {
    const auto parts = split_escaped(std::string_view(location).substr(4), ':');
    const std::string& name = parts[0];
    const size_t first = name.find('/'), last = name.rfind('/');
    if (first == name.npos || first == 0) throw wrong(location, "it should be rbd:POOL/IMAGE");
    json node = {{"driver", "rbd"}, {"pool", name.substr(0, first)}};
    std::string image = name.substr(last + 1);
    if (last > first) node["namespace"] = name.substr(first + 1, last - first - 1);
    if (const size_t at = image.find('@'); at != image.npos) {
        node["snapshot"] = image.substr(at + 1);
        image.resize(at);
    }
    if (image.empty()) throw wrong(location, "there is no image's name");
    node["image"] = image;
    for (size_t i = 1; i < parts.size(); ++i) {
        const size_t equals = parts[i].find('=');
        const std::string key = parts[i].substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : parts[i].substr(equals + 1);
        if (key == "id") {
            node["user"] = value;
        } else if (key == "conf") {
            node["conf"] = value;
        } else if (key == "mon_host") {
            for (size_t at = 0; at <= value.size();) {
                const size_t end = std::min(value.find(';', at), value.size());
                const std::string server = value.substr(at, end - at);
                const size_t port = server.rfind(':');
                const bool has_port =
                    port != std::string::npos && server.find(']', port) == std::string::npos;
                std::string host = server.substr(0, has_port ? port : std::string::npos);
                if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
                node["server"].push_back(
                    {{"host", host}, {"port", has_port ? server.substr(port + 1) : "6789"}});
                at = end + 1;
            }
        } else {
            throw Error(ErrorKind::kUnsupported,
                        "the rbd option '" + key +
                            "' is not supported; put it into a ceph.conf and name that by "
                            ":conf=FILE");
        }
    }
    return node;
}

json local_file(const std::string& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) < 0) throw Error::from_errno("cannot open '" + path + "'", errno);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        throw Error(ErrorKind::kUnsupported, "'" + path + "' is neither a regular file nor a block device");
    }
    // Absolute, so that nothing in it is taken for a protocol.
    return {{"driver", S_ISBLK(st.st_mode) ? "host_device" : "file"},
            {"filename", std::filesystem::absolute(path).string()}};
}

}  // namespace

bool qsd_is_remote(std::string_view location) {
    const std::string scheme = scheme_of(location);
    return is_among(kHttp, scheme) || is_among(kOthers, scheme) || is_among(kUnknown, scheme);
}

bool qsd_is_read_only(std::string_view location) { return is_among(kHttp, scheme_of(location)); }

json qsd_location(const std::string& location) {
    const std::string scheme = scheme_of(location);
    if (scheme.empty()) return local_file(location);
    if (is_among(kHttp, scheme)) return {{"driver", scheme}, {"url", location}};
    if (scheme == "rbd") return rbd(location);
    if (scheme == "iscsi") return iscsi(location);
    if (scheme == "ssh") return ssh(location);
    if (scheme == "nfs") return nfs(location);
    if (NbdUri::looks_like(location)) return nbd_node(location);
    if (is_among(kUnknown, scheme)) {
        throw Error(ErrorKind::kUnsupported,
                    "images at " + scheme + ": are not supported: '" + location + "'");
    }
    return local_file(location);
}

}  // namespace inspect
