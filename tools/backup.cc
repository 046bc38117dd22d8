// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp backup: backups of images in a repository that restic understands.
#include <sys/stat.h>

#include <algorithm>
#include <chrono>

#include <inspect/backup.h>

#include "cli/background.h"
#include "cli/backup_options.h"
#include "cli/backup_output.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "cli/tree_diff.h"
#include "cli/values.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kBackupOwnOptions[] = {
    {0, "repo", Takes::kValue, "REPOSITORY", "a directory, or rest:http://HOST/...; or RESTIC_REPOSITORY", "",
     "<directory>"},
    {0, "name", Takes::kValue, "NAME", "create: what the guest is called in the repository"},
    {0, "tag", Takes::kValue, "TAG", "create: add a tag to the snapshot; list, forget: only with it"},
    {0, "host", Takes::kValue, "HOST", "create: whose snapshot it is; list, forget: only of that host"},
    {0, "all-blocks", Takes::kNothing, "", "create: read free space and swap space as well"},
    {0, "ask-appliance", Takes::kValue, "WHEN",
     "create: let an appliance say what is free: 'auto', 'always' or 'never'", "", "auto always never"},
    {0, "trust-mtime", Takes::kNothing, "", "create: files with the times of the last backup are unchanged"},
    {0, "bitmap", Takes::kValue, "NAME", "create: the images' bitmap that knows what changed since"},
    {0, "inspect", Takes::kNothing, "",
     "create: keep what is installed; verify: read the guests' directories"},
    {0, "limit-rate", Takes::kValue, "SIZE", "create: read and write at most so much a second"},
    {0, "compression", Takes::kValue, "MODE", "create: 'off', 'auto' or 'max'", "", "off auto max"},
    {0, "target", Takes::kValue, "PATH", "restore: the image, block device, or directory to write to", "",
     "<file>"},
    {0, "disk", Takes::kValue, "DISK", "restore: the disk's number from 0, or its name"},
    {0, "output-format", Takes::kValue, "FORMAT", "restore: 'raw' or 'qcow2'", "", "raw qcow2"},
    {0, "overwrite", Takes::kNothing, "", "restore: make an image that exists what the backup is, in place"},
    {0, "read-data", Takes::kNothing, "", "verify: read everything"},
    {0, "guest", Takes::kValue, "NAME", "list, forget: only this guest"},
    {0, "keep-last", Takes::kValue, "N", "forget: keep the last N"},
    {0, "keep-hourly", Takes::kValue, "N", "forget: keep the last of each of N hours"},
    {0, "keep-daily", Takes::kValue, "N", "forget: keep the last of each of N days"},
    {0, "keep-weekly", Takes::kValue, "N", "forget: keep the last of each of N weeks"},
    {0, "keep-monthly", Takes::kValue, "N", "forget: keep the last of each of N months"},
    {0, "keep-yearly", Takes::kValue, "N", "forget: keep the last of each of N years"},
    {0, "keep-within", Takes::kValue, "TIME", "forget: keep all of the last time, such as 2d12h"},
    {0, "keep-tag", Takes::kValue, "TAG", "forget: keep all with this tag"},
    {0, "prune", Takes::kNothing, "", "forget: let restic give the space back"},
    {'o', "option", Takes::kValue, "OPTION[,OPTION...]", "mount: options for FUSE: allow_other..."},
    {'f', "foreground", Takes::kNothing, "", "mount: stay in the foreground", "no-fork"},
    {0, "pid-file", Takes::kValue, "FILE", "mount: write the process's number to this file", "", "<file>"},
    {'n', "dry-run", Takes::kNothing, "", "forget: only say what would be done"},
};

// Shows how far it is, and ends it when a signal has come.
class Watcher {
  public:
    explicit Watcher(const Context& context) : progress_(!context.quiet()) {}

    void operator()(const BackupProgress& now) {
        check_interrupted();
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
        progress_.show(backup_progress(now, passed.count()));
    }

  private:
    SignalScope signals_;
    Progress progress_;
    const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Whether it can be opened at all is a matter of the command line, until the repository is asked.
BackupRepository open_repository(const Context& context, bool in_background = false) {
    return as_usage([&] { return BackupRepository(backup_access(context.args), in_background); });
}

int run_init(Context& context) {
    const std::string id = create_backup_repository(backup_access(context.args));
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.text("id", id);
        context.json.end_object();
    } else if (!context.quiet()) {
        context.out.write("The repository " + id.substr(0, 10) +
                          " was made. Without its password nobody can read what is in it.\n");
    }
    return kExitSuccess;
}

