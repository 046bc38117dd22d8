// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp backup: backups of images in a repository that restic understands.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <sstream>

#include <inspect/backup.h>

#include "cli/background.h"
#include "cli/backup_output.h"
#include "cli/guest.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "cli/tree_diff.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kOptions[] = {
    {0, "repo", Takes::kValue, "REPOSITORY", "a directory, or rest:http://HOST/...; or RESTIC_REPOSITORY", "",
     "<directory>"},
    {0, "name", Takes::kValue, "NAME", "create: what the guest is called in the repository"},
    {0, "tag", Takes::kValue, "TAG", "create: add a tag to the snapshot; list: only with it"},
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
    {0, "overwrite", Takes::kNothing, "", "restore: make an image that exists what the backup is"},
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

constexpr int kMaxCompression = 19, kAutoCompression = 3, kFastCompression = -5;
constexpr uint64_t kMinRate = 4096;

BackupAccess access_of(const Arguments& args) {
    return {args.value("repo").value_or(""), args.value("password-file").value_or(""),
            args.value("password-command").value_or("")};
}

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

unsigned count_of(const Arguments& args, const char* option) {
    const std::string text = args.value(option).value_or("0");
    if (text.empty() || text.size() > 6 || text.find_first_not_of("0123456789") != std::string::npos)
        throw UsageError(std::string("--") + option + " is a number, not '" + text + "'");
    return static_cast<unsigned>(std::stoul(text));
}

// "1y6m7d12h" as restic has it.
uint64_t duration_of(const std::string& text) {
    uint64_t seconds = 0, number = 0;
    bool digits = false;
    for (char c : text) {
        if (c >= '0' && c <= '9' && number < 100'000) {
            number = number * 10 + static_cast<uint64_t>(c - '0');
            digits = true;
            continue;
        }
        const uint64_t unit = c == 'h'   ? 3600
                              : c == 'd' ? 86400
                              : c == 'm' ? 30 * 86400
                              : c == 'y' ? 365 * 86400
                                         : 0;
        if (unit == 0 || !digits)
            throw UsageError("--keep-within is a time such as 1y6m7d12h, not '" + text + "'");
        seconds += number * unit;
        number = 0;
        digits = false;
    }
    if (digits || text.empty())
        throw UsageError("--keep-within is a time such as 1y6m7d12h, not '" + text + "'");
    return seconds;
}

std::string read_text(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    if (!(text << file.rdbuf())) throw Error(ErrorKind::kNotFound, "cannot read '" + path + "'");
    return text.str();
}

// What create is to back up: each operand is a guest, all of -a and -d together are one.
std::vector<BackupGuest> guests_of(const Arguments& args) {
    std::vector<BackupGuest> guests;
    if (args.has("add") || args.has("domain") || args.has("domain-xml")) {
        BackupGuest guest;
        guest.disks = disk_specs(args);
        guest.name = args.value("name").value_or(args.value("domain").value_or(""));
        if (const auto xml = args.value("domain-xml")) guest.domain_xml = read_text(*xml);
        guests.push_back(std::move(guest));
    }
    for (size_t i = 1; i < args.operands().size(); ++i) {
        DiskSpec disk{.path = args.operands()[i]};
        disk.format = args.has("add") ? "" : args.value("format").value_or("");
        disk.allow_backing = args.has("allow-backing");
        disk.force_share = args.has("force-share");
        disk.keys = keys_of(args);
        guests.push_back({.name = args.value("name").value_or(""), .disks = {disk}});
    }
    if (guests.empty()) throw UsageError("back up what? Give images, or -a or -d");
    if (guests.size() > 1 && args.has("name"))
        throw UsageError("--name can only name one guest; several disks of one guest are given by -a");
    std::set<std::string> names;
    for (const BackupGuest& guest : guests)
        if (const std::string name = backup_guest_name(guest); !names.insert(name).second)
            throw UsageError("two images would be the guest '" + name +
                             "': back them up one by one, with --name");
    return guests;
}

int run_init(Context& context) {
    const std::string id = create_backup_repository(access_of(context.args));
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

BackupOptions create_options(const Arguments& args) {
    BackupOptions options;
    options.tags = args.values("tag");
    options.hostname = args.value("host").value_or("");
    options.used_blocks_only = !args.has("all-blocks");
    const std::string ask = args.value("ask-appliance").value_or("auto");
    if (ask != "auto" && ask != "always" && ask != "never")
        throw UsageError("--ask-appliance is 'auto', 'always' or 'never', not '" + ask + "'");
    options.ask_appliance = ask == "always"  ? BackupOptions::AskAppliance::kAlways
                            : ask == "never" ? BackupOptions::AskAppliance::kNever
                                             : BackupOptions::AskAppliance::kAuto;
    options.trust_mtime = args.has("trust-mtime");
    options.inspect = args.has("inspect");
    options.bitmap = args.value("bitmap").value_or("");
    if (const auto rate = args.value("limit-rate")) {
        options.rate_limit = parse_size(*rate, 1).value_or(0);
        if (options.rate_limit < kMinRate) throw UsageError("--limit-rate is a size of 4K or more, a second");
    }
    const std::string compression = args.value("compression").value_or("auto");
    if (compression != "off" && compression != "auto" && compression != "max")
        throw UsageError("--compression is 'off', 'auto' or 'max', not '" + compression + "'");
    options.compression_level = compression == "max"    ? kMaxCompression
                                : compression == "auto" ? kAutoCompression
                                                        : kFastCompression;
    return options;
}

int run_create(Context& context) {
    const std::vector<BackupGuest> guests = guests_of(context.args);
    BackupOptions options = create_options(context.args);
    BackupRepository repository(access_of(context.args), true);
    int failed = 0;
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
            ++failed;
        }
    }
    if (context.wants_json()) {
        context.json.end_array();
        context.json.number("failed", failed);
        context.json.end_object();
    }
    return failed == 0 ? kExitSuccess : kExitFailure;
}

