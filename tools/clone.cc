// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp clone: from one guest's disks those of others.
#include <algorithm>
#include <filesystem>
#include <optional>

#include <inspect/clone.h>

#include "cli/clone_companions.h"
#include "cli/customize_options.h"
#include "cli/guest.h"
#include "cli/guest_preparation.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "cli/values.h"
#include "commands.h"

namespace inspect::cli {
namespace {

namespace fs = std::filesystem;

constexpr Option kCloneOwnOptions[] = {
    {'o', "output", Takes::kValue, "PATH", "the clone's image, or the directory for the clones", "",
     "<file>"},
    {0, "count", Takes::kValue, "N", "make so many clones"},
    {0, "name-pattern", Takes::kValue, "PATTERN", "their names, with a number in it: web-%03d"},
    {0, "start", Takes::kValue, "N", "the first number (default 1)"},
    {0, "name", Takes::kValue, "NAME", "the clone's name, where there is one"},
    {0, "method", Takes::kValue, "METHOD", "how: 'auto', 'reflink', 'overlay', 'copy', 'lvm-snapshot'", "",
     "auto reflink overlay copy lvm-snapshot"},
    {0, "output-format", Takes::kValue, "FORMAT", "'raw' or 'qcow2' (default: as the source)", "",
     "raw qcow2"},
    {0, "flatten", Takes::kNothing, "", "the clones stand on no other image, whatever the source does"},
    {0, "keep-chain", Takes::kNothing, "", "a copy stands on what the source stands on"},
    {0, "force", Takes::kNothing, "", "replace what is there under a clone's name"},
    {0, "new-ids", Takes::kNothing, "",
     "give each clone's disks new identifiers, and rewrite what names them"},
    {0, "new-vg-names", Takes::kNothing, "", "give LVM's volume groups other names, too"},
    {0, "sysprep", Takes::kNothing, "", "free each clone of what must not be in two guests"},
    {0, "operations", Takes::kValue, "LIST", "do these of sysprep's operations (see insp sysprep)"},
    {0, "keep-user-accounts", Takes::kValue, "USER,...", "not these, in the operation 'user-account'"},
    {0, "remove-user-accounts", Takes::kValue, "USER,...", "these alone, in the operation 'user-account'"},
    {0, "hostname", Takes::kOptionalValue, "PATTERN", "the clone's host name; without a value its name"},
    {0, "cloud-init-iso", Takes::kNothing, "",
     "what --cloud-init gives goes to NAME-seed.iso beside each clone"},
    {0, "domain-output", Takes::kValue, "PATH", "with -d, --domain-xml: write the clone's libvirt XML", "",
     "<file>"},
};

constexpr uint64_t kMostClones = 999'999'999'999'999;  // the library has more to say about it

uint64_t first_number(const Arguments& args) { return number_of(args, "start", kMostClones).value_or(1); }

CloneOptions clone_options(const Arguments& args) {
    CloneOptions options;
    if (const auto method = args.value("method"))
        options.method = as_usage([&] { return parse_clone_method(*method); });
    options.format = one_of(args, "output-format", {"raw", "qcow2"}, "");
    options.keep_chain = args.has("keep-chain");
    options.force = args.has("force");
    if (args.has("flatten") && options.keep_chain)
        throw UsageError("--flatten and --keep-chain can't be used together");
    if (args.has("flatten") && options.method == CloneMethod::kOverlay)
        throw UsageError("an overlay stands on its source: --flatten can't be used with it");
    if (options.method == CloneMethod::kOverlay && options.keep_chain)
        throw UsageError("an overlay keeps the chain anyway, by standing on the source");
    if (options.method == CloneMethod::kOverlay && options.format == "raw")
        throw UsageError("an overlay is a qcow2 image, not raw");
    options.sources = disk_specs(args);
    if (options.sources.empty()) throw UsageError("no disk was given: use -a, -d or --domain-xml");
    return options;
}

std::vector<CloneTarget> targets_of(const Arguments& args, const CloneOptions& options,
                                    const std::vector<std::string>& formats) {
    const auto output = args.value("output");
    if (!output || output->empty()) throw UsageError("where to? Give --output");
    const std::string path = fs::absolute(*output).lexically_normal().string();
    const bool directory = fs::is_directory(path) || output->ends_with('/');
    const std::string source = fs::path(options.sources[0].path).stem().string();
    if (makes_many_clones(args)) {
        if (args.has("name")) throw UsageError("several clones are named by --name-pattern, not --name");
        if (!directory && !path.starts_with("/dev/"))
            throw UsageError("--output is the directory for the clones, which '" + *output + "' isn't");
        std::vector<CloneTarget> targets;
        const auto names = as_usage([&] {
            return clone_names(args.value("name-pattern").value_or(source + "-%03d"), first_number(args),
                               number_of(args, "count", kMostClones).value_or(1));
        });
        for (const std::string& name : names) targets.push_back(clone_target(path, name, formats));
        return targets;
    }
    if (args.has("start")) throw UsageError("--start numbers the clones of --name-pattern");
    if (directory) return {clone_target(path, args.value("name").value_or(source), formats)};
    if (formats.size() > 1)
        throw UsageError("there are several disks: let --output be a directory, which '" + *output +
                         "' isn't");
    return {{args.value("name").value_or(fs::path(path).stem().string()), {path}}};
}

// The clones' host names; empty when they are not to be set.
std::vector<std::string> host_names_of(const Arguments& args, const CustomizeSteps& steps,
                                       const std::vector<CloneTarget>& targets) {
    const std::optional<std::string> pattern = host_name_of(steps);
    if (!pattern) return {};
    std::vector<std::string> names;
    if (pattern->empty()) {
        for (const CloneTarget& target : targets) names.push_back(target.name);
    } else if (makes_many_clones(args)) {
        names = as_usage([&] { return clone_names(*pattern, first_number(args), targets.size()); },
                         "--hostname: ");
    } else {
        names = {*pattern};
    }
    return names;
}

// What the options of customize say of the clones.
class Customizing {
  public:
    // That it can be done to each of the clones is found out before anything is made. Passwords are asked for
    // here, once.
    Customizing(Context& context, const std::vector<CloneTarget>& targets)
        : steps_(customize_steps(context.args, context.args.has("cloud-init-iso") ? &seed_ : nullptr)),
          names_(host_names_of(context.args, steps_, targets)) {
        if (targets.size() > 1 && has_meta_data())
            throw UsageError(
                "--cloud-init: the clones would have the same meta-data, and with them one instance-id; "
                "without any, each gets its own");
        for (CustomizeStep& step : steps_.steps)
            if (step.operation == "hostname") step.argument = names_[0];
        work_.emplace(context, steps_);
        for (size_t i = 0; i < targets.size(); ++i) begin(targets, i);
    }
    void begin(const std::vector<CloneTarget>& targets, size_t i) {
        work_->begin_guest(targets[i].name,
                           names_.empty() ? std::nullopt : std::optional<std::string>(names_[i]));
    }
    // Null when there is nothing to be done.
    CustomizeWork* work(const PreparationWishes& wishes) {
        const bool renews_seed = is_chosen(wishes.sysprep, "customize");
        return steps_.steps.empty() && !renews_seed ? nullptr : &*work_;
    }
    const CustomizeSteps& steps() const { return steps_; }
    const CloudInitSeed& seed() const { return seed_; }
    std::string host_name(const std::vector<CloneTarget>& targets, size_t i) const {
        return names_.empty() ? targets[i].name : names_[i];
    }

