// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The protocol's messages and the public structs, one into the other.
//
// What comes from the wire is checked here: numbers that are out of range and names that can't be names throw
// ProtocolError; texts that are for people come out printable and bounded. Labels, paths and targets stay the
// bytes that they are.
#pragma once

#include <string>
#include <vector>

#include <inspect/session.h>

#include "protocol/insp.pb.h"

namespace inspect {

Error to_error(const proto::Response::Failure& failure);
FileStat to_stat(const proto::FileStat& wire);
DirectoryEntry to_directory_entry(const proto::DirectoryEntry& wire);
FilesystemReport to_filesystem_report(const proto::FilesystemList& wire);
std::vector<OperatingSystem> to_operating_systems(const proto::InspectResult& wire);

void to_wire(const FileStat& stat, proto::FileStat& wire);

}  // namespace inspect
