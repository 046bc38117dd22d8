// SPDX-License-Identifier: GPL-2.0-or-later
//
// Growing a real guest from 2 to 3 GiB: insp in place, and virt-resize --expand, which copies. And one that
// has 20 GiB: what it costs should depend on what is in it.
#include <cstdio>
#include <filesystem>
#include <vector>

#include "bench.h"

namespace inspect::bench {
namespace {

namespace fs = std::filesystem;

// The engine that is chosen for such a command.
double grow(const std::string& image, const std::string& size) {
    test::Options options = environment();
    options.env["INSP_ENGINE"] = "auto";
    return must({INSP_PROGRAM, "resize", "-q", "-a", image, "--size", size}, options).seconds;
}

double median_growth(const std::string& original, const std::string& work, const std::string& size,
                     int runs) {
    std::vector<double> seconds;
    for (int i = 0; i < runs; ++i) {
        copy_image(original, work);
        seconds.push_back(grow(work, size));
    }
    return test::median(seconds);
}

}  // namespace

int bench_resize(const BenchOptions& options) {
    const Scratch scratch("bench-resize");
    const std::string guest = options.image.empty() ? test::guest("debian12") : options.image;
    const std::string work = scratch / "work.img";
    const std::string large = scratch / "large.img";
    copy_image(guest, large);
    grow(large, "20G");  // which makes the snapshot of the appliance as well
    printf("growing a Debian guest by 1 GiB in place, medians of %d runs\n", options.runs);
    const double small = median_growth(guest, work, "+1G", options.runs);
    printf("insp resize, 2 to 3 GiB     %8.3f s\n", small);
    const double big = median_growth(large, work, "+1G", options.runs);
    printf("insp resize, 20 to 21 GiB   %8.3f s   %.2f times\n", big, big / small);
    if (!options.peer || !test::have_program("virt-resize")) {
        printf("virt-resize                 not measured%s\n",
               options.peer ? ": libguestfs is not installed" : "");
        return 0;
    }
    const test::Options peer{
        .env = {{"LIBGUESTFS_BACKEND", "direct"}, {"LIBGUESTFS_BACKEND_SETTINGS", "force_tcg"}},
        .timeout = std::chrono::minutes(20)};
    must({"rm", "-f", work});
    must({"truncate", "-s", "3G", work});
    const double theirs = must({"virt-resize", "--expand", "/dev/sda2", guest, work}, peer).seconds;
    printf("virt-resize --expand (TCG)  %8.3f s   insp is %.1f times as fast\n", theirs, theirs / small);
    return 0;
}

}  // namespace inspect::bench
