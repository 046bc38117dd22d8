// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/customize_options.h"

#include <algorithm>

#include "cli/text.h"
#include "cli/values.h"

namespace inspect::cli {

namespace {

// What is about all operations, and is none itself.
constexpr Option kAboutAll[] = {
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
    {0, "no-network", Takes::kNothing, "", "as it always is: the guest's programs have no network"},
    {0, "no-logfile", Takes::kNothing, "", "as it always is: no log is left in the guest"},
};

// Package managers read indexes of all packages that there are.
constexpr uint64_t kMemoryForPackages = uint64_t{512} << 20;

bool is_operation(std::string_view name) {
    return std::ranges::any_of(customize_operations(),
                               [&](const CustomizeOperation& operation) { return name == operation.name; });
}

}  // namespace

std::span<const Option> customize_options() {
    static const std::vector<Option> all = [] {
        std::vector<Option> options;
        for (const CustomizeOperation& operation : customize_operations()) {
            options.push_back({.name = operation.name,
                               .takes = *operation.argument == 0 ? Takes::kNothing : Takes::kValue,
                               .value_name = operation.argument,
                               .help = operation.help});
        }
        options.insert(options.end(), std::begin(kAboutAll), std::end(kAboutAll));
        return options;
    }();
    return all;
}

CustomizeSteps customize_steps(const Arguments& arguments, CloudInitSeed* seed) {
    CustomizeSteps result;
    const auto take = [&](CustomizeStep step) {
        if (seed != nullptr && step.operation == "cloud-init")
            as_usage([&] { add_cloud_init_file(*seed, step.argument); }, "--");
        else
            result.steps.push_back(std::move(step));
    };
    for (const auto& [option, value] : arguments.given()) {
        const std::string name(option_key(*option));
        if (name == "commands-from-file") {
            for (CustomizeStep& step : as_usage([&] { return read_customize_file(*value); }, "--")) {
                result.plain_passwords = true;
                take(std::move(step));
            }
            continue;
        }
        if (!is_operation(name)) continue;
        if (option->takes == Takes::kValue && value->empty())
            throw UsageError("--" + name + " is " + option->value_name + ", not empty");
        // What stands in a file may be secret; what stands here can't.
        if ((name == "password" || name == "root-password") && value->find("password:") != value->npos)
            throw UsageError("--" + name +
                             ": a password on the command line can be read by everybody on this host; give "
                             "it by file:PATH, fd:NUMBER, env:NAME or prompt");
        take({name, value.value_or("")});
    }
    return result;
}

std::optional<std::string> host_name_of(const CustomizeSteps& steps) {
    std::optional<std::string> name;
    for (const CustomizeStep& step : steps.steps)
        if (step.operation == "hostname") name = step.argument;
    return name;
}

CustomizeWork::CustomizeWork(Context& context, const CustomizeSteps& steps)
    : wants_memory_(std::ranges::any_of(steps.steps, [](const CustomizeStep& step) {
          return step.operation == "install" || step.operation == "update";
      })) {
    const Arguments& args = context.args;
    const bool quiet = context.quiet();
    CustomizeOptions how;
    how.password_crypto = args.value("password-crypto").value_or("");
    how.package_directory = args.value("package-dir").value_or("");
    how.package_proxy = args.value("package-proxy").value_or("");
    how.allow_plain_passwords = steps.plain_passwords;
    how.on_step = [this, quiet](const std::string& what) {
        if (!quiet) write_stderr(prefix_ + what + "\n");
    };
    how.on_output = [quiet](std::span<const std::byte> bytes) {
        if (!quiet) write_stderr({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    };
    how.on_warning = [this, &context](const std::string& message) { context.warning(prefix_ + message); };
    how.on_random_password = [this](const std::string& user, const std::string& password) {
        passwords_.emplace_back(user, password);
    };
    for (const std::string& path : args.values("attach"))
        attached_.push_back(
            {.path = path, .format = args.value("attach-format").value_or(""), .read_only = true});
    as_usage([&] { customization_.emplace(steps.steps, std::move(how)); }, "--");
}

void CustomizeWork::begin_guest(const std::string& name, const std::optional<std::string>& host_name) {
    prefix_ = escape_control(name) + ": ";
    passwords_.clear();
    if (host_name) as_usage([&] { customization_->set_argument("hostname", *host_name); }, "--");
}

void passwords_json(JsonWriter& json, const Passwords& passwords) {
    json.objects("passwords", passwords, [&](const auto& entry) {
        json.text("user", entry.first);
        json.text("password", entry.second);
    });
}

void CustomizeWork::adjust(SessionOptions& options) const {
    if (wants_memory_ && options.memory_bytes == 0) options.memory_bytes = kMemoryForPackages;
    options.disks.insert(options.disks.end(), attached_.begin(), attached_.end());
}

}  // namespace inspect::cli
