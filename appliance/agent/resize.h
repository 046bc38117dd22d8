// SPDX-License-Identifier: GPL-2.0-or-later
//
// Resizing, as the host has planned it: the agent says what a disk looks like, and does the plan's steps,
// each with the field's own tool for it. docs/resize.md says why the plan is made on the host and not here.
#pragma once

#include <functional>
#include <string>

#include "connection.h"
#include "disks.h"
#include "mounts.h"
#include "programs.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

struct ResizeContext {
    Connection& connection;
    Disks& disks;
    Mounts& mounts;
};

// Throws Failure.
void survey_disk(const ResizeContext& context, const proto::SurveyDisk& request, proto::DiskSurvey& survey);
void resize_step(const ResizeContext& context, const proto::ResizeStep& step);

// For both. Throws Failure("cannot WHAT: resize2fs exited with 1: ...") unless the program succeeded.
void require(const ProgramResult& result, const std::string& what);
// `work` is given the path at which the volume is mounted meanwhile, with these options. `with_journal`: see
// MountRequest.
void with_mounted(Mounts& mounts, Volume& volume, bool read_only,
                  const std::function<void(const std::string& path)>& work, const std::string& options = {},
                  bool with_journal = false);

}  // namespace inspect::agent