int run_create(Context& context) {
    const std::vector<BackupGuest> guests = backup_guests(context.args);
    BackupOptions options = backup_options(context.args);
    BackupRepository repository = open_repository(context, true);
    std::vector<std::pair<std::string, Error>> failed;  // guests
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.begin_array("backups");
    }
    for (const BackupGuest& guest : guests) {
        try {
            Watcher watcher(context);
            options.on_progress = [&](const BackupProgress& now) { watcher(now); };
            const BackupResult result = repository.create(guest, options);
            for (const std::string& warning : result.warnings) context.warning(warning);
            if (context.wants_json()) {
                backup_json(context.json, result);
            } else if (!context.quiet()) {
                context.out.write(backup_text(result));
            }
        } catch (const Error& error) {
            if (guests.size() == 1 || error.kind() == ErrorKind::kCancelled) throw;
            repository.wait_until_open();  // or throws: no other guest would fare better
            // The others are backed up all the same.
            context.error(error.message());
            failed.emplace_back(backup_guest_name(guest), error);
        }
    }
    if (context.wants_json()) {
        context.json.end_array();
        context.json.number("failed", failed.size());
        context.json.objects("errors", failed, [&](const auto& failure) {
            context.json.text("guest", failure.first);
            context.json.text("kind", error_kind_name(failure.second.kind()));
            context.json.text("message", failure.second.message());
        });
        context.json.end_object();
    }
    return failed.empty() ? kExitSuccess : kExitFailure;
}

int run_list(Context& context) {
    BackupRepository repository = open_repository(context);
    const std::string guest = context.args.value("guest").value_or(""),
                      host = context.args.value("host").value_or("");
    const std::vector<std::string> tags = context.args.values("tag");
    std::vector<BackupSnapshot> shown;
    for (BackupSnapshot& snapshot : repository.list()) {
        bool wanted =
            (guest.empty() || snapshot.guest == guest) && (host.empty() || snapshot.hostname == host);
        for (const std::string& tag : tags)
            wanted =
                wanted && std::find(snapshot.tags.begin(), snapshot.tags.end(), tag) != snapshot.tags.end();
        if (wanted) shown.push_back(std::move(snapshot));
    }
    if (context.wants_json()) {
        context.json.begin_object();
        backup_json(context.json, "snapshots", shown);
        context.json.end_object();
    } else {
        context.out.write(backup_text(shown));
    }
    if (!shown.empty() || (guest.empty() && host.empty() && tags.empty())) return kExitSuccess;
    context.error("the repository has no such snapshot");
    return kExitNothingFound;
}

std::string snapshot_of(const Arguments& args) {
    return args.operands().size() < 2 ? "latest" : args.operands()[1];
}

int run_info(Context& context) {
    BackupRepository repository = open_repository(context);
    const BackupInfo info = repository.info(snapshot_of(context.args));
    if (context.wants_json()) {
        context.json.begin_object();
        backup_json(context.json, info);
        context.json.end_object();
    } else {
        context.out.write(backup_text(info));
    }
    return kExitSuccess;
}

