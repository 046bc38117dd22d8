// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp customize: host name, passwords, users, keys, files and scripts of a guest, in the order of the
// options.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include <inspect/clone.h>
#include <inspect/cloud_init.h>
#include <inspect/customize.h>

#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

// What is about all operations, and is none itself.
constexpr Option kOptions[] = {
    {0, "commands-from-file", Takes::kValue, "FILE",
     "the operations in this file, one a line, without dashes", "", "<file>"},
    {0, "package-dir", Takes::kValue, "DIR", "packages for --install and --update are in this directory", "",
     "<directory>"},
    {0, "package-proxy", Takes::kValue, "unix:PATH|tcp:HOST:PORT",
     "or they come through this HTTP proxy; the guest reaches nothing else"},
    {0, "cloud-init-iso", Takes::kValue, "FILE",
     "what --cloud-init gives goes to a new ISO image, not to the guest", "", "<file>"},
    {0, "password-crypto", Takes::kValue, "METHOD", "hash passwords by yescrypt, sha512, sha256 or md5", "",
     "yescrypt sha512 sha256 md5"},
    {0, "attach", Takes::kValue, "ISO", "scripts find this image as a further disk; it stays as it is", "",
     "<file>"},
    {0, "attach-format", Takes::kValue, "FORMAT", "format of the images of --attach (default: detected)", "",
     "raw qcow2"},
    {'n', "dry-run", Takes::kNothing, "", "do all of it, and then leave the images as they were", "dryrun"},
    {0, "no-network", Takes::kNothing, "", "as it always is: the guest's programs have no network"},
    {0, "no-logfile", Takes::kNothing, "", "as it always is: no log is left in the guest"},
};

// Package managers read indexes of all packages that there are.
constexpr uint64_t kMemoryForPackages = uint64_t{512} << 20;

// The library's operations, and the others.
const std::vector<Option>& options() {
    static const std::vector<Option> all = [] {
        std::vector<Option> options;
        for (const CustomizeOperation& operation : customize_operations()) {
            options.push_back({.name = operation.name,
                               .takes = *operation.argument == 0 ? Takes::kNothing : Takes::kValue,
                               .value_name = operation.argument,
                               .help = operation.help});
        }
        options.insert(options.end(), std::begin(kOptions), std::end(kOptions));
        return options;
    }();
    return all;
}

// In the order in which they were given; one file's where the file was. Not those that `seed` takes.
std::vector<CustomizeStep> steps_of(const Arguments& arguments, bool& plain_passwords, CloudInitSeed* seed) {
    std::vector<CustomizeStep> steps;
    const auto take = [&](CustomizeStep step) {
        if (seed != nullptr && step.operation == "cloud-init")
            add_cloud_init_file(*seed, step.argument);
        else
            steps.push_back(std::move(step));
    };
    for (const auto& [option, value] : arguments.given()) {
        const std::string_view name = option_key(*option);
        if (name == "commands-from-file") {
            for (CustomizeStep& step : read_customize_file(*value)) {
                plain_passwords = true;
                take(std::move(step));
            }
            continue;
        }
        for (const CustomizeOperation& operation : customize_operations()) {
            if (name != operation.name) continue;
            if (option->takes == Takes::kValue && value->empty())
                throw UsageError("--" + std::string(name) + " is " + operation.argument + ", not empty");
            // What stands in a file may be secret; what stands here can't.
            if ((name == "password" || name == "root-password") && value->find("password:") != value->npos)
                throw UsageError(
                    "--" + std::string(name) +
                    ": a password on the command line can be read by everybody on this host; give it "
                    "by file:PATH, fd:NUMBER, env:NAME or prompt");
            take({std::string(name), value.value_or("")});
        }
    }
    if (steps.empty() && seed == nullptr)
        throw UsageError("there is nothing to do; see 'insp customize --help'");
    return steps;
}

