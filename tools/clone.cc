// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp clone: from one guest's disks those of others.
#include <filesystem>
#include <optional>

#include <inspect/clone.h>
#include <inspect/cloud_init.h>

#include "cli/guest.h"
#include "cli/guest_preparation.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

namespace fs = std::filesystem;

constexpr Option kOptions[] = {
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
    {0, "hostname", Takes::kOptionalValue, "NAME", "with --sysprep: the clone's host name (its name)"},
    {0, "cloud-init-iso", Takes::kNothing, "", "make NAME-seed.iso beside each clone: cloud-init's seed"},
    {0, "cloud-init", Takes::kValue, "FILE:NAME",
     "with --cloud-init-iso: also user-data, network-config, ..."},
    {0, "domain-output", Takes::kValue, "PATH", "with -d, --domain-xml: write the clone's libvirt XML", "",
     "<file>"},
};

uint64_t number_of(const Arguments& args, const char* option, uint64_t otherwise) {
    const auto text = args.value(option);
    if (!text) return otherwise;
    constexpr size_t kMaxDigits = 15;
    if (text->empty() || text->size() > kMaxDigits || text->find_first_not_of("0123456789") != text->npos)
        throw UsageError(std::string("--") + option + " is a number, not '" + *text + "'");
    return std::stoull(*text);
}

// What the library says of a wrong word is wrong usage here.
template <typename Work>
auto understood(Work work) {
    try {
        return work();
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::kUsage) throw UsageError(error.message());
        throw;
    }
}

CloneOptions clone_options(const Arguments& args) {
    CloneOptions options;
    if (const auto method = args.value("method"))
        options.method = understood([&] { return parse_clone_method(*method); });
    options.format = args.value("output-format").value_or("");
    options.keep_chain = args.has("keep-chain");
    options.force = args.has("force");
    if (args.has("flatten") && options.keep_chain)
        throw UsageError("--flatten and --keep-chain can't be used together");
    if (args.has("flatten") && options.method == CloneMethod::kOverlay)
        throw UsageError("an overlay stands on its source: --flatten can't be used with it");
    options.sources = disk_specs(args);
    if (options.sources.empty()) throw UsageError("no disk was given: use -a, -d or --domain-xml");
    return options;
}

// Whether --output is the directory for several.
bool makes_many(const Arguments& args) { return args.has("count") || args.has("name-pattern"); }

