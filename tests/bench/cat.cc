// SPDX-License-Identifier: GPL-2.0-or-later
//
// A small file of a real guest: what a warm and a cold start cost, inside and outside of KVM_RUN, and what
// virt-cat takes for the same on the same machine at the same time.
#include <cstdio>
#include <map>
#include <optional>
#include <vector>

#include "bench.h"

namespace inspect::bench {
namespace {

using nlohmann::json;

// The medians of what --stats=json says and of the wall clock.
struct Measured {
    std::vector<double> seconds;
    std::map<std::string, std::vector<double>> numbers;
    json last;

    double of(const std::string& name) const { return test::median(numbers.at(name)); }
};

Measured measure(const test::Args& args, int runs) {
    Measured result;
    for (int i = 0; i < runs; i++) {
        test::Outcome outcome = insp(args);
        result.seconds.push_back(outcome.seconds);
        result.numbers["rss"].push_back(static_cast<double>(outcome.peak_rss_bytes));
        result.last = json::parse(outcome.err.substr(outcome.err.find('{')));
        for (const auto& [key, value] : result.last.items()) {
            if (value.is_number()) result.numbers[key].push_back(value.get<double>());
        }
    }
    return result;
}

void print(const char* name, const Measured& measured) {
    printf("%-22s %9.3f s   in KVM_RUN %9.1f ms, outside %7.1f ms (engine %.1f, set-up %.1f, exits %.1f)\n",
           name, test::median(measured.seconds), measured.of("run_ns") / 1e6,
           measured.of("outside_run_ns") / 1e6, measured.of("engine_ns") / 1e6, measured.of("setup_ns") / 1e6,
           measured.of("exit_ns") / 1e6);
    printf("%-22s exits %s, pages touched %.0f, block requests %.0f, peak memory %.1f MiB (VMM %.1f)\n", "",
           measured.last.at("exits").dump().c_str(), measured.of("pages_touched"),
           measured.of("block_requests"), measured.of("rss") / 1048576,
           measured.of("peak_rss_bytes") / 1048576);
}

}  // namespace

int bench_cat(const BenchOptions& options) {
    std::string image = options.image.empty() ? test::guest("debian12") : options.image;
    test::Args args{"cat", "--stats=json", "-a", image, "/etc/hostname"};
    insp(args);  // makes the snapshot, and reads the image into the page cache
    printf("insp cat /etc/hostname, medians of %d runs\n", options.runs);
    Measured warm = measure(args, options.runs);
    print("warm", warm);
    args.insert(args.begin() + 1, "--no-snapshot");
    print("cold (--no-snapshot)", measure(args, options.runs));
    std::optional<double> qemu;
    if (test::have_program("qemu-system-x86_64")) {
        args[1] = "--engine=qemu";
        insp(args);
        Measured other = measure(args, options.runs);
        print("warm, engine qemu", other);
        qemu = test::median(other.seconds);
        args.insert(args.begin() + 1, "--no-snapshot");
        print("cold, engine qemu", measure(args, options.runs));
    }

    if (!options.peer || !test::have_program("virt-cat")) {
        printf("virt-cat               not measured%s\n",
               options.peer ? ": libguestfs is not installed" : "");
        return 0;
    }
    // On software KVM libguestfs' appliance doesn't come up at all: TCG is the best that it can do there.
    test::Options peer{
        .env = {{"LIBGUESTFS_BACKEND", "direct"}, {"LIBGUESTFS_BACKEND_SETTINGS", "force_tcg"}},
        .timeout = std::chrono::minutes(5)};
    std::vector<double> seconds;
    for (int i = 0; i < options.runs; i++) {
        test::Outcome outcome = test::run({"virt-cat", "-a", image, "/etc/hostname"}, peer);
        if (!outcome.ok()) {
            printf("virt-cat               fails: %s\n", outcome.describe().c_str());
            return 1;
        }
        seconds.push_back(outcome.seconds);
    }
    double ratio = test::median(seconds) / test::median(warm.seconds);
    printf("virt-cat (TCG)         %9.3f s   insp is %.1f times as fast\n", test::median(seconds), ratio);
    if (qemu) printf("%-22s %11s   with the engine qemu %.1f times\n", "", "", test::median(seconds) / *qemu);
    return 0;
}

}  // namespace inspect::bench
