// SPDX-License-Identifier: LGPL-2.1-or-later
//
// pugixml keeps to what XML needs here: it expands no entities of a DTD and fetches nothing.
#include "block/domain_xml.h"

#include <algorithm>
#include <array>
#include <pugixml.hpp>

#include <inspect/error.h>

namespace inspect {

namespace {

constexpr size_t kMaxXml = 4u << 20;
constexpr std::array<std::string_view, 5> kCaches = {"none", "writeback", "writethrough", "directsync",
                                                     "unsafe"};

std::string attribute(const pugi::xml_node& node, const char* name) { return node.attribute(name).value(); }

// Bytes that mean something in a URI's path or host, as %XX.
std::string percent_encode(std::string_view text, std::string_view also_plain) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    std::string result;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           std::string_view("-._~").find(c) != std::string_view::npos ||
                           also_plain.find(c) != std::string_view::npos;
        if (plain) {
            result += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            result += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
        }
    }
    return result;
}

// What rbd: takes for a separator is escaped by a backslash.
std::string rbd_escape(std::string_view text) {
    std::string result;
    for (const char c : text) {
        if (c == ':' || c == '\\') result += '\\';
        result += c;
    }
    return result;
}

class DiskReader {
  public:
    DiskReader(const pugi::xml_node& disk, const std::string& origin)
        : disk_(disk), source_(disk.child("source")), origin_(origin) {
        result_.target = attribute(disk.child("target"), "dev");
    }

    // False when the drive has nothing in it.
    bool read(DomainDisk& result) {
        const pugi::xml_node driver = disk_.child("driver");
        if (driver.attribute("type")) result_.format = attribute(driver, "type");
        result_.cache = attribute(driver, "cache");
        if (result_.cache == "default") result_.cache.clear();
        if (!result_.cache.empty() && std::ranges::find(kCaches, result_.cache) == kCaches.end()) {
            throw unsupported("its cache mode '" + result_.cache + "' is unknown");
        }
        result_.read_only = static_cast<bool>(disk_.child("readonly"));
        result_.shareable = static_cast<bool>(disk_.child("shareable"));
        result_.serial = disk_.child("serial").text().get();
        result_.optional = attribute(source_, "startupPolicy") == "optional";
        if (!source_) return false;
        if (!read_source(attribute(disk_, "type"))) return false;
        if (disk_.child("encryption") || source_.child("encryption")) {
            throw unsupported("it is encrypted, with a key that libvirt keeps");
        }
        if (source_.child("slices")) throw unsupported("it is a part (<slices>) of a file");
        result = std::move(result_);
        return true;
    }

  private:
    bool read_source(const std::string& type) {
        if (type == "file" || type.empty()) {
            result_.location = attribute(source_, "file");
        } else if (type == "block") {
            result_.location = attribute(source_, "dev");
        } else if (type == "volume") {
            result_.pool = attribute(source_, "pool");
            result_.volume = attribute(source_, "volume");
            return !result_.pool.empty() && !result_.volume.empty();
        } else if (type == "network") {
            result_.location = network(attribute(source_, "protocol"), attribute(source_, "name"));
        } else {
            throw unsupported("disks of type '" + type + "' can't be opened");
        }
        // What is no absolute path would be taken for one of somewhere else, or for a protocol.
        if ((type == "file" || type == "block" || type.empty()) && !result_.location.empty() &&
            result_.location.front() != '/') {
            throw unsupported("its path '" + result_.location + "' is not absolute");
        }
        return !result_.location.empty();
    }

    std::string network(const std::string& protocol, const std::string& name) const {
        if (protocol == "rbd") return rbd(name);
        const std::string path = percent_encode(name, "/:@");
        const std::string slash = path.starts_with('/') ? "" : "/";
        if (protocol == "nbd") return nbd(path);
        if (protocol == "iscsi") {
            const size_t lun = path.rfind('/');
            return "iscsi://" + user() + host() + slash + path + (lun == path.npos || lun == 0 ? "/0" : "");
        }
        if (protocol == "ssh") return "ssh://" + user() + host() + slash + path;
        if (protocol == "nfs") return "nfs://" + host() + slash + path;
        if (protocol == "http" || protocol == "https" || protocol == "ftp" || protocol == "ftps") {
            const std::string query = attribute(source_, "query");
            return protocol + "://" + host() + slash + path + (query.empty() ? "" : "?" + query);
        }
        throw unsupported("the protocol '" + protocol + "' is not supported");
    }