int run_restore(Context& context) {
    const Arguments& args = context.args;
    const std::string name = snapshot_of(args), target = args.value("target").value_or("");
    if (target.empty()) throw UsageError("restore to where? Give --target");
    RestoreOptions options;
    options.format = one_of(args, "output-format", {"raw", "qcow2"}, "raw");
    options.overwrite = args.has("overwrite");
    Watcher watcher(context);
    options.on_progress = [&](const BackupProgress& now) { watcher(now); };
    BackupRepository repository = open_repository(context);
    struct stat status = {};
    std::vector<std::pair<std::string, std::string>> files;  // disks, and where they go
    if (stat(target.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
        const std::vector<BackupDisk> disks = repository.info(name, false).disks;
        const std::string wanted = args.value("disk").value_or("");
        for (size_t i = 0; i < disks.size(); ++i) {
            if (!wanted.empty() && wanted != disks[i].name && wanted != std::to_string(i)) continue;
            std::string file = disks[i].name;
            if (options.format == "qcow2")
                file.replace(std::min(file.rfind('.'), file.size()), std::string::npos, ".qcow2");
            file = target + "/" + file;
            if (std::ranges::find(files, file, &std::pair<std::string, std::string>::second) != files.end())
                throw UsageError("two disks would become '" + file +
                                 "': restore each by itself, with --disk");
            files.emplace_back(std::to_string(i), std::move(file));
        }
        if (files.empty() && !wanted.empty())
            throw Error(ErrorKind::kNotFound, "the snapshot '" + name + "' has no disk '" + wanted + "'");
    } else {
        files.emplace_back(args.value("disk").value_or(""), target);
    }
    uint64_t written = 0;
    for (const auto& [disk, file] : files) written += repository.restore(name, disk, file, options).written;
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.begin_array("files");
        for (const auto& [disk, file] : files) context.json.text({}, file);
        context.json.end_array();
        context.json.number("written", written);
        context.json.end_object();
    } else if (!context.quiet()) {
        for (const auto& [disk, file] : files) context.out.write(file + "\n");
        context.note(human_size(written) + " written");
    }
    return kExitSuccess;
}

int run_verify(Context& context) {
    BackupRepository repository = open_repository(context);
    Watcher watcher(context);
    VerifyOptions options;
    options.read_data = context.args.has("read-data");
    options.inspect = context.args.has("inspect");
    options.appliance = backup_appliance(context.args);
    options.on_progress = [&](const BackupProgress& now) { watcher(now); };
    const VerifyReport report = repository.verify(options);
    for (const std::string& note : report.notes) context.note(note);
    if (context.wants_json()) {
        context.json.begin_object();
        backup_json(context.json, report);
        context.json.end_object();
    } else if (!context.quiet() || !report.damage.empty()) {
        context.out.write(backup_text(report));
    }
    return report.damage.empty() ? kExitSuccess : kExitFailure;
}

int run_forget(Context& context) {
    const Arguments& args = context.args;
    const ForgetOptions options = forget_options(args);
    ForgetResult result;
    {
        BackupRepository repository = open_repository(context);
        result = repository.forget(options);
    }
    if (context.wants_json()) {
        context.json.begin_object();
        backup_json(context.json, "kept", result.kept);
        backup_json(context.json, "removed", result.removed);
        context.json.end_object();
    } else if (!context.quiet()) {
        context.out.write("Kept: " + std::to_string(result.kept.size()) + "\n" + backup_text(result.kept));
        context.out.write(std::string(options.dry_run ? "To be removed: " : "Removed: ") +
                          std::to_string(result.removed.size()) + "\n" + backup_text(result.removed));
    }
    if (args.has("prune") && !options.dry_run) prune_backup_repository(backup_access(args));
    return kExitSuccess;
}

// What differs between the files of two snapshots of a guest.
int run_diff(Context& context) {
    const auto& operands = context.args.operands();
    const BackupAccess access = backup_access(context.args);
    auto disks = [&](const std::string& snapshot) {
        DiskSpec disk;
        disk.path = "backup:" + access.location + ":" + snapshot;  // none: the environment's
        disk.password_file = access.password_file;
        disk.password_command = access.password_command;
        return std::vector<DiskSpec>{disk};
    };
    TreeDiffOptions options;
    // Generations of one file system: its times are those of its files.
    options.times = options.format.times = true;
    return diff_guests(context, disks(operands[1]), disks(operands[2]), options);
}

int run_mount(Context& context) {
    const Arguments& args = context.args;
    HostMountOptions options = host_mount_options(args, args.operands()[1]);
    MountProcess process(args);
    SignalScope signals;
    BackupRepository repository = open_repository(context);
    options.stop_fd = signals.fd();
    options.on_mounted = [&process] { process.mounted(); };
    repository.mount_on_host(options);
    return kExitSuccess;
}

struct Action {
    std::string_view name;
    int (*run)(Context&);
    size_t least, most;          // operands, after the action
    const char* usage;           // these, for people
    std::string_view options;    // those that it knows beside kAlways, words
    std::string_view more = {};  // and these
};

constexpr size_t kAny = SIZE_MAX;
constexpr std::string_view kAlways = "repo password-file password-command json quiet verbose x version help";
constexpr std::string_view kAppliance = "engine memory no-snapshot key keys-from-stdin";

