// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Steps that run something: in the guest's tree now, or in the guest at its next boot.
#include <cstdio>

#include "customize/steps.h"
#include "guest/guest_files.h"
#include "guest/names.h"
#include "guest/printable.h"

namespace inspect {

namespace {

constexpr size_t kMostScript = 64 << 20;

std::string read_script(const std::string& path) {
    std::string text = read_input(path, kMostScript);
    if (text.empty()) throw Error(ErrorKind::kUsage, "'" + path + "' is empty");
    // One that doesn't say who runs it is the shell's; a program may be one in machine code.
    const bool says = text.starts_with("#!") || text.starts_with(
                                                    "\x7f"
                                                    "ELF");
    return says ? text : "#!/bin/sh\n" + text;
}

void run_in_guest(Session& session, std::vector<std::string> command, const CustomizeOptions& options) {
    require_success(session.run({.arguments = std::move(command),
                                 .chroot = true,
                                 .on_output = options.on_output,
                                 .on_error_output = options.on_output}));
}

// ---- the next boot

constexpr const char* kDirectory = "/usr/lib/libinspect/firstboot";
constexpr const char* kName = "libinspect-firstboot";

constexpr const char* kRunner = R"(#!/bin/sh
# Runs the scripts that were left here for the first boot, each once, in order. Left by "insp customize".
directory=/usr/lib/libinspect/firstboot
exec >>/var/log/libinspect-firstboot.log 2>&1
mkdir -p "$directory/done"
for script in "$directory"/scripts/*; do
    [ -f "$script" ] || continue
    name=${script##*/}
    # Moved first, so that one that ends the system doesn't run for ever.
    mv "$script" "$directory/done/$name"
    echo "$(date): $name"
    "$directory/done/$name"
    echo "$(date): $name ended with $?"
done
)";

constexpr const char* kUnit = R"([Unit]
Description=Scripts left by insp customize for the first boot
After=network.target
ConditionDirectoryNotEmpty=/usr/lib/libinspect/firstboot/scripts

[Service]
Type=oneshot
ExecStart=/usr/lib/libinspect/firstboot/run
RemainAfterExit=yes
StandardOutput=journal+console
TimeoutSec=0

[Install]
WantedBy=multi-user.target
)";

constexpr const char* kSysvScript = R"(#!/bin/sh
### BEGIN INIT INFO
# Provides:          libinspect-firstboot
# Required-Start:    $remote_fs $syslog
# Required-Stop:
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: Scripts left by insp customize for the first boot
### END INIT INFO
# chkconfig: 2345 99 01
[ "$1" != start ] || /usr/lib/libinspect/firstboot/run
)";

constexpr const char* kOpenRcScript = R"(#!/sbin/openrc-run
description="Scripts left by insp customize for the first boot"
depend() { after net; }
start() {
    ebegin "Running the first boot's scripts"
    /usr/lib/libinspect/firstboot/run
    eend 0
}
)";

// What starts the runner at boot, in whatever way this guest boots.
void install_runner(Session& session) {
    const std::string run = std::string(kDirectory) + "/run";
    if (exists(session, run)) return;
    session.make_directory(std::string(kDirectory) + "/scripts", true);
    write_text(session, run, kRunner, 0755);
    const std::string name = kName, init = "/etc/init.d/" + name;
    if (exists(session, "/lib/systemd/systemd") || exists(session, "/usr/lib/systemd/systemd")) {
        const std::string unit = "/etc/systemd/system/" + name + ".service";
        session.make_directory("/etc/systemd/system/multi-user.target.wants", true);
        write_text(session, unit, kUnit);
        session.link(unit, "/etc/systemd/system/multi-user.target.wants/" + name + ".service", true, true);
        return;
    }
    if (exists(session, "/sbin/openrc-run") || exists(session, "/usr/sbin/openrc-run")) {
        write_text(session, init, kOpenRcScript, 0755);
        session.make_directory("/etc/runlevels/default", true);
        session.link(init, "/etc/runlevels/default/" + name, true, true);
        return;
    }
    bool linked = false;
    for (const std::string top : {"/etc", "/etc/rc.d"}) {
        if (!is_directory(session, top + "/rc2.d")) continue;
        for (const char level : {'2', '3', '4', '5'}) {
            const std::string directory = top + "/rc" + level + ".d";
            if (is_directory(session, directory)) session.link(init, directory + "/S99" + name, true, true);
        }
        linked = true;
    }
    if (!linked)
        throw Error(ErrorKind::kUnsupported,
                    "the guest boots neither by systemd nor by OpenRC nor by System V's scripts");
    write_text(session, init, kSysvScript, 0755);
}

}  // namespace

void require_success(const RunResult& result) {
    if (!result.not_started.empty()) throw Error(ErrorKind::kNotFound, result.not_started);
    if (result.signal != 0)
        throw Error(ErrorKind::kDenied, "it died of signal " + std::to_string(result.signal));
    if (result.exit_status != 0)
        throw Error(ErrorKind::kDenied, "it failed with exit code " + std::to_string(result.exit_status));
}

void leave_firstboot_script(Session& session, const std::string& name, const std::string& text) {
    install_runner(session);
    const std::string scripts = std::string(kDirectory) + "/scripts";
    unsigned count = 0;
    session.list_directory(scripts, false, false, [&](const DirectoryEntry&) { ++count; });
    char number[16];
    std::snprintf(number, sizeof number, "%04u-", count + 1);
    write_text(session, scripts + "/" + number + name, text, 0755);
}

PreparedStep prepare_run(const std::string& argument, const CustomizeOptions&) {
    const std::string text = read_script(argument);
    return {"Running " + printable(argument), [text](Session& session, const CustomizeOptions& options) {
                const std::string path = "/insp-customize-script";
                if (exists(session, path))
                    throw Error(ErrorKind::kUnsupported, "the guest has a file " + path);
                write_text(session, path, text, 0700);
                run_in_guest(session, {path}, options);
                session.remove(path, false, true);
            }};
}

PreparedStep prepare_run_command(const std::string& argument, const CustomizeOptions&) {
    return {"Running " + printable(argument), [argument](Session& session, const CustomizeOptions& options) {
                run_in_guest(session, {"/bin/sh", "-c", argument}, options);
            }};
}

PreparedStep prepare_firstboot(const std::string& argument, const CustomizeOptions&) {
    std::string name;
    for (char c : last_name(argument)) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           c == '.' || c == '_' || c == '-';
        name += plain ? c : '-';
    }
    const std::string text = read_script(argument);
    return {"Leaving a script for the first boot: " + printable(argument),
            [name, text](Session& session, const CustomizeOptions&) {
                leave_firstboot_script(session, name, text);
            }};
}

PreparedStep prepare_firstboot_command(const std::string& argument, const CustomizeOptions&) {
    return {"Leaving a command for the first boot: " + printable(argument),
            [argument](Session& session, const CustomizeOptions&) {
                leave_firstboot_script(session, "command", "#!/bin/sh\n" + argument + "\n");
            }};
}

}  // namespace inspect
