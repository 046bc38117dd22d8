// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A step of a customization: what its operation made of its argument on the host, ready to be done in a
// guest. The operations are in *_steps.cc, one group a file; steps.cc has the table.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <inspect/customize.h>

namespace inspect {

struct PreparedStep {
    std::string what;  // a sentence for the user, printable
    std::function<void(Session&, const CustomizeOptions&)> apply;
};

// Throws Error(kUsage) for an argument of the wrong form; reads what the step needs of the host.
using PrepareStep = PreparedStep (*)(const std::string& argument, const CustomizeOptions& options);

struct StepOperation {
    CustomizeOperation shown;
    PrepareStep prepare;
};
const StepOperation* find_customize_operation(std::string_view name);

// read_customize_file() of a text; `name` is what errors call it.
std::vector<CustomizeStep> parse_customize_commands(std::string_view text, const std::string& name);

// All of a file of the host's that a step is made of. Throws Error; kUnsupported when it has more than `most`
// bytes: a part of a script would do something else.
std::string read_input(const std::string& path, size_t most);

// "A:B" at the first colon. Throws Error(kUsage) that shows `form` when there is none, or nothing before it.
std::pair<std::string, std::string> split_argument(const std::string& argument, const char* form);

// account_steps.cc
PreparedStep prepare_password(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_root_password(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_ssh_inject(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_add_user(const std::string& argument, const CustomizeOptions& options);
// file_steps.cc
PreparedStep prepare_append_line(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_chmod(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_chown(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_copy(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_copy_in(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_delete(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_edit(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_link(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_mkdir(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_move(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_scrub(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_touch(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_truncate(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_truncate_recursive(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_upload(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_write(const std::string& argument, const CustomizeOptions& options);
// script_steps.cc
PreparedStep prepare_firstboot(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_firstboot_command(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_run(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_run_command(const std::string& argument, const CustomizeOptions& options);
// Throws Error when a program failed, or could not be started.
void require_success(const RunResult& result);
// The guest runs it at its next boot, behind those that were left before.
void leave_firstboot_script(Session& session, const std::string& name, const std::string& text);

// package_steps.cc
PreparedStep prepare_firstboot_install(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_install(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_uninstall(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_update(const std::string& argument, const CustomizeOptions& options);
// system_steps.cc
PreparedStep prepare_cloud_init(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_hostname(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_locale(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_selinux_relabel(const std::string& argument, const CustomizeOptions& options);
PreparedStep prepare_timezone(const std::string& argument, const CustomizeOptions& options);
// Not an operation: what every customization does first.
PreparedStep prepare_random_seed();

}  // namespace inspect
