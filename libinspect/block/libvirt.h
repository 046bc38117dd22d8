// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What we ask libvirt: a domain's XML and where a volume is. By virsh(1), so that nothing of libvirt's is
// needed where nobody uses it.
#pragma once

#include <string>
#include <vector>

#include "block/domain_xml.h"

namespace inspect {

// The disks of the domain (a name, a UUID or the number of a running one) of the connection `uri` (empty:
// libvirt's default), with volumes of storage pools resolved to paths. Throws Error: kNotFound (no virsh: the
// message names the package; no such domain, no libvirt there), else as parse_domain_xml() does.
DomainDisks libvirt_domain_disks(const std::string& domain, const std::string& uri);

// The domain's XML, as it will be started the next time. Throws Error as above.
std::string libvirt_domain_xml(const std::string& domain, const std::string& uri);

// The names (or UUIDs) of all domains, running or not. Throws Error as above.
std::vector<std::string> libvirt_domains(const std::string& uri, bool uuids);

// Fills in the location of disks that are volumes of a storage pool. Throws Error as above.
void resolve_volumes(DomainDisks& disks, const std::string& uri);

}  // namespace inspect
