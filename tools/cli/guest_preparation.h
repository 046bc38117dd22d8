// SPDX-License-Identifier: GPL-2.0-or-later
//
// Making a guest another one: what `insp sysprep` does to a guest, and `insp clone` to each clone.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <inspect/sysprep.h>

#include "cli/context.h"
#include "cli/customize_options.h"

namespace inspect::cli {

struct PreparationWishes {
    bool new_ids = false;          // all identifiers
    bool new_group_names = false;  // volume groups' names
    SysprepOptions sysprep = {};   // without operations: none
    // After them; null: nothing. It is what the operation "customize" does.
    CustomizeWork* customize = nullptr;
    // When all is done but the commit; may throw to end it.
    std::function<void()> before_commit = {};
    bool any() const { return new_ids || new_group_names || in_tree(); }
    bool in_tree() const { return !sysprep.operations.empty() || customize != nullptr; }
    // What of that is identifiers.
    bool changes_ids() const {
        return new_ids || new_group_names || !ids_of_operations(sysprep.operations).empty();
    }
};

// What --operations (or --enable, or neither) chooses, and the options of operations. Throws UsageError.
SysprepOptions sysprep_options(const Arguments& args);
bool is_chosen(const SysprepOptions& options, std::string_view operation);
// Throws UsageError when there are options of customize and these operations are without that one.
void require_customize_operation(const SysprepOptions& options, const CustomizeSteps& steps);

struct Preparation {
    NewIdsPlan ids;
    std::vector<SysprepAction> actions;
    std::vector<std::string> steps;  // customize's, as sentences
    Passwords passwords;             // that were chosen at random
};

// Says what would be done to the guest on these disks, and does nothing. Throws Error.
Preparation preview_guest(Context& context, const SessionOptions& options, const PreparationWishes& wishes);

// The identifiers' part of a preparation, for clones of the guest on these disks, which is only looked at.
// Throws Error.
NewIdsPlan plan_for_clones(Context& context, const SessionOptions& options, const PreparationWishes& wishes);

// Does it to the guest on these disks, in one session and one commit. `clones`: what plan_for_clones() made
// of what the disks are a copy of; each call draws identifiers of its own. Missing: it is planned here.
// Throws Error.
Preparation prepare_guest(Context& context, const SessionOptions& options, const PreparationWishes& wishes,
                          const NewIdsPlan* clones = nullptr);

std::string preparation_text(const Preparation& preparation);
// Members of the object that is open: "ids", "files", "actions", "customize", "passwords".
void preparation_json(JsonWriter& json, const Preparation& preparation);

}  // namespace inspect::cli
