// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp mv: rename in the guest.
#include "cli/guest.h"
#include "cli/guest_path.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kMvOwnOptions[] = {
    {'n', "no-clobber", Takes::kNothing, "", "fail rather than replace what is there"},
    {'T', "no-target-directory", Takes::kNothing, "",
     "DESTINATION is the new name itself, not a directory to move into"},
};

int run_mv(Context& context) {
    std::vector<std::string> sources = context.args.operands();
    std::string destination = sources.back();
    sources.pop_back();
    bool no_clobber = context.args.has("no-clobber");
    bool exact = context.args.has("no-target-directory");
    if (exact && sources.size() > 1) throw UsageError("-T takes one source");
    Guest guest(context, Access::kChange);
    guest.mount();
    bool into = !exact && guest.is_directory(destination);
    if (!into && sources.size() > 1)
        throw Error(ErrorKind::kNotFound, "'" + destination + "' is not a directory of the guest");
    for (const std::string& source : sources) {
        std::string target = into ? join_path(destination, base_name(source)) : destination;
        guest.call("rename", {source, target}).rename(source, target, no_clobber);
    }
    guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kMvCommand = {
    .name = "mv",
    .summary = "rename or move files of the guest",
    .operands = "SOURCE... DESTINATION",
    .description =
        "Renames SOURCE, or moves it into DESTINATION where that is a directory. To another file\n"
        "system of the guest it is copied, and then removed.",
    .examples = "insp mv -a disk.img /etc/motd /etc/motd.old",
    .options = kMvOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 2,
    .run = run_mv,
};

}  // namespace inspect::cli
