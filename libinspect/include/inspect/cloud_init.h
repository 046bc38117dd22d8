// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Seeds for cloud-init's data source NoCloud: what a guest that has cloud-init is to become at its first
// boot. A seed is up to four small files, in the guest (inspect/customize.h, the operation "cloud-init") or
// on a disk of its own, which cloud-init finds by its label: an ISO image, made here. Format: cloud-init's
// documentation, "NoCloud".
#pragma once

#include <map>
#include <string>

#include <inspect/error.h>

namespace inspect {

// By their names: "user-data", "meta-data", "vendor-data", "network-config".
using CloudInitSeed = std::map<std::string, std::string>;

// Adds the file of an argument "FILE:NAME", up to 1 MiB of it. Throws Error: kUsage for another form, a name
// that there is not or that the seed has already, and what reading the file throws.
void add_cloud_init_file(CloudInitSeed& seed, const std::string& argument);

// meta-data for a new guest: an instance-id that no other has, and its host name, if `host_name` can be one.
std::string make_cloud_init_meta_data(const std::string& host_name);

// An ISO 9660 image, with Rock Ridge and Joliet, whose volume label is CIDATA. What cloud-init wants and the
// seed doesn't have (user-data, meta-data) is added. Made by xorrisofs (of xorriso), genisoimage or mkisofs,
// whichever the host has. Throws Error; kNotFound when it has none of them.
std::string make_cloud_init_iso(CloudInitSeed seed);

}  // namespace inspect
