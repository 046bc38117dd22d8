// SPDX-License-Identifier: LGPL-2.1-or-later
#include "customize/steps.h"

#include <fcntl.h>

#include <algorithm>
#include <array>

#include "base/fd.h"
#include "customize/accounts.h"
#include "guest/printable.h"

namespace inspect {

namespace {

// In alphabetical order: customize_operations() says so, and it is searched.
constexpr StepOperation kOperations[] = {
    {{"add-user", "NAME[:GROUP,...]", "make a user with a home directory, by the guest's own useradd"},
     prepare_add_user},
    {{"append-line", "FILE:LINE", "append a line to a file"}, prepare_append_line},
    {{"chmod", "PERMISSIONS:FILE", "change the permissions of a file"}, prepare_chmod},
    {{"chown", "UID.GID:PATH", "change the owner of a file"}, prepare_chown},
    {{"cloud-init", "FILE:NAME", "put a file into cloud-init's NoCloud seed: user-data, meta-data, ..."},
     prepare_cloud_init},
    {{"copy", "SOURCE:DEST", "copy a file or a directory within the guest"}, prepare_copy},
    {{"copy-in", "LOCALPATH:REMOTEDIR", "copy files of the host into a directory of the guest"},
     prepare_copy_in},
    {{"delete", "PATH", "delete a file or a directory; the path may be a pattern"}, prepare_delete},
    {{"edit", "FILE:EXPR", "change a file by a Perl expression"}, prepare_edit},
    {{"firstboot", "SCRIPT", "run a script of the host's at the guest's next boot"}, prepare_firstboot},
    {{"firstboot-command", "COMMAND", "run a command at the guest's next boot"}, prepare_firstboot_command},
    {{"firstboot-install", "PKG,...", "have the guest install packages at its next boot"},
     prepare_firstboot_install},
    {{"hostname", "NAME", "set the host name"}, prepare_hostname},
    {{"install", "PKG,...", "install packages; see --package-dir and --package-proxy"}, prepare_install},
    {{"link", "TARGET:LINK[:LINK...]", "make symbolic links"}, prepare_link},
    {{"locale", "LOCALE", "set the language of the system: C.UTF-8, de_DE.UTF-8"}, prepare_locale},
    {{"mkdir", "DIR", "make a directory, and those above it"}, prepare_mkdir},
    {{"move", "SOURCE:DEST", "move a file within the guest"}, prepare_move},
    {{"password", "USER:SELECTOR", "set a user's password: file:PATH, env:NAME, random, disabled, ..."},
     prepare_password},
    {{"root-password", "SELECTOR", "set root's password"}, prepare_root_password},
    {{"run", "SCRIPT", "run a script of the host's in the guest's tree"}, prepare_run},
    {{"run-command", "COMMAND", "run a command in the guest's tree"}, prepare_run_command},
    {{"scrub", "FILE", "overwrite a file, then delete it"}, prepare_scrub},
    {{"selinux-relabel", "", "give all files the SELinux labels that the guest's policy says"},
     prepare_selinux_relabel},
    {{"ssh-inject", "USER[:SELECTOR]", "let a public key in: file:PATH or string:KEY; else your own"},
     prepare_ssh_inject},
    {{"timezone", "TIMEZONE", "set the time zone: Europe/Berlin"}, prepare_timezone},
    {{"touch", "FILE", "make a file, or set its times to now"}, prepare_touch},
    {{"truncate", "FILE", "make a file empty"}, prepare_truncate},
    {{"truncate-recursive", "PATH", "make all files below a directory empty"}, prepare_truncate_recursive},
    {{"uninstall", "PKG,...", "remove packages, by the guest's own package manager"}, prepare_uninstall},
    {{"update", "", "update the guest's packages; see --package-dir and --package-proxy"}, prepare_update},
    {{"upload", "FILE:DEST", "copy a file of the host's to a path of the guest"}, prepare_upload},
    {{"write", "FILE:CONTENT", "write a file"}, prepare_write},
};

constexpr bool by_name(const StepOperation& a, const StepOperation& b) {
    return std::string_view(a.shown.name) < b.shown.name;
}
static_assert(std::is_sorted(std::begin(kOperations), std::end(kOperations), by_name));

constexpr auto kShown = [] {
    std::array<CustomizeOperation, std::size(kOperations)> shown{};
    std::transform(std::begin(kOperations), std::end(kOperations), shown.begin(),
                   [](const StepOperation& operation) { return operation.shown; });
    return shown;
}();

}  // namespace

std::span<const CustomizeOperation> customize_operations() noexcept { return kShown; }

const StepOperation* find_customize_operation(std::string_view name) {
    for (const StepOperation& operation : kOperations)
        if (name == operation.shown.name) return &operation;
    return nullptr;
}

std::pair<std::string, std::string> split_argument(const std::string& argument, const char* form) {
    const size_t colon = argument.find(':');
    if (colon == argument.npos || colon == 0)
        throw Error(ErrorKind::kUsage, "'" + printable(argument) + "' is not of the form " + form);
    return {argument.substr(0, colon), argument.substr(colon + 1)};
}

namespace {

PreparedStep prepare_step(const CustomizeStep& step, const CustomizeOptions& options) {
    const StepOperation* operation = find_customize_operation(step.operation);
    if (!operation)
        throw Error(ErrorKind::kUsage, "there is no operation '" + printable(step.operation) + "'");
    if (step.argument.empty() != (*operation->shown.argument == 0))
        throw Error(ErrorKind::kUsage,
                    step.operation + (step.argument.empty() ? " needs an argument: " : " takes no argument") +
                        operation->shown.argument);
    try {
        return operation->prepare(step.argument, options);
    } catch (const Error& error) {
        throw error.with_context(step.operation);
    }
}

}  // namespace

std::string read_input(const std::string& path, size_t most) {
    const Fd fd = open_file(path, O_RDONLY);
    std::string text;
    constexpr size_t kPiece = 64 << 10;
    const auto too_much = [&] {
        return Error(ErrorKind::kUnsupported,
                     "'" + path + "' has more than " + std::to_string(most >> 10) + " KiB");
    };
    for (size_t got = kPiece; got == kPiece;) {
        const size_t before = text.size();
        if (before > most) throw too_much();
        text.resize(before + kPiece);
        got = read_full(fd.get(), std::as_writable_bytes(std::span(text).subspan(before)), "read the file");
        text.resize(before + got);
    }
    if (text.size() > most) throw too_much();
    return text;
}

struct Customization::Impl {
    std::vector<std::string> operations;  // of the steps
    std::vector<PreparedStep> steps;
    CustomizeOptions options;

