// SPDX-License-Identifier: GPL-2.0-or-later
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr const Command* kCommands[] = {
    &kFilesystemsCommand, &kInspectCommand,   &kInfoCommand,      &kLsCommand,        &kCatCommand,
    &kEditCommand,        &kWriteCommand,     &kCopyOutCommand,   &kCopyInCommand,    &kMkdirCommand,
    &kRmCommand,          &kMvCommand,        &kChmodCommand,     &kChownCommand,     &kLnCommand,
    &kTouchCommand,       &kDiffCommand,      &kCustomizeCommand, &kRunCommand,       &kRescueCommand,
    &kMountCommand,       &kUmountCommand,    &kResizeCommand,    &kSparsifyCommand,  &kFormatCommand,
    &kMakeFsCommand,      &kPartitionCommand, &kFsckCommand,      &kAlignmentCommand, &kCloneCommand,
    &kSysprepCommand,     &kBackupCommand,    &kServeCommand,     &kRecoverCommand,   &kApplianceCommand,
    &kDoctorCommand,      &kHelpCommand,
};

}  // namespace

std::span<const Command* const> all_commands() { return kCommands; }

const Command* find_command(std::string_view name) {
    for (const Command* command : kCommands)
        if (command->name == name) return command;
    return nullptr;
}

}  // namespace inspect::cli