  private:
    bool has_meta_data() const {
        return seed_.contains("meta-data") ||
               std::ranges::any_of(steps_.steps, [](const CustomizeStep& step) {
                   return step.operation == "cloud-init" && step.argument.ends_with(":meta-data");
               });
    }

    CloudInitSeed seed_;
    CustomizeSteps steps_;
    std::vector<std::string> names_;
    std::optional<CustomizeWork> work_;
};

PreparationWishes wishes_of(const Arguments& args, Customizing& customizing) {
    PreparationWishes wishes;
    wishes.new_ids = args.has("new-ids");
    wishes.new_group_names = args.has("new-vg-names");
    if (args.has("sysprep")) {
        wishes.sysprep = sysprep_options(args);
        require_customize_operation(wishes.sysprep, customizing.steps());
    } else {
        for (const std::string name : {"operations", "keep-user-accounts", "remove-user-accounts"})
            if (args.has(name)) throw UsageError("--" + name + " is about --sysprep");
    }
    wishes.customize = customizing.work(wishes);
    return wishes;
}

void show(Context& context, const Clone& clone, const std::string& domain, const std::string& seed,
          const Preparation* preparation) {
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.text("name", clone.name);
        context.json.begin_array("disks");
        for (const ClonedDisk& disk : clone.disks) {
            context.json.begin_object();
            context.json.text("source", disk.source);
            context.json.text("path", disk.path);
            context.json.text("format", disk.format);
            context.json.text("method", clone_method_name(disk.method));
            context.json.number("virtual_size", disk.virtual_size);
            context.json.optional_text("backing", disk.backing);
            context.json.end_object();
        }
        context.json.end_array();
        context.json.optional_text("domain_xml", domain);
        context.json.optional_text("cloud_init_iso", seed);
        if (preparation != nullptr) preparation_json(context.json, *preparation);
        context.json.end_object();
    } else {
        for (const ClonedDisk& disk : clone.disks)
            if (!context.quiet())
                context.out.write(escape_control(disk.path) + ": " + disk.format + ", " +
                                  human_size(disk.virtual_size) + ", " +
                                  std::string(clone_method_name(disk.method)) + "\n");
        if (preparation != nullptr)
            for (const auto& [user, password] : preparation->passwords)
                context.out.write(escape_control(clone.name) + ": " + user + ": " + password + "\n");
    }
    context.out.flush();
}

int run_clone(Context& context) {
    context.json.use_lines();
    CloneOptions options = clone_options(context.args);
    const SignalScope signals;
    Progress progress(!context.quiet());
    options.on_progress = [&progress](uint64_t done, uint64_t total) {
        check_interrupted();
        progress.show(human_size(done) + " of " + human_size(total));
    };
    Cloner cloner(options);
    const std::vector<CloneTarget> targets = targets_of(context.args, options, cloner.formats());
    const CloneDomains domains(context.args);
    for (const CloneTarget& target : targets) domains.check(target, cloner.formats());
    Customizing customizing(context, targets);
    const CloneSeeds seeds(context.args, customizing.seed());
    for (const CloneTarget& target : targets) seeds.check(target);
    const PreparationWishes wishes = wishes_of(context.args, customizing);
    SessionOptions session = session_options(context.args, Access::kChange);
    cloner.require_room(targets);
    std::optional<NewIdsPlan> plan;
    if (targets.size() > 1) plan = plan_for_clones(context, session, wishes);
    for (size_t i = 0; i < targets.size(); ++i) {
        check_interrupted();
        customizing.begin(targets, i);
        std::optional<Preparation> preparation;
        const Clone clone = cloner.make(targets[i], [&](const std::vector<DiskSpec>& disks) {
            progress.wipe();
            if (!wishes.any()) return;
            session.disks = disks;
            preparation = prepare_guest(context, session, wishes, plan ? &*plan : nullptr);
        });
        std::string domain, seed;
        // The clone is there whatever comes now, and its passwords are nowhere else.
        const auto show_it = [&] {
            show(context, clone, domain, seed, preparation ? &*preparation : nullptr);
        };
        try {
            domain = domains.write(clone);
            seed = seeds.write(clone, customizing.host_name(targets, i));
        } catch (...) {
            show_it();
            throw;
        }
        show_it();
    }
    return kExitSuccess;
}

}  // namespace

constexpr Command kCloneCommand = {
    .name = "clone",
    .summary = "make new guests' disks from those of one",
    .operands = "",
    .description =
        "Makes one clone, or --count of them, of the disks given. They share blocks with the source\n"
        "where the file system can, and are copies elsewhere; overlays where that is asked for.\n"
        "A clone appears under its name when it is complete. With -d also its libvirt XML.\n"
        "--new-ids and --sysprep make it a guest of its own, and the options of customize are\n"
        "done to each clone.",
    .examples =
        "insp clone -a template.qcow2 --output web.qcow2\n"
        "insp clone -a template.qcow2 --output /srv/vms --count 20 --name-pattern web-%03d --method=overlay\n"
        "insp clone -a template.img --output web.img --new-ids --sysprep --hostname\n"
        "insp clone -a template.img --output vms/ --count 3 --hostname --root-password random\n"
        "insp clone -d template --output /srv/vms --name web --domain-output web.xml",
    .options = kCloneOwnOptions,
    .shared_options = kDiskOptions | kJsonOption | kCustomizeOptions,
    .max_operands = 0,
    .run = run_clone,
};

}  // namespace inspect::cli
