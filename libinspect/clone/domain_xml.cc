// SPDX-License-Identifier: LGPL-2.1-or-later
//
// clone_domain_xml(): a libvirt domain's XML (libvirt's docs/formatdomain.rst) for a clone. What is said here
// stays: what a clone must not share with its original is changed or left out, the rest is copied.
#include <array>
#include <pugixml.hpp>
#include <span>
#include <sstream>

#include <inspect/clone.h>

#include "base/new_host_file.h"
#include "base/uuid.h"

namespace inspect {

namespace {

constexpr size_t kMaxXml = 4u << 20;

// The same vendor's, with three new bytes at the end: 52:54:00 is QEMU's.
std::string new_mac(const std::string& old) {
    constexpr size_t kVendor = 9;  // "52:54:00:"
    std::array<std::byte, 3> bytes;
    draw_random(bytes);
    const bool usable = old.size() == 17 && old[2] == ':' && old[5] == ':' && old[8] == ':';
    std::string mac = usable ? old.substr(0, kVendor) : "52:54:00:";
    constexpr char kDigits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.size(); ++i) {
        if (i != 0) mac += ':';
        mac += kDigits[std::to_integer<unsigned>(bytes[i]) >> 4];
        mac += kDigits[std::to_integer<unsigned>(bytes[i]) & 15];
    }
    return mac;
}

void set_text(pugi::xml_node parent, const char* name, const std::string& text) {
    pugi::xml_node node = parent.child(name);
    if (!node) node = parent.prepend_child(name);
    node.text().set(text.c_str());
}

void set_attribute(pugi::xml_node node, const char* name, const std::string& value) {
    if (!node.attribute(name)) node.append_attribute(name);
    node.attribute(name).set_value(value.c_str());
}

// The disks that parse_domain_xml() counts.
bool is_hard_disk(const pugi::xml_node& disk) {
    const std::string device = disk.attribute("device").value();
    return (device.empty() || device == "disk" || device == "lun") && disk.child("source");
}

void put_disk(pugi::xml_node node, const ClonedDisk& disk) {
    const bool volume = disk.method == CloneMethod::kLvmSnapshot;
    if (!volume && disk.path[0] != '/')
        throw Error(ErrorKind::kUnsupported,
                    "the clone's disk '" + disk.path + "' has no absolute path, which libvirt wants");
    set_attribute(node, "type", volume ? "block" : "file");
    // Whatever else a source says (a pool, a server, a key) is about the old place.
    while (node.remove_child("source")) {
    }
    while (node.remove_child("backingStore")) {
    }
    while (node.remove_child("mirror")) {
    }
    while (node.remove_child("auth")) {
    }
    pugi::xml_node driver = node.child("driver");
    if (!driver) driver = node.prepend_child("driver");
    set_attribute(driver, "name", "qemu");
    set_attribute(driver, "type", disk.format);
    node.insert_child_after("source", driver)
        .append_attribute(volume ? "dev" : "file")
        .set_value(disk.path.c_str());
}

}  // namespace

std::string clone_domain_xml(std::string_view xml, const Clone& clone) {
    const auto wrong = [](const std::string& why) {
        return Error(ErrorKind::kUsage, "this is no XML of a libvirt domain: " + why);
    };
    if (xml.size() > kMaxXml) throw wrong("it is longer than 4 MiB");
    pugi::xml_document document;
    const pugi::xml_parse_result parsed =
        document.load_buffer(xml.data(), xml.size(), pugi::parse_default | pugi::parse_comments);
    if (!parsed) throw wrong(std::string(parsed.description()) + " at byte " + std::to_string(parsed.offset));
    pugi::xml_node domain = document.child("domain");
    if (!domain) throw wrong("there is no <domain>");

    const std::string uuid = random_uuid();
    set_text(domain, "uuid", uuid);
    set_text(domain, "name", clone.name);
    domain.remove_child("title");   // libvirt wants it to be one of a kind
    domain.remove_attribute("id");  // of a running machine
    if (pugi::xml_node generation = domain.child("genid")) generation.text().set(random_uuid().c_str());
    for (pugi::xml_node entry : domain.child("sysinfo").child("system").children("entry"))
        if (std::string_view(entry.attribute("name").value()) == "uuid") entry.text().set(uuid.c_str());
    // libvirt makes a new one of the template.
    domain.child("os").remove_child("nvram");

    pugi::xml_node devices = domain.child("devices");
    size_t next = 0;
    for (pugi::xml_node disk : devices.children("disk")) {
        if (!is_hard_disk(disk)) continue;
        if (next == clone.disks.size()) throw wrong("it has more hard disks than the clone");
        put_disk(disk, clone.disks[next++]);
    }
    if (next != clone.disks.size()) throw wrong("it has fewer hard disks than the clone");
    for (pugi::xml_node interface : devices.children("interface")) {
        if (pugi::xml_node mac = interface.child("mac"))
            set_attribute(mac, "address", new_mac(mac.attribute("address").value()));
        interface.remove_child("target");  // the name of the host's end, if it was given one
    }
    // Sockets that libvirt made for the original; it names the clone's itself.
    for (pugi::xml_node channel : devices.children("channel")) {
        pugi::xml_node source = channel.child("source");
        if (std::string_view(source.attribute("path").value()).starts_with("/var/lib/libvirt/"))
            channel.remove_child(source);
    }
    std::ostringstream text;
    document.save(text, "  ", pugi::format_indent | pugi::format_no_declaration);
    return std::move(text).str();
}

void write_clone_file(const std::string& path, std::string_view text, bool replace) {
    NewHostFile file(path);
    write_full(file.open().get(), std::as_bytes(std::span(text)), ("cannot write '" + path + "'").c_str());
    file.publish(replace);
}

}  // namespace inspect
