// SPDX-License-Identifier: GPL-2.0-or-later
//
// What formats cost: insp cat from qcow2 against raw; and our block layer, served by insp serve, against
// qemu-storage-daemon's export of the same image, with the same client, and against QEMU's own access to the
// file.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <stdexcept>

#include "bench.h"
#include "block/image.h"

namespace inspect::bench {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kImageBytes = 256 << 20;

struct Load {
    const char* name;
    test::Args arguments;        // of qemu-img bench
    uint64_t count, size, step;  // the same in numbers; bytes
    bool write = false;
};

const Load kLoads[] = {
    {"sequential read, 1 MiB", {"-c", "1024", "-s", "1M", "-d", "4"}, 1024, 1 << 20, 1 << 20},
    {"random-like read, 4 KiB",
     {"-c", "20000", "-s", "4k", "-S", "1052672", "-d", "1"},
     20000,
     4096,
     1052672},
    {"sequential write, 1 MiB", {"-c", "512", "-s", "1M", "-d", "4", "-w"}, 512, 1 << 20, 1 << 20, true},
};

// What qemu-img bench says that it took, the median.
double measure(const Load& load, const std::string& format, const std::string& what, int runs) {
    std::vector<double> seconds;
    for (int i = 0; i < runs; i++) {
        test::Args args = {"qemu-img", "bench", "-t", "writeback", "-f", format};
        args.insert(args.end(), load.arguments.begin(), load.arguments.end());
        args.push_back(what);
        test::Outcome outcome = test::run(args);
        const size_t at = outcome.out.find("completed in ");
        if (!outcome.ok() || at == std::string::npos)
            throw std::runtime_error("qemu-img bench: " + outcome.describe());
        seconds.push_back(std::stod(outcome.out.substr(at + 13)));
    }
    return test::median(seconds);
}

// The same reads by our own block layer, in this process, the median.
double measure_device(const Load& load, const std::string& format, const std::string& path, int runs) {
    std::vector<double> seconds;
    for (int i = 0; i < runs; i++) {
        auto image = Image::open({.path = path, .format = format}, {});
        auto device = image->node().open();
        std::vector<std::byte> buffer(load.size);
        const auto begin = std::chrono::steady_clock::now();
        uint64_t offset = 0;
        for (uint64_t n = 0; n < load.count; n++) {
            device->read(offset, buffer);
            offset += load.step;
            if (offset + load.size > device->size()) offset %= load.step;
        }
        seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return test::median(seconds);
}

// A server on `socket` while `body` runs.
void with_server(const test::Args& args, const std::string& socket, const std::function<void()>& body) {
    fs::remove(socket);
    test::Options options = environment();
    options.timeout = std::chrono::minutes(10);
    test::Child server(args, options);
    for (int i = 0; i < 500 && !fs::exists(socket); i++) usleep(10'000);
    body();
    server.kill(SIGTERM);
    server.wait();
}

double cat_seconds(const test::Args& disk, int runs) {
    test::Args args = {"cat"};
    args.insert(args.end(), disk.begin(), disk.end());
    args.push_back("/etc/hostname");
    insp(args);
    std::vector<double> seconds;
    for (int i = 0; i < runs; i++) seconds.push_back(insp(args).seconds);
    return test::median(seconds);
}

}  // namespace

int bench_storage(const BenchOptions& options) {
    if (!test::have_program("qemu-img") || !test::have_program("qemu-storage-daemon"))
        throw std::runtime_error("qemu-img and qemu-storage-daemon are needed");
    const std::string directory = std::string(INSP_BUILD_DIR) + "/tests/bench-storage";
    fs::remove_all(directory);
    fs::create_directories(directory);

    const std::string guest = options.image.empty() ? test::guest("debian12") : options.image;
    const std::string converted = directory + "/guest.qcow2";
    must({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", guest, converted});
    const double raw_cat = cat_seconds({"--format=raw", "-a", guest}, options.runs);
    const double qcow2_cat = cat_seconds({"--format=qcow2", "-a", converted}, options.runs);
    printf("insp cat               raw %.3f s, qcow2 %.3f s, %.3f of raw\n", raw_cat, qcow2_cat,
           qcow2_cat / raw_cat);

    const std::string raw = directory + "/disk.raw";
    {
        std::ofstream file(raw, std::ios::binary);
        std::vector<char> block(1 << 20);
        std::mt19937_64 random(1);
        for (char& c : block) c = static_cast<char>(random());
        for (uint64_t at = 0; at < kImageBytes; at += block.size())
            file.write(block.data(), static_cast<std::streamsize>(block.size()));
    }
    must({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, directory + "/disk.qcow2"});
    printf("%-10s %-26s %10s %10s %10s %14s %14s\n", "", "qemu-img bench", "insp", "qsd", "native",
           "insp / qsd", "insp / native");
    for (const std::string format : {"raw", "qcow2"}) {
        const std::string image = directory + "/disk." + format, socket = directory + "/socket";
        const std::string uri = "nbd+unix:///?socket=" + socket;
        std::vector<double> ours, theirs, native;
        with_server({INSP_PROGRAM, "serve", "--write-mode=direct", "--format=" + format, "-a", image,
                     "--socket", socket},
                    socket, [&] {
                        for (const Load& load : kLoads)
                            ours.push_back(measure(load, "raw", uri, options.runs));
                    });
        with_server({"qemu-storage-daemon", "--blockdev",
                     "driver=" + format + ",node-name=disk,file.driver=file,file.filename=" + image,
                     "--nbd-server", "addr.type=unix,addr.path=" + socket, "--export",
                     "type=nbd,id=e,node-name=disk,name=,writable=on"},
                    socket, [&] {
                        for (const Load& load : kLoads)
                            theirs.push_back(measure(load, "raw", uri, options.runs));
                    });
        for (const Load& load : kLoads) native.push_back(measure(load, format, image, options.runs));
        // Speeds: how many times as fast.
        for (size_t i = 0; i < std::size(kLoads); i++) {
            printf("%-6s %-24s %8.3f s %8.3f s ", format.c_str(), kLoads[i].name, ours[i], theirs[i]);
            if (kLoads[i].write) {
                printf("%10s %8.3f s %16.2f\n", "-", native[i], theirs[i] / ours[i]);
                continue;
            }
            const double device = measure_device(kLoads[i], format, image, options.runs);
            printf("%8.3f s %8.3f s %16.2f %16.2f\n", device, native[i], theirs[i] / ours[i],
                   native[i] / device);
        }
    }
    fs::remove_all(directory);
    return 0;
}

}  // namespace inspect::bench
