// SPDX-License-Identifier: GPL-2.0-or-later
//
// Many warm starts, several at a time, each reading a file: none may hang or fail, and nothing may be left.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <vector>

#include "bench.h"

namespace inspect::bench {

namespace fs = std::filesystem;

int soak(const BenchOptions& options) {
    std::string image = options.image.empty() ? test::guest("debian12") : options.image;
    test::Args args{INSP_PROGRAM, "cat", "-a", image, "/etc/hostname"};
    std::string expected = insp({"cat", "-a", image, "/etc/hostname"}).out;

    std::string temporary = std::string(INSP_BUILD_DIR) + "/tests/soak-XXXXXX";
    if (mkdtemp(temporary.data()) == nullptr) throw std::runtime_error("cannot make " + temporary);
    test::Options environment_options = environment();
    environment_options.env["TMPDIR"] = temporary;
    environment_options.timeout = std::chrono::seconds(60);
    auto cached_files = [&] {
        auto files = fs::recursive_directory_iterator(environment_options.env["INSP_CACHE_DIR"]);
        return std::distance(begin(files), end(files));
    };
    auto cached_before = cached_files();

    int started = 0, failed = 0;
    std::vector<double> seconds;
    std::vector<std::unique_ptr<test::Child>> running;
    while (started < options.starts || !running.empty()) {
        while (started < options.starts && running.size() < static_cast<size_t>(options.jobs)) {
            running.push_back(std::make_unique<test::Child>(args, environment_options));
            started++;
        }
        test::Outcome outcome = running.front()->wait();
        running.erase(running.begin());
        seconds.push_back(outcome.seconds);
        if (!outcome.ok() || outcome.out != expected) {
            failed++;
            printf("start %zu: %s\n", seconds.size(), outcome.describe().c_str());
        }
        if (seconds.size() % 50 == 0) {
            printf("%zu of %d, %d failed\n", seconds.size(), options.starts, failed);
            fflush(stdout);
        }
    }
    std::vector<std::string> processes = test::strays();
    for (const std::string& process : processes) printf("left behind: process %s\n", process.c_str());
    auto files_left = std::distance(fs::directory_iterator(temporary), fs::directory_iterator());
    auto cached_after = cached_files();
    fs::remove_all(temporary);

    std::sort(seconds.begin(), seconds.end());
    printf(
        "%d starts, %d at a time: %d failed, %zu processes left, %td temporary files left, %td files more in "
        "the cache\n",
        started, options.jobs, failed, processes.size(), files_left, cached_after - cached_before);
    printf("median %.3f s, 99%% below %.3f s, slowest %.3f s\n", test::median(seconds),
           seconds[seconds.size() * 99 / 100], seconds.back());
    return failed == 0 && processes.empty() && files_left == 0 && cached_after == cached_before ? 0 : 1;
}

}  // namespace inspect::bench