std::vector<CloneTarget> targets_of(const Arguments& args, const CloneOptions& options,
                                    const std::vector<std::string>& formats) {
    const auto output = args.value("output");
    if (!output || output->empty()) throw UsageError("where to? Give --output");
    const std::string path = fs::absolute(*output).lexically_normal().string();
    const bool directory = fs::is_directory(path) || output->ends_with('/');
    const std::string source = fs::path(options.sources[0].path).stem().string();
    if (makes_many(args)) {
        if (args.has("name")) throw UsageError("several clones are named by --name-pattern, not --name");
        if (!directory && !path.starts_with("/dev/"))
            throw UsageError("--output is the directory for the clones, which '" + *output + "' isn't");
        std::vector<CloneTarget> targets;
        const auto names = understood([&] {
            return clone_names(args.value("name-pattern").value_or(source + "-%03d"),
                               number_of(args, "start", 1), number_of(args, "count", 1));
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

// The original's XML, and where the clones' go.
class Domains {
  public:
    explicit Domains(const Arguments& args) : force_(args.has("force")), many_(makes_many(args)) {
        const auto output = args.value("domain-output");
        if (!output) return;
        const auto name = args.value("domain"), file = args.value("domain-xml");
        if (!name == !file) throw UsageError("--domain-output wants one domain: -d or --domain-xml");
        output_ = *output;
        xml_ = name ? domain_xml(*name, args.value("connect").value_or("")) : domain_xml_file(*file);
        if (many_ && !fs::is_directory(output_))
            throw UsageError("--domain-output is the directory for the clones' XML, which '" + output_ +
                             "' isn't");
    }
    // That it can be written is found out before anything is made.
    void check(const CloneTarget& target, const std::vector<std::string>& formats) const {
        if (output_.empty()) return;
        Clone clone{target.name, {}};
        for (size_t i = 0; i < target.paths.size(); ++i)
            clone.disks.push_back({"", target.paths[i], formats[i], CloneMethod::kCopy, 0, ""});
        clone_domain_xml(xml_, clone);
        if (!force_ && fs::exists(path_for(clone)))
            throw Error(ErrorKind::kDenied,
                        "'" + path_for(clone) + "' is there already; --force replaces it");
    }
    // Where it was written; empty when none is wanted.
    std::string write(const Clone& clone) const {
        if (output_.empty()) return {};
        write_clone_file(path_for(clone), clone_domain_xml(xml_, clone), force_);
        return path_for(clone);
    }

  private:
    std::string path_for(const Clone& clone) const {
        return many_ ? output_ + "/" + clone.name + ".xml" : output_;
    }

    std::string output_, xml_;
    bool force_, many_;
};

// The seeds of cloud-init, one for each clone.
class Seeds {
  public:
    explicit Seeds(const Arguments& args) : wanted_(args.has("cloud-init-iso")), force_(args.has("force")) {
        if (args.has("cloud-init") && !wanted_) throw UsageError("--cloud-init is about --cloud-init-iso");
        understood([&] {
            for (const std::string& file : args.values("cloud-init")) add_cloud_init_file(seed_, file);
        });
        if (seed_.contains("meta-data"))
            throw UsageError("--cloud-init: each clone has meta-data of its own, which are made here");
    }
    // That one can be made is found out before anything is.
    void check(const CloneTarget& target) const {
        if (!wanted_) return;
        const std::string path = path_for(target.paths[0], target.name);
        if (path.starts_with("/dev/"))
            throw UsageError("--cloud-init-iso is a file beside the clone, which is a device");
        if (!force_ && fs::exists(path))
            throw Error(ErrorKind::kDenied, "'" + path + "' is there already; --force replaces it");
        if (!tried_) make_cloud_init_iso(seed_);
        tried_ = true;
    }
    // Where it was written; empty when none is wanted.
    std::string write(const Clone& clone) const {
        if (!wanted_) return {};
        CloudInitSeed seed = seed_;
        seed.emplace("meta-data", make_cloud_init_meta_data(clone.name));
        const std::string path = path_for(clone.disks[0].path, clone.name);
        write_clone_file(path, make_cloud_init_iso(std::move(seed)), force_);
        return path;
    }

  private:
    static std::string path_for(const std::string& disk, const std::string& name) {
        return (fs::path(disk).parent_path() / (name + "-seed.iso")).string();
    }

    CloudInitSeed seed_;
    bool wanted_, force_;
    mutable bool tried_ = false;
};

PreparationWishes wishes_of(const Arguments& args, const std::string& name) {
    PreparationWishes wishes;
    wishes.new_ids = args.has("new-ids");
    wishes.new_group_names = args.has("new-vg-names");
    if (args.has("sysprep")) {
        wishes.operations = operations_of(args);
        if (args.has("hostname")) wishes.hostname = checked_hostname(args.value("hostname").value_or(name));
    } else if (args.has("operations") || args.has("hostname")) {
        throw UsageError("--operations and --hostname are about --sysprep");
    }
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
    } else if (!context.quiet()) {
        for (const ClonedDisk& disk : clone.disks)
            context.out.write(escape_control(disk.path) + ": " + disk.format + ", " +
                              human_size(disk.virtual_size) + ", " +
                              std::string(clone_method_name(disk.method)) + "\n");
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
    const Domains domains(context.args);
    const Seeds seeds(context.args);
    for (const CloneTarget& target : targets) {
        domains.check(target, cloner.formats());
        seeds.check(target);
        wishes_of(context.args, target.name);
    }
    SessionOptions session = session_options(context.args, Access::kChange);
    cloner.require_room(targets);
    std::optional<NewIdsPlan> plan;
    if (targets.size() > 1)
        plan = plan_for_clones(context, session, wishes_of(context.args, targets[0].name));
    for (const CloneTarget& target : targets) {
        check_interrupted();
        const PreparationWishes wishes = wishes_of(context.args, target.name);
        std::optional<Preparation> preparation;
        const Clone clone = cloner.make(target, [&](const std::vector<DiskSpec>& disks) {
            progress.wipe();
            if (!wishes.any()) return;
            session.disks = disks;
            preparation = prepare_guest(context, session, wishes, plan ? &*plan : nullptr);
        });
        const std::string domain = domains.write(clone);
        const std::string seed = seeds.write(clone);
        show(context, clone, domain, seed, preparation ? &*preparation : nullptr);
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
        "--new-ids and --sysprep make it a guest of its own.",
    .examples =
        "insp clone -a template.qcow2 --output web.qcow2\n"
        "insp clone -a template.qcow2 --output /srv/vms --count 20 --name-pattern web-%03d --method=overlay\n"
        "insp clone -a template.img --output web.img --new-ids --sysprep --hostname\n"
        "insp clone -d template --output /srv/vms --name web --domain-output web.xml",
    .options = kOptions,
    .shared_options = kDiskOptions | kJsonOption,
    .max_operands = 0,
    .run = run_clone,
};

}  // namespace inspect::cli
