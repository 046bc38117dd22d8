// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Steps that set what the system as a whole is called, where it is and what it speaks.
#include <algorithm>
#include <span>

#include <inspect/cloud_init.h>

#include "base/uuid.h"
#include "customize/host_name.h"
#include "customize/steps.h"
#include "guest/guest_files.h"
#include "guest/printable.h"

namespace inspect {

namespace {

// Where the appliance has the guest's tree.
const std::string kSysroot = "/sysroot";

void set_host_name(Session& session, const std::string& name) {
    constexpr const char* kHostname = "/etc/hostname";
    constexpr const char* kSysconfig = "/etc/sysconfig/network";  // Red Hat before systemd
    constexpr const char* kSuse = "/etc/HOSTNAME";
    const std::optional<std::string> present = read_text(session, kHostname);
    std::string old = name_in_hostname_file(present.value_or(""));
    if (const std::optional<std::string> text = read_text(session, kSysconfig)) {
        if (const std::optional<std::string> changed = sysconfig_with_name(*text, name))
            write_text(session, kSysconfig, *changed);
    }
    if (const std::optional<std::string> text = read_text(session, kSuse); text && !present) {
        if (old.empty()) old = name_in_hostname_file(*text);
        write_text(session, kSuse, name + "\n");
    }
    write_text(session, kHostname, name + "\n");
    if (const std::optional<std::string> hosts = read_text(session, "/etc/hosts")) {
        const std::string changed = hosts_with_name(*hosts, old, name);
        if (changed != *hosts) write_text(session, "/etc/hosts", changed);
    }
}

// A path below a directory: words of letters, digits and "_+-", joined by slashes.
bool is_zone_name(const std::string& name) {
    if (name.empty() || name.front() == '/' || name.back() == '/' || name.find("..") != name.npos)
        return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '+' || c == '-' || c == '/';
    });
}

void set_time_zone(Session& session, const std::string& zone) {
    const std::string file = "/usr/share/zoneinfo/" + zone;
    if (!exists(session, file))
        throw Error(ErrorKind::kNotFound, "the guest doesn't know the time zone: it has no " + file);
    session.link(".." + file, "/etc/localtime", true, true);
    // Debian's own record of it.
    if (exists(session, "/etc/timezone")) write_text(session, "/etc/timezone", zone + "\n");
}

// The text with this variable set, in the form that /etc/locale.conf and /etc/default/locale share.
std::string with_variable(std::string text, const std::string& name, const std::string& value) {
    const std::string line = name + "=" + value;
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        if (text.compare(at, name.size() + 1, name + "=") == 0) return text.replace(at, end - at, line);
        at = end + 1;
    }
    if (!text.empty() && text.back() != '\n') text += '\n';
    return text + line + "\n";
}

void set_locale(Session& session, const std::string& locale) {
    const bool debian = exists(session, "/etc/debian_version");
    const std::string file = debian ? "/etc/default/locale" : "/etc/locale.conf";
    write_text(session, file, with_variable(read_text(session, file).value_or(""), "LANG", locale));
}

// The value of a variable in /etc/selinux/config; empty: it has none.
std::string selinux_setting(const std::string& config, const std::string& name) {
    for (size_t at = 0; at < config.size();) {
        const size_t end = std::min(config.find('\n', at), config.size());
        if (config.compare(at, name.size() + 1, name + "=") == 0) {
            const std::string value = config.substr(at + name.size() + 1, end - at - name.size() - 1);
            return value.substr(0, value.find_first_of(" \t\r#"));
        }
        at = end + 1;
    }
    return {};
}

