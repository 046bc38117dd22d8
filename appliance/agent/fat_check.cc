// SPDX-License-Identifier: GPL-2.0-or-later
#include "fat_check.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <algorithm>
#include <iterator>

#include "base/fd.h"
#include "failure.h"
#include "fat_resize.h"

namespace inspect::agent {

namespace {

// Of fsck.fat 4.2: its name, what it says of the label and of the free clusters, what it does, and in the end
// what it has seen ("/dev/vda1: 3 files, 5/51091 clusters").
constexpr std::string_view kHarmless[] = {"fsck.fat ",
                                          "There is no label in boot sector, but there is volume label",
                                          "  Auto-copying volume label from root directory to boot sector.",
                                          "Free cluster summary uninitialized",
                                          "Leaving filesystem unchanged.",
                                          "/dev/"};

bool is_harmless(std::string_view line) {
    return line.empty() || std::any_of(std::begin(kHarmless), std::end(kHarmless),
                                       [&](std::string_view words) { return line.starts_with(words); });
}

}  // namespace

bool fat_is_sound(std::string_view output) {
    while (!output.empty()) {
        const size_t end = std::min(output.find('\n'), output.size());
        if (!is_harmless(output.substr(0, end))) return false;
        output.remove_prefix(std::min(end + 1, output.size()));
    }
    return true;
}

void check_fat(Programs& programs, const Volume& volume, const std::function<void()>& poll) {
    const Fd device = open_file(volume.node, O_RDONLY);
    const std::optional<FatLayout> layout = read_fat_layout(device.get(), 0);
    constexpr uint64_t kMostClusters = 2 << 20;  // of which it keeps 16 bytes each
    if (layout && layout->clusters > kMostClusters) return verify_fat(device.get(), 0, poll);
    const ProgramResult result = programs.run({"/usr/sbin/fsck.fat", "-n", volume.node});
    constexpr int kFoundSomething = 1;
    const int status = result.child.status;
    if (result.child.succeeded()) return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == kFoundSomething && !result.output.empty() &&
        fat_is_sound(result.output))
        return;
    throw Failure(proto::CORRUPT,
                  "the file system on " + volume.device +
                      " has errors, or wasn't unmounted; repair it first (insp fsck): " + result.output);
}

}  // namespace inspect::agent
