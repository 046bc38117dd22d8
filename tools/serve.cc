// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp serve: a disk image as an NBD export, for whoever speaks NBD.
#include <inspect/image.h>

#include "cli/guest.h"
#include "cli/signals.h"
#include "cli/values.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kServeOwnOptions[] = {
    {0, "socket", Takes::kValue, "PATH", "serve on this Unix socket", "", "<file>"},
    {0, "port", Takes::kValue, "N", "serve on this port of the loopback interface; 0: any that is free"},
    {0, "export-name", Takes::kValue, "NAME", "the export's name; clients may leave it out"},
    {0, "read-only", Takes::kNothing, "", "clients may not write"},
    {0, "once", Takes::kNothing, "", "end when the last client has gone"},
};

constexpr uint64_t kMaxPort = 65535;

int run_serve(Context& context) {
    const Arguments& args = context.args;
    const std::vector<DiskSpec> disks = disk_specs(args);
    if (disks.size() != 1) throw UsageError("one image is served at a time: give -a once");
    if (args.has("socket") && args.has("port"))
        throw UsageError("--socket and --port can't be used together");
    ServeOptions options;
    options.socket_path = args.value("socket").value_or("");
    options.port = static_cast<uint16_t>(number_of(args, "port", kMaxPort).value_or(0));
    options.export_name = args.value("export-name").value_or("");
    options.writable =
        !args.has("read-only") && !args.has("ro") && disks[0].snapshot.empty() && !disks[0].read_only;
    options.write_mode = write_mode_of(args);
    options.once = args.has("once");
    options.on_ready = [&](const std::string& uri) {
        context.out.write(uri + "\n");
        context.out.flush();
    };
    SignalScope signals;
    options.stop_fd = signals.fd();
    const bool changed = serve_image(disks[0], options);
    context.note(changed ? "the changes are in the image" : "nothing changed in the image");
    return kExitSuccess;
}

}  // namespace

constexpr Command kServeCommand = {
    .name = "serve",
    .summary = "serve an image to NBD clients",
    .operands = "",
    .description =
        "Serves the disk as an NBD export and prints its URI. What clients wrote reaches the image\n"
        "when it ends (by SIGINT or SIGTERM, or with --once): all of it or, if it is killed, nothing.",
    .examples =
        "insp serve -a disk.qcow2 --socket ./disk.sock\n"
        "insp serve -a disk.qcow2 --read-only --port 10809 --once",
    .options = kServeOwnOptions,
    .shared_options = kDiskOptions | kNoAppliance,
    .max_operands = 0,
    .run = run_serve,
};

}  // namespace inspect::cli
