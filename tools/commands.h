// SPDX-License-Identifier: GPL-2.0-or-later
//
// The subcommands: each is a file of its own, with its table of options and its function.
#pragma once

#include "cli/command.h"

namespace inspect::cli {

extern const Command kFilesystemsCommand;
extern const Command kInspectCommand;
extern const Command kInfoCommand;
extern const Command kLsCommand;
extern const Command kCatCommand;
extern const Command kEditCommand;
extern const Command kWriteCommand;
extern const Command kCopyOutCommand;
extern const Command kCopyInCommand;
extern const Command kMkdirCommand;
extern const Command kRmCommand;
extern const Command kMvCommand;
extern const Command kChmodCommand;
extern const Command kChownCommand;
extern const Command kLnCommand;
extern const Command kTouchCommand;
extern const Command kRunCommand;
extern const Command kMountCommand;
extern const Command kUmountCommand;
extern const Command kResizeCommand;
extern const Command kSparsifyCommand;
extern const Command kRescueCommand;
extern const Command kPartitionCommand;
extern const Command kFormatCommand;
extern const Command kMakeFsCommand;
extern const Command kFsckCommand;
extern const Command kAlignmentCommand;
extern const Command kServeCommand;
extern const Command kRecoverCommand;
extern const Command kCloneCommand;
extern const Command kSysprepCommand;
extern const Command kBackupCommand;
extern const Command kApplianceCommand;
extern const Command kCustomizeCommand;
extern const Command kDiffCommand;
extern const Command kDoctorCommand;
extern const Command kHelpCommand;

// In the order of 'insp --help'.
std::span<const Command* const> all_commands();
// Null when there is no such command.
const Command* find_command(std::string_view name);

}  // namespace inspect::cli
