// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/disk.h: a libvirt domain's disks as disks of a session.
#include <fcntl.h>
#include <unistd.h>

#include <inspect/disk.h>

#include "base/fd.h"
#include "block/libvirt.h"

namespace inspect {

namespace {

constexpr size_t kMaxXml = 4 << 20;

std::vector<DiskSpec> disk_specs(const DomainDisks& domain) {
    std::vector<DiskSpec> result;
    for (const DomainDisk& disk : domain.disks) {
        if (disk.optional && disk.location.starts_with('/') && ::access(disk.location.c_str(), F_OK) != 0)
            continue;
        DiskSpec spec;
        spec.path = disk.location;
        spec.format = disk.format;
        spec.read_only = disk.read_only;
        if (!disk.cache.empty() && disk.cache != "default") spec.cache = parse_cache_mode(disk.cache);
        result.push_back(std::move(spec));
    }
    if (result.empty())
        throw Error(ErrorKind::kNotFound, "the domain '" + domain.name + "' has no disk with an image");
    return result;
}

}  // namespace

std::vector<DiskSpec> domain_disks(const std::string& domain, const std::string& uri) {
    return disk_specs(libvirt_domain_disks(domain, uri));
}

std::vector<std::string> domain_names(const std::string& uri, bool uuids) {
    return libvirt_domains(uri, uuids);
}

std::string domain_xml(const std::string& domain, const std::string& uri) {
    return libvirt_domain_xml(domain, uri);
}

std::string domain_xml_file(const std::string& path) {
    Fd file = open_file(path, O_RDONLY);
    std::string xml(kMaxXml + 1, '\0');
    xml.resize(read_full(file.get(), std::as_writable_bytes(std::span(xml)), "cannot read the domain's XML"));
    return xml;
}

std::vector<DiskSpec> domain_xml_disks(const std::string& path, const std::string& uri) {
    DomainDisks domain = parse_domain_xml(domain_xml_file(path), "'" + path + "'");
    resolve_volumes(domain, uri);
    return disk_specs(domain);
}

}  // namespace inspect
