// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Steps on packages, by the guest's own package manager in the guest's tree. There is no network: packages
// come from a directory of the host, which is copied into the guest meanwhile, or through an HTTP proxy whose
// socket the host reaches.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/connect.h"
#include "customize/package_manager.h"
#include "customize/steps.h"
#include "guest/guest_files.h"
#include "guest/printable.h"

namespace inspect {

namespace {

namespace fs = std::filesystem;

// In the guest's tree. A package's files hardly mean this name.
constexpr const char* kDirectory = "/insp-customize-packages";
// The proxy's, on the appliance's 127.0.0.1; none that a guest's service is known for.
constexpr uint16_t kProxyPort = 47128;
constexpr std::chrono::seconds kConnectTimeout{10};

// Where packages come from, checked before anything is begun.
struct PackageSource {
    std::string directory;  // of the host; empty: none
    std::optional<ServerAddress> proxy;
};

PackageSource source_of(const CustomizeOptions& options) {
    PackageSource source{.directory = options.package_directory, .proxy = {}};
    if (source.directory.empty() && options.package_proxy.empty())
        throw Error(ErrorKind::kUsage,
                    "the guest's programs have no network: say where packages come from "
                    "(--package-dir or --package-proxy)");
    if (!source.directory.empty() && !fs::is_directory(source.directory))
        throw Error(ErrorKind::kNotFound, "there is no directory '" + source.directory + "'");
    if (!options.package_proxy.empty()) {
        source.proxy = ServerAddress::parse(options.package_proxy);
        connect_to_server(*source.proxy, kConnectTimeout);
    }
    return source;
}

void copy_packages(Session& session, const PackageManager& manager, const std::string& from) {
    if (exists(session, kDirectory))
        throw Error(ErrorKind::kUnsupported, std::string("the guest has a file ") + kDirectory);
    session.make_directory(kDirectory);
    std::vector<std::string> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
        const std::string name = entry.path().filename().string();
        if (is_package_file(manager, name) || (name == "repodata" && entry.is_directory()))
            files.push_back(fs::canonical(entry.path()).string());
    }
    if (files.empty())
        throw Error(ErrorKind::kNotFound, "there is no package (*" + std::string(manager.suffixes) +
                                              ") in '" + from + "', and the guest's package manager is " +
                                              manager.name);
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) session.copy_in(file, kDirectory);
}

// The environment of the package manager, and what of the host it reaches.
void give_network(RunOptions& run, const ServerAddress& proxy, std::string& trouble) {
    const std::string url = "http://127.0.0.1:" + std::to_string(kProxyPort);
    for (const char* name : {"http_proxy", "https_proxy", "ftp_proxy"})
        run.environment.push_back(std::string(name) + "=" + url);
    run.environment.push_back("network=yes");
    run.service_port = kProxyPort;
    run.connect_service = [proxy, &trouble] {
        try {
            return connect_to_server(proxy, kConnectTimeout).release();
        } catch (const Error& error) {
            trouble = error.message();
            return -1;
        }
    };
}

void manage_packages(Session& session, const CustomizeOptions& options, const std::string& action,
                     const std::vector<std::string>& packages, const PackageSource& source) {
    const PackageManager& manager = package_manager_of(session);
    RunOptions run;
    run.arguments = {"/bin/sh", "-c", package_script(manager), "sh", action};
    run.arguments.insert(run.arguments.end(), packages.begin(), packages.end());
    run.chroot = true;
    run.on_output = run.on_error_output = options.on_output;
    if (!source.directory.empty()) {
        copy_packages(session, manager, source.directory);
        run.environment.push_back(std::string("packages=") + kDirectory);
    }
    std::string trouble;
    if (source.proxy) give_network(run, *source.proxy, trouble);
    try {
        require_success(session.run(run));
    } catch (const Error& error) {
        if (trouble.empty()) throw;
        throw Error(error.kind(), error.message() + "; " + trouble);
    }
    if (!source.directory.empty()) session.remove(kDirectory, true);
}

PreparedStep package_step(std::string what, std::string action, std::vector<std::string> packages,
                          PackageSource source) {
    return {std::move(what), [action = std::move(action), packages = std::move(packages),
                              source = std::move(source)](Session& session, const CustomizeOptions& options) {
                manage_packages(session, options, action, packages, source);
            }};
}

}  // namespace

PreparedStep prepare_install(const std::string& argument, const CustomizeOptions& options) {
    return package_step("Installing packages: " + printable(argument), "install",
                        parse_package_list(argument), source_of(options));
}

PreparedStep prepare_update(const std::string&, const CustomizeOptions& options) {
    return package_step("Updating packages", "update", {}, source_of(options));
}

PreparedStep prepare_uninstall(const std::string& argument, const CustomizeOptions&) {
    return package_step("Removing packages: " + printable(argument), "uninstall",
                        parse_package_list(argument), {});
}

PreparedStep prepare_firstboot_install(const std::string& argument, const CustomizeOptions&) {
    return {"Having the guest install packages at its first boot: " + printable(argument),
            [packages = parse_package_list(argument)](Session& session, const CustomizeOptions&) {
                // The guest's network is its own then.
                std::string script = "#!/bin/sh\npackages= network=yes\nset -- install";
                for (const std::string& package : packages) script += " '" + package + "'";
                leave_firstboot_script(session, "install",
                                       script + "\n" + package_script(package_manager_of(session)));
            }};
}

}  // namespace inspect