constexpr Action kActions[] = {
    {"init", run_init, 0, 0, "", ""},
    {"create", run_create, 0, kAny, "IMAGE...",
     "name tag host all-blocks ask-appliance trust-mtime bitmap inspect limit-rate compression add format "
     "allow-backing disk-snapshot cache repair blocksize force-share domain connect domain-xml ro rw",
     kAppliance},
    {"list", run_list, 0, 0, "", "guest tag host"},
    {"info", run_info, 0, 1, "[SNAPSHOT]", ""},
    {"restore", run_restore, 0, 1, "[SNAPSHOT] --target PATH", "target disk output-format overwrite"},
    {"verify", run_verify, 0, 0, "", "read-data inspect", kAppliance},
    {"diff", run_diff, 2, 2, "SNAPSHOT SNAPSHOT", "stats", kAppliance},
    {"forget", run_forget, 0, kAny, "[SNAPSHOT...]",
     "guest tag host keep-last keep-hourly keep-daily keep-weekly keep-monthly keep-yearly keep-within "
     "keep-tag prune dry-run"},
    {"mount", run_mount, 1, 1, "DIRECTORY", "option foreground pid-file"},
};

bool has_word(std::string_view words, std::string_view word) {
    return (" " + std::string(words) + " ").find(" " + std::string(word) + " ") != std::string::npos;
}

bool knows(const Action& action, std::string_view option) {
    return has_word(kAlways, option) || has_word(action.options, option) || has_word(action.more, option);
}

// What is for another action would be ignored, and something else done than what was meant.
void require_meant_for(const Action& action, const Arguments& args) {
    for (const auto& given : args.given()) {
        const std::string_view option = option_key(*given.option);
        if (knows(action, option)) continue;
        std::string others;
        for (const Action& other : kActions)
            if (knows(other, option)) others += (others.empty() ? "" : ", ") + std::string(other.name);
        throw UsageError((option.size() == 1 ? "-" : "--") + std::string(option) +
                         " is nothing for 'insp backup " + std::string(action.name) + "'" +
                         (others.empty() ? "" : "; it is for " + others));
    }
    const size_t operands = args.operands().size() - 1;
    if (operands < action.least || operands > action.most)
        throw UsageError("write: insp backup " + std::string(action.name) + " " + action.usage +
                         (*action.usage != 0 ? " " : "") + "[OPTION...]");
}

int run_backup(Context& context) {
    const std::string& name = context.args.operands()[0];
    const auto action = std::ranges::find(kActions, name, &Action::name);
    if (action == std::end(kActions))
        throw UsageError("'" + name +
                         "' is none of init, create, list, info, restore, verify, diff, forget, mount");
    require_meant_for(*action, context.args);
    return action->run(context);
}

}  // namespace

constexpr Command kBackupCommand = {
    .name = "backup",
    .summary = "back images up: deduplicated, encrypted, in restic's format",
    .operands = "init|create|list|info|restore|verify|diff|forget|mount [...]",
    .description =
        "init makes a repository; create IMAGE... backs each image up, or with -a or -d the disks\n"
        "of one guest; list shows the snapshots; info and restore [SNAPSHOT] look at one and write\n"
        "its disks back; verify checks the repository; diff SNAPSHOT SNAPSHOT compares files;\n"
        "forget [SNAPSHOT...] removes snapshots; mount DIRECTORY shows the repository as files.\n"
        "-a backup:REPOSITORY[:SNAPSHOT[:DISK]] opens a backup in any other command.",
    .examples =
        "insp backup init --repo /srv/backups --password-file /etc/backup.key\n"
        "insp backup create --repo /srv/backups /var/lib/libvirt/images/*.qcow2\n"
        "insp backup restore web-01 --target web-01.qcow2 --output-format=qcow2\n"
        "insp backup forget --keep-daily 7 --keep-weekly 4 --prune\n"
        "insp backup mount ./backups && ls ./backups/guests/web-01/latest/ && insp umount ./backups",
    .options = kBackupOwnOptions,
    .shared_options = kDiskOptions | kDisksOptional | kJsonOption,
    .min_operands = 1,
    .host_operands = HostOperands::kAll,
    .operand_words = "init create list info restore verify diff forget mount",
    .run = run_backup,
};

}  // namespace inspect::cli
