// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What each operation does, as a table.
#pragma once

#include <span>

#include <inspect/sysprep.h>

namespace inspect {

enum class SysprepStep {
    kRemoveFiles,       // what the pattern finds, unless it is a directory
    kRemoveTrees,       // what the pattern finds, with all below it
    kRemoveFilesBelow,  // regular files anywhere below the directory
    kExcept,            // what the pattern finds stays: it comes before those that remove
    kSet,               // the file, if it is there, stays, and has `setting` for its contents
    kEmpty,             // the file, if it is there, has no contents afterwards
    kTouch,             // the file is there afterwards
    kDropSettings,      // lines that begin with `setting` go from the files that the pattern finds
    kRemoveAccounts,    // of people, from the file, /etc/passwd, and its like, and their homes
    kBackupFiles,       // *~ and *.bak anywhere below the directory
};

struct SysprepRule {
    const char* operation;
    SysprepStep step;
    const char* pattern;
    const char* setting = "";
};

// Those of one operation stand together.
std::span<const SysprepRule> sysprep_rules();

}  // namespace inspect
