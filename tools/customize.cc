// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp customize: host name, passwords, users, keys, files and scripts of a guest, in the order of the
// options.
#include <optional>

#include "cli/customize_options.h"
#include "cli/guest.h"
#include "cli/seed_image.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kCustomizeOwnOptions[] = {
    {'n', "dry-run", Takes::kNothing, "", "do all of it, and then leave the images as they were", "dryrun"},
};

void show(Context& context, bool dry_run, CustomizeWork& work) {
    // After a dry run they are nobody's.
    const Passwords passwords = dry_run ? Passwords() : work.take_passwords();
    if (!context.wants_json()) {
        for (const auto& [user, password] : passwords) context.out.write(user + ": " + password + "\n");
        return;
    }
    context.json.begin_object();
    context.json.boolean("dry_run", dry_run);
    context.json.texts("customize", work.steps());
    passwords_json(context.json, passwords);
    context.json.end_object();
}

int run_customize(Context& context) {
    const Arguments& args = context.args;
    const bool dry_run = args.has("dry-run");
    const auto seed_path = args.value("cloud-init-iso");
    CloudInitSeed seed;
    const CustomizeSteps steps = customize_steps(args, seed_path ? &seed : nullptr);
    if (steps.steps.empty() && !seed_path)
        throw UsageError("there is nothing to do; see 'insp customize --help'");
    if (!steps.steps.empty() && !args.has("add") && !args.has("domain") && !args.has("domain-xml"))
        throw UsageError("no disk image was given; write: insp customize -a IMAGE");
    std::optional<SeedImage> image;
    if (seed_path) image.emplace(*seed_path, std::move(seed), steps);
    CustomizeWork work(context, steps);
    if (!steps.steps.empty()) {
        Guest guest(context, Access::kChange, [&](SessionOptions& options) { work.adjust(options); });
        guest.mount();
        work.apply(guest.call("customize"));
        if (!dry_run) {
            if (image) image->write();
            guest.commit();
        }
    } else if (!dry_run) {
        image->write();
    }
    if (image && !dry_run) image->keep();
    show(context, dry_run, work);
    return kExitSuccess;
}

}  // namespace

constexpr Command kCustomizeCommand = {
    .name = "customize",
    .summary = "set a guest's host name, passwords, keys, files and scripts",
    .operands = "",
    .description =
        "Does what the options say in the guest, in their order, all of it or nothing. Options\n"
        "and arguments are virt-customize's. Random passwords are printed on stdout.",
    .examples =
        "insp customize -a disk.img --hostname web-01 --root-password random\n"
        "insp customize -a disk.img --ssh-inject root:file:id.pub --timezone Europe/Berlin\n"
        "insp customize -a disk.img --run-command 'systemctl enable nginx' --firstboot setup.sh\n"
        "insp customize -a disk.img --install nginx --package-proxy tcp:127.0.0.1:3128",
    .options = kCustomizeOwnOptions,
    .shared_options = kDiskOptions | kDisksOptional | kMountOptions | kJsonOption | kCustomizeOptions,
    .max_operands = 0,
    .run = run_customize,
};

}  // namespace inspect::cli
