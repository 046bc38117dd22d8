// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/nbd_uri.h"

#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include <inspect/error.h>

#include "base/connect.h"

namespace inspect {

namespace {

struct Scheme {
    std::string_view prefix;
    bool tls, unix_socket;
};
constexpr std::array kSchemes = {
    Scheme{"nbd://", false, false},
    Scheme{"nbds://", true, false},
    Scheme{"nbd+unix://", false, true},
    Scheme{"nbds+unix://", true, true},
};

const Scheme* find_scheme(std::string_view text) {
    for (const Scheme& scheme : kSchemes) {
        if (text.starts_with(scheme.prefix)) return &scheme;
    }
    return nullptr;
}

class Parser {
  public:
    explicit Parser(const std::string& text) { uri_.text = text; }

    NbdUri parse() {
        const Scheme* scheme = find_scheme(uri_.text);
        if (scheme == nullptr)
            throw wrong("it begins with none of nbd://, nbds://, nbd+unix:// and nbds+unix://");
        uri_.tls = scheme->tls;
        std::string_view rest = std::string_view(uri_.text).substr(scheme->prefix.size());
        if (rest.find('#') != rest.npos) throw wrong("it has a fragment (#...)");
        const auto [hierarchy, query] = split(rest, '?');
        auto [authority, path] = split(hierarchy, '/');
        // A user's name is for TLS, and for who does that.
        if (const size_t at = authority.rfind('@'); at != authority.npos) authority.remove_prefix(at + 1);
        uri_.export_name = decode(path);
        if (scheme->unix_socket) {
            if (!authority.empty())
                throw wrong("a Unix socket has no host; write nbd+unix:///EXPORT?socket=PATH");
        } else {
            parse_authority(authority);
        }
        parse_query(query, scheme->unix_socket);
        return std::move(uri_);
    }

  private:
    static std::pair<std::string_view, std::string_view> split(std::string_view text, char at) {
        const size_t position = text.find(at);
        if (position == text.npos) return {text, {}};
        return {text.substr(0, position), text.substr(position + 1)};
    }

    void parse_authority(std::string_view authority) {
        std::string_view port;
        if (authority.starts_with('[')) {
            const size_t end = authority.find(']');
            if (end == authority.npos) throw wrong("a ']' is missing");
            uri_.host = authority.substr(1, end - 1);
            port = authority.substr(end + 1);
            if (!port.empty() && port.front() != ':') throw wrong("there is more than a port after the ']'");
            if (!port.empty()) port.remove_prefix(1);
        } else {
            const auto parts = split(authority, ':');
            uri_.host = decode(parts.first);
            port = parts.second;
        }
        if (uri_.host.empty()) uri_.host = "localhost";
        if (port.empty()) return;
        const auto [end, error] = std::from_chars(port.begin(), port.end(), uri_.port);
        if (error != std::errc() || end != port.end() || uri_.port == 0) {
            throw wrong("the port is no number from 1 to 65535");
        }
    }

    void parse_query(std::string_view query, bool unix_socket) {
        while (!query.empty()) {
            const auto [parameter, rest] = split(query, '&');
            query = rest;
            const auto [name, value] = split(parameter, '=');
            if (name == "socket") {
                uri_.socket_path = decode(value);
            } else if (!name.starts_with("tls-") || !uri_.tls) {
                throw wrong("the parameter '" + std::string(name) + "' is unknown");
            }
        }
        if (unix_socket && uri_.socket_path.empty()) throw wrong("the parameter socket=PATH is missing");
        if (!unix_socket && !uri_.socket_path.empty()) throw wrong("socket= goes with nbd+unix://");
    }

    std::string decode(std::string_view text) const {
        std::string result;
        for (size_t i = 0; i < text.size(); ++i) {
            char c = text[i];
            if (c == '%') {
                unsigned value = 0;
                const std::string_view digits = text.substr(i + 1, 2);
                const auto [end, error] = std::from_chars(digits.begin(), digits.end(), value, 16);
                if (error != std::errc() || digits.size() != 2 || end != digits.end() || value == 0) {
                    throw wrong("a '%' is not followed by two hexadecimal digits other than 00");
                }
                c = static_cast<char>(value);
                i += 2;
            }
            result += c;
        }
        return result;
    }

    Error wrong(const std::string& why) const {
        return Error(ErrorKind::kUsage, "the NBD URI '" + uri_.text + "' is not understood: " + why);
    }

    NbdUri uri_;
};

}  // namespace

bool NbdUri::looks_like(std::string_view text) { return find_scheme(text) != nullptr; }

NbdUri NbdUri::parse(const std::string& text) { return Parser(text).parse(); }

std::string percent_encoded(std::string_view text) {
    constexpr char kHex[] = "0123456789ABCDEF";
    std::string out;
    for (unsigned char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           std::string_view("-._~/").find(static_cast<char>(c)) != std::string_view::npos;
        if (plain) {
            out += static_cast<char>(c);
        } else {
            out += {'%', kHex[c >> 4], kHex[c & 15]};
        }
    }
    return out;
}

Fd connect_to_nbd_server(const NbdUri& uri, std::chrono::milliseconds timeout) {
    return connect_to_server(
        {.text = uri.text, .host = uri.host, .port = uri.port, .socket_path = uri.socket_path}, timeout);
}

}  // namespace inspect
