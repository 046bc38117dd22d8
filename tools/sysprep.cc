// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp sysprep: a guest is freed of what must not be in a second one, and given new identifiers.
#include <optional>

#include "cli/guest.h"
#include "cli/guest_preparation.h"
#include "cli/seed_image.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kSysprepOwnOptions[] = {
    {0, "operations", Takes::kValue, "LIST", "do these: NAME,-NAME,defaults,all", "enable"},
    {0, "list-operations", Takes::kNothing, "", "show the operations; '*' are done by default"},
    {0, "keep-user-accounts", Takes::kValue, "USER,...", "not these, in the operation 'user-account'"},
    {0, "remove-user-accounts", Takes::kValue, "USER,...", "these alone, in the operation 'user-account'"},
    {0, "no-selinux-relabel", Takes::kNothing, "", "as it always is, without --selinux-relabel"},
    {0, "new-ids", Takes::kNothing, "", "give the disks new identifiers, and rewrite what names them"},
    {0, "new-vg-names", Takes::kNothing, "", "give LVM's volume groups other names, too"},
    {'n', "dry-run", Takes::kNothing, "", "show what would be done, and do nothing", "dryrun"},
};

int list_operations(Context& context) {
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.begin_array("operations");
        for (const SysprepOperation& operation : sysprep_operations()) {
            context.json.begin_object();
            context.json.text("name", operation.name);
            context.json.boolean("default", operation.by_default);
            context.json.text("description", operation.heading);
            context.json.optional_text("obstacle", operation.obstacle == nullptr ? "" : operation.obstacle);
            context.json.end_object();
        }
        context.json.end_array();
        context.json.end_object();
        return kExitSuccess;
    }
    for (const SysprepOperation& operation : sysprep_operations()) {
        context.out.write(std::string(operation.name) + (operation.by_default ? " * " : "   ") +
                          operation.heading);
        if (operation.obstacle != nullptr)
            context.out.write(std::string(" (not possible here: ") + operation.obstacle + ")");
        context.out.write("\n");
    }
    return kExitSuccess;
}

int run_sysprep(Context& context) {
    const Arguments& args = context.args;
    if (args.has("list-operations")) return list_operations(context);
    const bool dry_run = args.has("dry-run");
    PreparationWishes wishes;
    wishes.new_ids = args.has("new-ids");
    wishes.new_group_names = args.has("new-vg-names");
    wishes.sysprep = sysprep_options(args);
    const auto seed_path = args.value("cloud-init-iso");
    CloudInitSeed seed;
    const CustomizeSteps steps = customize_steps(args, seed_path ? &seed : nullptr);
    require_customize_operation(wishes.sysprep, steps);
    const SessionOptions options = session_options(args, dry_run ? Access::kRead : Access::kChange);
    if (options.disks.empty()) throw UsageError("no disk was given: use -a, -d or --domain-xml");
    std::optional<SeedImage> image;
    if (seed_path) image.emplace(*seed_path, std::move(seed), steps);
    CustomizeWork work(context, steps);
    // Without any step it still renews the random seed.
    if (is_chosen(wishes.sysprep, "customize")) wishes.customize = &work;
    if (image) wishes.before_commit = [&image] { image->write(); };
    const Preparation preparation =
        dry_run ? preview_guest(context, options, wishes) : prepare_guest(context, options, wishes);
    if (image) image->keep();
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.boolean("dry_run", dry_run);
        preparation_json(context.json, preparation);
        context.json.end_object();
    } else if (!context.quiet() && (dry_run || context.verbose())) {
        context.out.write(preparation_text(preparation));
    }
    if (!context.wants_json())
        for (const auto& [user, password] : preparation.passwords)
            context.out.write(user + ": " + password + "\n");
    return kExitSuccess;
}

}  // namespace

constexpr Command kSysprepCommand = {
    .name = "sysprep",
    .summary = "free a guest of what must not be in a second one",
    .operands = "",
    .description =
        "Removes keys, machine identity, logs, leases, histories and caches, so that clones\n"
        "can be made of the guest; all of it or nothing. The operations are virt-sysprep's.\n"
        "With --new-ids the disks get new identifiers, and what names them is rewritten. The\n"
        "options of customize are done at the end.",
    .examples =
        "insp sysprep --list-operations\n"
        "insp sysprep -a clone.qcow2 --operations defaults,-ssh-userdir --hostname web-01\n"
        "insp sysprep -a clone.qcow2 --root-password random --ssh-inject root:file:id.pub\n"
        "insp sysprep -a clone.qcow2 --new-ids --dry-run",
    .options = kSysprepOwnOptions,
    .shared_options = kDiskOptions | kDisksOptional | kJsonOption | kCustomizeOptions,
    .max_operands = 0,
    .run = run_sysprep,
};

}  // namespace inspect::cli