// By setfiles in the appliance and the guest's own file contexts; where that fails, by the guest at its next
// boot.
void relabel(Session& session, const CustomizeOptions& options) {
    const std::string config = read_text(session, "/etc/selinux/config").value_or("");
    const std::string type = selinux_setting(config, "SELINUXTYPE");
    if (config.empty() || selinux_setting(config, "SELINUX") == "disabled") return;  // it uses no labels
    const std::string contexts = "/etc/selinux/" + type + "/contexts/files/file_contexts";
    std::string trouble = "it has no " + contexts;
    if (!type.empty() && type.find('/') == type.npos && exists(session, contexts)) {
        // -F: all of a label, not its type alone; -m: which mounts have labels only a kernel with SELinux
        // could tell.
        const RunResult result =
            session.run({.arguments = {"setfiles", "-F", "-m", "-r", kSysroot, kSysroot + contexts, kSysroot},
                         .on_output = options.on_output,
                         .on_error_output = options.on_output});
        if (result.succeeded()) return session.remove("/.autorelabel", false, true);
        trouble = "setfiles failed";
    }
    session.touch("/.autorelabel");
    if (options.on_warning)
        options.on_warning("the files have no new SELinux labels yet (" + printable(trouble) +
                           "): the guest gives them at its next boot");
}

}  // namespace

PreparedStep prepare_hostname(const std::string& argument, const CustomizeOptions&) {
    if (!is_host_name(argument))
        throw Error(ErrorKind::kUsage,
                    "'" + printable(argument) +
                        "' is not a host name: letters, digits and hyphens, 64 at most, in parts "
                        "joined by dots");
    return {"Setting the host name: " + argument,
            [argument](Session& session, const CustomizeOptions&) { set_host_name(session, argument); }};
}

PreparedStep prepare_timezone(const std::string& argument, const CustomizeOptions&) {
    if (!is_zone_name(argument))
        throw Error(ErrorKind::kUsage, "'" + printable(argument) + "' is not the name of a time zone");
    return {"Setting the time zone: " + argument,
            [argument](Session& session, const CustomizeOptions&) { set_time_zone(session, argument); }};
}

PreparedStep prepare_locale(const std::string& argument, const CustomizeOptions&) {
    const bool fits = std::all_of(argument.begin(), argument.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("_.@-").find(c) != std::string_view::npos;
    });
    if (!fits) throw Error(ErrorKind::kUsage, "'" + printable(argument) + "' is not the name of a locale");
    return {"Setting the locale: " + argument,
            [argument](Session& session, const CustomizeOptions&) { set_locale(session, argument); }};
}

PreparedStep prepare_selinux_relabel(const std::string&, const CustomizeOptions&) {
    return {"Giving the files their SELinux labels", relabel};
}

// cloud-init's documentation, "NoCloud": files in /var/lib/cloud/seed/nocloud.
PreparedStep prepare_cloud_init(const std::string& argument, const CustomizeOptions&) {
    CloudInitSeed seed;
    add_cloud_init_file(seed, argument);
    const auto& [name, text] = *seed.begin();
    return {"Seeding cloud-init: " + name,
            [name = name, text = text](Session& session, const CustomizeOptions&) {
                const std::string directory = "/var/lib/cloud/seed/nocloud";
                session.make_directory(directory, true);
                write_text(session, directory + "/" + name, text, 0600);
                // NoCloud wants both. An instance-id of its own, so that cloud-init takes the guest for a new
                // one; no host name, which may be set by a step yet to come.
                if (!exists(session, directory + "/user-data"))
                    write_text(session, directory + "/user-data", "", 0600);
                if (!exists(session, directory + "/meta-data"))
                    write_text(session, directory + "/meta-data", make_cloud_init_meta_data(""), 0600);
            }};
}

PreparedStep prepare_random_seed() {
    return {"Renewing the random seed", [](Session& session, const CustomizeOptions&) {
                std::string seed(512, '\0');
                draw_random(std::as_writable_bytes(std::span(seed)));
                // systemd; Red Hat, and Debian, before it.
                for (const char* path :
                     {"/var/lib/systemd/random-seed", "/var/lib/random-seed", "/var/lib/urandom/random-seed"})
                    if (exists(session, path)) write_text(session, path, seed, 0600);
            }};
}

}  // namespace inspect
