// SPDX-License-Identifier: GPL-2.0-or-later
//
// What insp clone writes beside a clone's disks: its libvirt XML, and its seed for cloud-init.
#pragma once

#include <string>
#include <vector>

#include <inspect/clone.h>
#include <inspect/cloud_init.h>

#include "cli/command.h"

namespace inspect::cli {

// Whether --output, and --domain-output, are the directories for several clones.
bool makes_many_clones(const Arguments& arguments);

// The original's XML, and where the clones' go: --domain-output.
class CloneDomains {
  public:
    // Throws UsageError, and what reading the XML throws.
    explicit CloneDomains(const Arguments& arguments);

    // That it can be written is found out before anything is made. Throws Error.
    void check(const CloneTarget& target, const std::vector<std::string>& formats) const;
    // Where it was written; empty when none is wanted.
    std::string write(const Clone& clone) const;

  private:
    std::string path_for(const Clone& clone) const;

    std::string output_, xml_;
    bool force_, many_;
};

// The seeds of cloud-init, one for each clone: --cloud-init-iso.
class CloneSeeds {
  public:
    CloneSeeds(const Arguments& arguments, CloudInitSeed seed);

    // That one can be made is found out before anything is. Throws UsageError and Error.
    void check(const CloneTarget& target) const;
    // Where it was written; empty when none is wanted.
    std::string write(const Clone& clone, const std::string& host_name) const;

  private:
    CloudInitSeed seed_;
    bool wanted_, force_;
    mutable bool tried_ = false;
};

}  // namespace inspect::cli