int run_list(Context& context) {
    BackupRepository repository(access_of(context.args));
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
    const bool selected = !guest.empty() || !host.empty() || !tags.empty();
    return shown.empty() && selected ? kExitNothingFound : kExitSuccess;
}

std::string snapshot_of(const Arguments& args) {
    if (args.operands().size() > 2) throw UsageError("one snapshot at a time");
    return args.operands().size() < 2 ? "latest" : args.operands()[1];
}

int run_info(Context& context) {
    BackupRepository repository(access_of(context.args));
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
    options.format = args.value("output-format").value_or("raw");
    if (options.format != "raw" && options.format != "qcow2")
        throw UsageError("--output-format is 'raw' or 'qcow2', not '" + options.format + "'");
    options.overwrite = args.has("overwrite");
    Watcher watcher(context);
    options.on_progress = [&](const BackupProgress& now) { watcher(now); };
    BackupRepository repository(access_of(args));
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
    BackupRepository repository(access_of(context.args));
    Watcher watcher(context);
    VerifyOptions options;
    options.read_data = context.args.has("read-data");
    options.inspect = context.args.has("inspect");
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
    ForgetOptions options;
    options.snapshots.assign(args.operands().begin() + 1, args.operands().end());
    options.policy.last = count_of(args, "keep-last");
    options.policy.hourly = count_of(args, "keep-hourly");
    options.policy.daily = count_of(args, "keep-daily");
    options.policy.weekly = count_of(args, "keep-weekly");
    options.policy.monthly = count_of(args, "keep-monthly");
    options.policy.yearly = count_of(args, "keep-yearly");
    if (const auto within = args.value("keep-within")) options.policy.within_seconds = duration_of(*within);
    options.policy.tags = args.values("keep-tag");
    options.guest = args.value("guest").value_or("");
    options.hostname = args.value("host").value_or("");
    options.dry_run = args.has("dry-run");
    if (options.snapshots.empty() && options.policy.empty())
        throw UsageError("forget what? Give snapshots, or what to keep: --keep-last, --keep-daily...");
    ForgetResult result;
    {
        BackupRepository repository(access_of(args));
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
    if (args.has("prune") && !options.dry_run) prune_backup_repository(access_of(args));
    return kExitSuccess;
}

// What differs between the files of two snapshots of a guest.
int run_diff(Context& context) {
    const auto& operands = context.args.operands();
    if (operands.size() != 3) throw UsageError("write: insp backup diff SNAPSHOT SNAPSHOT");
    const BackupAccess access = access_of(context.args);
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
    if (args.operands().size() != 2) throw UsageError("write: insp backup mount DIRECTORY");
    HostMountOptions options = host_mount_options(args, args.operands()[1]);
    MountProcess process(args);
    SignalScope signals;
    BackupRepository repository(access_of(args));
    options.stop_fd = signals.fd();
    options.on_mounted = [&process] { process.mounted(); };
    repository.mount_on_host(options);
    return kExitSuccess;
}

int run_backup(Context& context) {
    static constexpr struct {
        const char* name;
        int (*run)(Context&);
    } kActions[] = {{"init", run_init},     {"create", run_create},   {"list", run_list},
                    {"info", run_info},     {"restore", run_restore}, {"verify", run_verify},
                    {"forget", run_forget}, {"diff", run_diff},       {"mount", run_mount}};
    const std::string& action = context.args.operands()[0];
    for (const auto& known : kActions)
        if (action == known.name) return known.run(context);
    throw UsageError("'" + action +
                     "' is none of init, create, list, info, restore, verify, diff, forget, "
                     "mount");
}

}  // namespace

constexpr Command kBackupCommand = {
    .name = "backup",
    .summary = "back images up: deduplicated, encrypted, in restic's format",
    .operands = "init|create|list|info|restore|verify|diff|forget|mount [...]",
    .description =
        "init makes a repository; create IMAGE... backs each image up, or with -a or -d the disks\n"
        "of one guest; list shows the snapshots; info, restore and verify [SNAPSHOT] look at one,\n"
        "write its disks back, and check the repository; diff SNAPSHOT SNAPSHOT compares files;\n"
        "forget [SNAPSHOT...] removes snapshots; mount DIRECTORY shows the repository as files.\n"
        "-a backup:REPOSITORY[:SNAPSHOT[:DISK]] opens a backup in any other command.",
    .examples =
        "insp backup init --repo /srv/backups --password-file /etc/backup.key\n"
        "insp backup create --repo /srv/backups /var/lib/libvirt/images/*.qcow2\n"
        "insp backup restore web-01 --target web-01.qcow2 --output-format=qcow2\n"
        "insp backup forget --keep-daily 7 --keep-weekly 4 --prune\n"
        "insp backup mount ./backups && ls ./backups/guests/web-01/latest/ && insp umount ./backups",
    .options = kOptions,
    .shared_options = kDiskOptions | kDisksOptional | kJsonOption,
    .min_operands = 1,
    .host_operands = HostOperands::kAll,
    .operand_words = "init create list info restore verify diff forget mount",
    .run = run_backup,
};

}  // namespace inspect::cli