// The image with the seed for cloud-init: nothing of it is there when the command fails.
class SeedImage {
  public:
    SeedImage(std::string path, CloudInitSeed seed, const std::vector<CustomizeStep>& steps)
        : path_(std::move(path)) {
        std::string host_name;
        for (const CustomizeStep& step : steps)
            if (step.operation == "hostname") host_name = step.argument;
        seed.emplace("meta-data", make_cloud_init_meta_data(host_name));
        image_ = make_cloud_init_iso(std::move(seed));
        struct stat status {};
        if (::lstat(path_.c_str(), &status) == 0)
            throw Error(ErrorKind::kDenied, "'" + path_ + "' is there already");
    }
    ~SeedImage() {
        if (written_) ::unlink(path_.c_str());
    }
    SeedImage(const SeedImage&) = delete;
    SeedImage& operator=(const SeedImage&) = delete;
    void write() {
        write_clone_file(path_, image_, false);
        written_ = true;
    }
    void keep() { written_ = false; }

  private:
    std::string path_, image_;
    bool written_ = false;
};

std::vector<DiskSpec> attached_disks(const Arguments& arguments) {
    std::vector<DiskSpec> disks;
    for (const std::string& path : arguments.values("attach"))
        disks.push_back(
            {.path = path, .format = arguments.value("attach-format").value_or(""), .read_only = true});
    return disks;
}

// Does the steps to the guest; what is random is in `random` when it is true.
void change_guest(Context& context, Customization& customization, bool many_packages, SeedImage* image) {
    Guest guest(context, Access::kChange, [&](SessionOptions& options) {
        if (many_packages && options.memory_bytes == 0) options.memory_bytes = kMemoryForPackages;
        for (DiskSpec& disk : attached_disks(context.args)) options.disks.push_back(std::move(disk));
    });
    guest.mount();
    customization.apply(guest.call("customize"));
    if (context.args.has("dry-run")) return;
    if (image != nullptr) image->write();
    guest.commit();
}

int run_customize(Context& context) {
    const Arguments& args = context.args;
    CustomizeOptions how;
    how.password_crypto = args.value("password-crypto").value_or("");
    how.package_directory = args.value("package-dir").value_or("");
    how.package_proxy = args.value("package-proxy").value_or("");
    how.on_step = [&](const std::string& what) {
        if (!context.quiet()) write_stderr(what + "\n");
    };
    how.on_output = [&](std::span<const std::byte> bytes) {
        if (!context.quiet()) write_stderr({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    };
    how.on_warning = [&](const std::string& message) { context.warning(message); };
    std::vector<std::pair<std::string, std::string>> random;
    how.on_random_password = [&](const std::string& user, const std::string& password) {
        random.emplace_back(user, password);
    };
    std::vector<CustomizeStep> steps;
    std::optional<SeedImage> image;
    std::optional<Customization> customization;
    try {
        CloudInitSeed seed;
        const auto path = args.value("cloud-init-iso");
        steps = steps_of(args, how.allow_plain_passwords, path ? &seed : nullptr);
        if (!steps.empty() && !args.has("add") && !args.has("domain") && !args.has("domain-xml"))
            throw UsageError("no disk image was given; write: insp customize -a IMAGE");
        if (path) image.emplace(*path, std::move(seed), steps);
        customization.emplace(steps, std::move(how));
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUsage || dynamic_cast<const UsageError*>(&error) != nullptr) throw;
        throw UsageError("--" + error.message());
    }
    const bool many_packages = std::ranges::any_of(steps, [](const CustomizeStep& step) {
        return step.operation == "install" || step.operation == "update";
    });
    const bool dry_run = args.has("dry-run");
    if (!steps.empty())
        change_guest(context, *customization, many_packages, image ? &*image : nullptr);
    else if (!dry_run)
        image->write();
    if (image) image->keep();
    if (dry_run) return kExitSuccess;
    // Now they are true.
    for (const auto& [user, password] : random) context.out.write(user + ": " + password + "\n");
    return kExitSuccess;
}

}  // namespace

const Command kCustomizeCommand = {
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
    .options = options(),
    .shared_options = kDiskOptions | kDisksOptional | kMountOptions,
    .max_operands = 0,
    .run = run_customize,
};

}  // namespace inspect::cli
