// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/json_name.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include <inspect/error.h>

#include "block/image.h"
#include "block/nbd_uri.h"

namespace inspect {

using nlohmann::json;

namespace {

constexpr std::string_view kPrefix = "json:";

// QEMU's options that make no difference to what is read. Those with a dot at their end stand for all that
// begin like that.
constexpr std::array kHarmless = {
    "read-only",
    "auto-read-only",
    "force-share",
    "discard",
    "detect-zeroes",
    "node-name",
    "cache.",
    "aio",
    "locking",
    "drop-cache",
    "lazy-refcounts",
    "pass-discard-request",
    "pass-discard-snapshot",
    "pass-discard-other",
    "overlap-check",
    "cache-size",
    "l2-cache-size",
    "l2-cache-entry-size",
    "refcount-cache-size",
    "cache-clean-interval",
};

bool is_harmless(std::string_view option) {
    return std::any_of(kHarmless.begin(), kHarmless.end(), [&](std::string_view known) {
        return known.ends_with('.') ? option.starts_with(known) : option == known;
    });
}

// As far as it can be shown in a message.
std::string shown(std::string_view text) {
    std::string result(text.substr(0, 100));
    for (char& c : result)
        if (c < 0x20 || c > 0x7e) c = '?';
    return result;
}

// The options by their full names: {"file": {"driver": "file"}} and {"file.driver": "file"} mean the same.
class Options {
  public:
    explicit Options(const json& all) { flatten("", all); }

    bool has(const std::string& option) const { return values_.contains(option); }
    bool has_group(const std::string& prefix) const {
        const auto next = values_.lower_bound(prefix);
        return next != values_.end() && next->first.starts_with(prefix);
    }
    // Takes an option out; "" when it isn't there.
    std::string take(const std::string& option) {
        const auto found = values_.find(option);
        if (found == values_.end()) return "";
        std::string value = std::move(found->second);
        values_.erase(found);
        return value;
    }
    // What nobody has taken must make no difference.
    void require_harmless(const std::string& prefix) const {
        for (const auto& [option, value] : values_) {
            const bool below = option.starts_with(prefix);
            if (!is_harmless(below ? std::string_view(option).substr(prefix.size()) : option))
                throw Error(ErrorKind::kUnsupported,
                            "a 'json:' name with the option '" + shown(option) + "'");
        }
    }

  private:
    void flatten(const std::string& prefix, const json& object) {
        for (const auto& [key, value] : object.items()) {
            const std::string option = prefix + key;
            if (value.is_object()) {
                flatten(option + ".", value);
            } else if (value.is_string()) {
                values_[option] = value.get<std::string>();
            } else {
                values_[option] = value.dump();
            }
        }
    }
    std::map<std::string, std::string> values_;
};

// Servers are given as {"type": "unix", "path": ...}, {"type": "inet", "host": ..., "port": ...}, or, as
// before QEMU 2.9, without "server".
std::string nbd_uri(Options& options, const std::string& prefix) {
    const std::string server = options.has_group(prefix + "server.") ? prefix + "server." : prefix;
    const std::string path = options.take(server + "path"), host = options.take(server + "host");
    const std::string port = options.take(server + "port");
    const std::string exported = percent_encoded(options.take(prefix + "export"));
    options.take(server + "type");
    if (!path.empty()) return "nbd+unix:///" + exported + "?socket=" + percent_encoded(path);
    if (host.empty()) throw Error(ErrorKind::kCorrupt, "a 'json:' name of an NBD server that isn't named");
    const bool ipv6 = host.find(':') != host.npos;
    return "nbd://" + (ipv6 ? "[" + host + "]" : host) + (port.empty() ? "" : ":" + port) + "/" + exported;
}

// What the options of a protocol's driver, all beginning with `prefix`, come to as a name.
std::string location(Options& options, const std::string& prefix, const std::string& driver) {
    if (driver == "nbd") return nbd_uri(options, prefix);
    for (const char* scheme : {"http", "https", "ftp", "ftps"})
        if (driver == scheme) return options.take(prefix + "url");
    const std::string name = options.take(prefix + "filename");
    if (driver.empty()) return name;  // as it would be without json:
    if (driver != "file" && driver != "host_device")
        throw Error(ErrorKind::kUnsupported, "a 'json:' name with the driver '" + shown(driver) + "'");
    // A path, whatever it looks like.
    return name.empty() || name[0] == '/' ? name : "./" + name;
}

bool is_format(const std::string& driver) {
    try {
        parse_image_format(driver);
    } catch (const Error&) {
        return false;
    }
    return true;
}

}  // namespace

bool is_json_name(std::string_view name) { return name.starts_with(kPrefix); }

JsonImageName parse_json_name(std::string_view name) {
    const json parsed = json::parse(name.substr(kPrefix.size()), nullptr, false);
    if (!parsed.is_object())
        throw Error(ErrorKind::kCorrupt, "a 'json:' name that is no JSON object: '" + shown(name) + "'");
    Options options(parsed);
    JsonImageName result;
    std::string driver = options.take("driver"), prefix;
    if (options.has_group("file.")) {
        if (!driver.empty() && !is_format(driver))
            throw Error(ErrorKind::kUnsupported, "a 'json:' name with the driver '" + shown(driver) + "'");
        result.format = std::move(driver);
        prefix = "file.";
        driver = options.take("file.driver");
    }
    result.name = location(options, prefix, driver);
    options.require_harmless(prefix);
    if (result.name.empty())
        throw Error(ErrorKind::kCorrupt, "a 'json:' name that names no file: '" + shown(name) + "'");
    return result;
}

}  // namespace inspect