    std::string rbd(const std::string& name) const {
        std::string result = "rbd:" + rbd_escape(name);
        if (const auto snapshot = source_.child("snapshot"))
            result += "@" + rbd_escape(attribute(snapshot, "name"));
        if (const std::string id = auth_user(); !id.empty()) result += ":id=" + rbd_escape(id);
        if (const auto config = source_.child("config"))
            result += ":conf=" + rbd_escape(attribute(config, "file"));
        std::string hosts;
        for (const pugi::xml_node& host : source_.children("host")) {
            const std::string host_name = attribute(host, "name"), port = attribute(host, "port");
            if (!hosts.empty()) hosts += ";";
            hosts += host_name.find(':') == host_name.npos ? host_name : "[" + host_name + "]";
            if (!port.empty()) hosts += ":" + port;
        }
        if (!hosts.empty()) result += ":mon_host=" + rbd_escape(hosts);
        return result;
    }

    std::string nbd(const std::string& export_name) const {
        const pugi::xml_node server = source_.child("host");
        const std::string scheme = attribute(source_, "tls") == "yes" ? "nbds" : "nbd";
        const std::string transport = attribute(server, "transport");
        const std::string path = export_name.starts_with('/') ? "%2F" + export_name.substr(1) : export_name;
        if (transport == "unix") {
            return scheme + "+unix:///" + path +
                   "?socket=" + percent_encode(attribute(server, "socket"), "/");
        }
        if (!transport.empty() && transport != "tcp")
            throw unsupported("NBD over '" + transport + "' is not supported");
        return scheme + "://" + host() + "/" + path;
    }

    std::string host() const {
        const pugi::xml_node server = source_.child("host");
        if (server.next_sibling("host")) throw unsupported("it has several servers");
        std::string result = attribute(server, "name");
        if (result.empty()) throw unsupported("it names no server");
        result = result.find(':') == result.npos ? percent_encode(result, "") : "[" + result + "]";
        const std::string port = attribute(server, "port");
        return port.empty() ? result : result + ":" + port;
    }
    std::string auth_user() const {
        const pugi::xml_node auth = source_.child("auth") ? source_.child("auth") : disk_.child("auth");
        return attribute(auth, "username");
    }
    std::string user() const {
        std::string name = attribute(source_.child("identity"), "username");
        if (name.empty()) name = attribute(source_.child("identity"), "user");
        if (name.empty()) name = auth_user();
        return name.empty() ? "" : percent_encode(name, "") + "@";
    }

    Error unsupported(const std::string& why) const {
        return Error(ErrorKind::kUnsupported,
                     "the disk " + result_.target + " of " + origin_ + " can't be opened: " + why);
    }

    const pugi::xml_node disk_;
    const pugi::xml_node source_;
    const std::string& origin_;
    DomainDisk result_;
};

}  // namespace

DomainDisks parse_domain_xml(std::string_view xml, const std::string& origin) {
    const auto wrong = [&origin](const std::string& why) {
        return Error(ErrorKind::kUsage, origin + " is no XML of a libvirt domain: " + why);
    };
    if (xml.size() > kMaxXml) throw wrong("it is longer than 4 MiB");
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(xml.data(), xml.size());
    if (!parsed) throw wrong(std::string(parsed.description()) + " at byte " + std::to_string(parsed.offset));
    pugi::xml_node domain = document.child("domain");
    // 'virsh snapshot-dumpxml' and 'virsh save-image-dumpxml' wrap it.
    if (!domain) domain = document.child("domainsnapshot").child("domain");
    if (!domain) throw wrong("there is no <domain>");
    DomainDisks result;
    result.name = domain.child("name").text().get();
    for (const pugi::xml_node& node : domain.child("devices").children("disk")) {
        const std::string device = attribute(node, "device");
        if (!device.empty() && device != "disk" && device != "lun") continue;
        DomainDisk disk;
        if (DiskReader(node, origin).read(disk)) result.disks.push_back(std::move(disk));
    }
    return result;
}

}  // namespace inspect
