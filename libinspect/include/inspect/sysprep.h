// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Sysprep: a guest is freed of what must not be in a second one: keys, identities, logs, leases, caches. The
// operations have virt-sysprep's names and defaults.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/new_ids.h>
#include <inspect/session.h>

namespace inspect {

struct SysprepOperation {
    const char* name;
    bool by_default;
    const char* heading;   // a line, without a full stop
    const char* obstacle;  // not null: why it can't be done here
};

// In the order of their names.
std::span<const SysprepOperation> sysprep_operations();

// "a,b,-c" as virt-sysprep's --operations has it: names, "defaults", "all", with a '-' before what is not to
// be done; in this order. Throws Error(kUsage) for an unknown name, kUnsupported for one that can't be done
// here.
std::vector<std::string> choose_operations(std::string_view list);
// Those that are done when nothing is chosen.
std::vector<std::string> default_operations();

// The identifiers that these operations are about ("fs-uuids", "lvm-uuids"): what plan_new_ids() is to plan
// for before; empty: none.
std::vector<IdChange::Kind> ids_of_operations(const std::vector<std::string>& operations);

struct SysprepOptions {
    std::vector<std::string> operations;  // as choose_operations() gives them
    bool dry_run = false;                 // nothing is changed; the session may be read-only
    // Of the operation "user-account", names: these stay; and, if there are any, only those go.
    std::vector<std::string> keep_accounts = {};
    std::vector<std::string> remove_accounts = {};
};

struct SysprepAction {
    enum class Kind { kRemove, kEmpty, kEdit, kCreate };
    std::string operation;
    Kind kind = Kind::kRemove;
    std::string path;
};
std::string_view sysprep_action_name(SysprepAction::Kind kind) noexcept;  // "remove", "empty"...

// Does the operations on the guest's tree, which must be mounted, but those on identifiers and "customize"
// (inspect/customize.h). Answers what was
// done, in order. What is written reaches the images by commit(). Throws Error; then nothing must be
// committed.
std::vector<SysprepAction> sysprep(Session& session, const SysprepOptions& options);

}  // namespace inspect
