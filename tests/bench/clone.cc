// SPDX-License-Identifier: GPL-2.0-or-later
//
// Clones of a real guest: twenty overlays against one edit, and one clone of its own against cp and
// virt-sysprep.
#include <cstdio>
#include <filesystem>
#include <vector>

#include "bench.h"

namespace inspect::bench {
namespace {

namespace fs = std::filesystem;

// The engine that is chosen for such a command.
double insp_seconds(test::Args args) {
    test::Options options = environment();
    options.env["INSP_ENGINE"] = "auto";
    args.insert(args.begin(), INSP_PROGRAM);
    return must(args, options).seconds;
}

}  // namespace

int bench_clone(const BenchOptions& options) {
    const Scratch scratch("bench-clone");
    const std::string guest = options.image.empty() ? test::guest("debian12") : options.image;
    const std::string source = scratch / "source.img", clone = scratch / "clone.img";
    const std::string folder = scratch / "clones";
    copy_image(guest, source);
    const test::Args edit = {"edit", "-q", "-a", source, "-e", "s/localhost/localhost /", "/etc/hosts"};
    const test::Args sysprep = {"clone", "-q", "--format=raw", "--sysprep", "-a", source, "-o", clone};
    insp_seconds(edit);  // which makes the snapshot of the appliance as well
    insp_seconds(sysprep);
    std::vector<double> edits, overlays, clones;
    for (int i = 0; i < options.runs; ++i) {
        edits.push_back(insp_seconds(edit));
        fs::remove_all(folder);
        fs::create_directory(folder);
        overlays.push_back(insp_seconds({"clone", "-q", "--format=raw", "--method=overlay", "-a", source,
                                         "-o", folder, "--count", "20", "--name-pattern", "web-%02d"}));
        fs::remove(clone);
        clones.push_back(insp_seconds(sysprep));
    }
    const double one_edit = test::median(edits), twenty = test::median(overlays);
    const double ours = test::median(clones);
    printf("clones of a Debian guest, medians of %d runs\n", options.runs);
    printf("insp edit                        %8.3f s\n", one_edit);
    printf("20 clones, --method=overlay      %8.3f s   %.2f times an edit\n", twenty, twenty / one_edit);
    printf("one clone, --sysprep             %8.3f s\n", ours);
    if (!options.peer || !test::have_program("virt-sysprep")) {
        printf("cp and virt-sysprep              not measured%s\n",
               options.peer ? ": it is not installed (guestfs-tools)" : "");
        return 0;
    }
    const test::Options peer{
        .env = {{"LIBGUESTFS_BACKEND", "direct"}, {"LIBGUESTFS_BACKEND_SETTINGS", "force_tcg"}},
        .timeout = std::chrono::minutes(20)};
    fs::remove(clone);
    double theirs = must({"cp", source, clone}).seconds;
    theirs += must({"virt-sysprep", "-q", "--format", "raw", "-a", clone}, peer).seconds;
    printf("cp and virt-sysprep (TCG)        %8.3f s   insp is %.1f times as fast\n", theirs, theirs / ours);
    return 0;
}

}  // namespace inspect::bench
