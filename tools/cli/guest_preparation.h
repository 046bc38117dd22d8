// SPDX-License-Identifier: GPL-2.0-or-later
//
// Making a guest another one: what `insp sysprep` does to a guest, and `insp clone` to each clone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <inspect/sysprep.h>

#include "cli/context.h"

namespace inspect::cli {

struct PreparationWishes {
    bool new_ids = false;                 // all identifiers
    std::vector<std::string> operations;  // empty: none
    std::string hostname;
    bool any() const { return new_ids || !operations.empty(); }
};

// What --operations (or --enable, or neither) chooses. Throws UsageError.
std::vector<std::string> operations_of(const Arguments& args);
// That it can be one. Throws UsageError.
std::string checked_hostname(const std::string& name);

struct Preparation {
    NewIdsPlan ids;
    std::vector<SysprepAction> actions;
};

// Does it to the guest on these disks, in one commit; with `dry_run` nothing, but says what. Throws Error.
Preparation prepare_guest(Context& context, const SessionOptions& options, const PreparationWishes& wishes,
                          bool dry_run);

std::string preparation_text(const Preparation& preparation);
// Members of the object that is open: "ids", "files", "actions".
void preparation_json(JsonWriter& json, const Preparation& preparation);

}  // namespace inspect::cli
