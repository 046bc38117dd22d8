// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp inspect: which operating systems the disks hold.
#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

std::string as_text(const OperatingSystem& os) {
    std::vector<std::vector<std::string>> rows;
    auto row = [&](const char* name, const std::string& value) {
        if (!value.empty()) rows.push_back({std::string("  ") + name, escape_message(value)});
    };
    row("Type", os.type);
    row("Distribution", os.distro);
    row("Product", os.product_name);
    row("Variant", os.product_variant);
    if (os.major_version != 0 || os.minor_version != 0)
        row("Version", std::to_string(os.major_version) + "." + std::to_string(os.minor_version));
    row("Version ID", os.version_id);
    row("Build ID", os.build_id);
    row("Osinfo", os.osinfo_id);
    row("Architecture", os.architecture);
    row("Hostname", os.hostname);
    row("Machine ID", os.machine_id);
    row("Package format", os.package_format);
    row("Package manager", os.package_management);
    std::string out = escape_message(os.root) + "\n" + table(rows, {});
    if (!os.mountpoints.empty()) out += "  Mount points\n";
    rows.clear();
    for (const MountPoint& mount : os.mountpoints) {
        auto cell = [](const std::string& text) { return text.empty() ? "-" : escape_message(text); };
        rows.push_back({"    " + cell(mount.path), cell(mount.device), cell(mount.type), cell(mount.options),
                        cell(mount.spec)});
    }
    return out + table(rows, {});
}

void print_json(JsonWriter& json, const std::vector<OperatingSystem>& systems) {
    json.begin_object();
    json.objects("operating_systems", systems, [&](const OperatingSystem& os) {
        json.text("root", os.root);
        json.optional_text("type", os.type);
        json.optional_text("distro", os.distro);
        json.optional_text("product_name", os.product_name);
        json.optional_text("product_variant", os.product_variant);
        json.number("major_version", os.major_version);
        json.number("minor_version", os.minor_version);
        json.optional_text("version_id", os.version_id);
        json.optional_text("build_id", os.build_id);
        json.optional_text("osinfo_id", os.osinfo_id);
        json.optional_text("architecture", os.architecture);
        json.optional_text("hostname", os.hostname);
        json.optional_text("machine_id", os.machine_id);
        json.optional_text("package_format", os.package_format);
        json.optional_text("package_management", os.package_management);
        json.objects("mountpoints", os.mountpoints, [&](const MountPoint& mount) {
            json.text("path", mount.path);
            json.text("device", mount.device);
            json.optional_text("type", mount.type);
            json.optional_text("options", mount.options);
            json.optional_text("spec", mount.spec);
        });
        json.texts("warnings", os.warnings);
    });
    json.end_object();
}

int run_inspect(Context& context) {
    Guest guest(context, Access::kRead);
    std::vector<OperatingSystem> systems = guest.call("inspect").inspect();
    for (const OperatingSystem& os : systems)
        for (const std::string& warning : os.warnings) context.warning(os.root + ": " + warning);
    if (context.wants_json()) print_json(context.json, systems);
    if (systems.empty()) {
        context.error("no operating system was found; 'insp filesystems' shows what is there");
        context.out.flush();
        return kExitNothingFound;
    }
    if (!context.wants_json()) {
        const char* separator = "";
        for (const OperatingSystem& os : systems) {
            context.out.write(separator);
            context.out.write(as_text(os));
            separator = "\n";
        }
    }
    context.out.flush();
    return kExitSuccess;
}

}  // namespace

constexpr Command kInspectCommand = {
    .name = "inspect",
    .summary = "tell which operating systems the disks hold",
    .operands = "",
    .description =
        "Shows each operating system: distribution, version, architecture, host name, mount points,\n"
        "package format. Exit code 3 when there is none.",
    .examples =
        "insp inspect -a disk.img\n"
        "insp inspect -a disk.img --json | jq -r '.operating_systems[0].product_name'",
    .options = {},
    .shared_options = kDiskOptions | kJsonOption,
    .max_operands = 0,
    .run = run_inspect,
};

}  // namespace inspect::cli