    void add(std::string operation, PreparedStep step) {
        operations.push_back(std::move(operation));
        steps.push_back(std::move(step));
    }
};

Customization::Customization(const std::vector<CustomizeStep>& steps, CustomizeOptions options)
    : impl_(std::make_unique<Impl>()) {
    impl_->options = std::move(options);
    try {
        if (!impl_->options.password_crypto.empty()) require_hash_method(impl_->options.password_crypto);
    } catch (const Error& error) {
        throw error.with_context("password-crypto");
    }
    impl_->add("", prepare_random_seed());
    // New files want labels, too.
    std::vector<CustomizeStep> ordered = steps;
    std::ranges::stable_partition(
        ordered, [](const CustomizeStep& step) { return step.operation != "selinux-relabel"; });
    for (const CustomizeStep& step : ordered) impl_->add(step.operation, prepare_step(step, impl_->options));
}

Customization::~Customization() = default;
Customization::Customization(Customization&&) noexcept = default;
Customization& Customization::operator=(Customization&&) noexcept = default;

std::vector<std::string> Customization::steps() const {
    std::vector<std::string> sentences;
    for (const PreparedStep& step : impl_->steps) sentences.push_back(step.what);
    return sentences;
}

void Customization::set_argument(std::string_view operation, const std::string& argument) {
    for (size_t i = 0; i < impl_->steps.size(); ++i)
        if (impl_->operations[i] == operation)
            impl_->steps[i] = prepare_step({std::string(operation), argument}, impl_->options);
}

void Customization::apply(Session& session) {
    // A mount that failed may show only now, and must not pass for files that aren't there.
    session.stat("/");
    for (const PreparedStep& step : impl_->steps) {
        if (impl_->options.on_step) impl_->options.on_step(step.what);
        try {
            step.apply(session, impl_->options);
        } catch (const Error& error) {
            throw error.with_context(step.what);
        }
    }
}

}  // namespace inspect
