// SPDX-License-Identifier: GPL-2.0-or-later
//
// A command that shows a directory and stays until it is unmounted: in the background, once the directory is
// there. What insp mount and insp backup mount have in common.
#pragma once

#include <optional>
#include <string>

#include <inspect/host_mount.h>

#include "cli/context.h"

namespace inspect::cli {

// The process that stays: its parent waits until the tree is mounted, or for its failure.
class Background {
  public:
    // In the child it returns; the parent ends in here, with the child's exit code.
    Background();
    // The parent may end; from here on nobody reads what is printed.
    void detach();

  private:
    int ready_ = -1;
};

// Goes to the background, unless --foreground is given, and has the process's number in --pid-file while the
// tree is there. Made before anything is opened.
class MountProcess {
  public:
    explicit MountProcess(const Arguments& arguments);
    ~MountProcess();
    MountProcess(const MountProcess&) = delete;
    MountProcess& operator=(const MountProcess&) = delete;

    // For HostMountOptions::on_mounted.
    void mounted();

  private:
    std::string pid_file_;  // absolute; empty: none
    bool pid_file_written_ = false;
    std::optional<Background> background_;
};

// The directory and -o of the command line.
HostMountOptions host_mount_options(const Arguments& arguments, const std::string& directory);

}  // namespace inspect::cli
