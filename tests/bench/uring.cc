// SPDX-License-Identifier: GPL-2.0-or-later
//
// What io_uring would bring raw images: the same transfers by a system call for each, as our device does them
// (pread, pwrite), and by liburing, with one request at a time, as the VMM serves them, and with many. What
// was decided, and why, is in docs/images.md.
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <stdexcept>
#include <vector>

#include "bench.h"
#include "block/raw.h"

namespace inspect::bench {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kImageBytes = 128 << 20;
constexpr unsigned kDepth = 32;

struct Load {
    const char* name;
    bool write;
    size_t bytes;     // of a request
    size_t requests;  // through the page cache; past it an eighth of them
    bool random;
};
constexpr Load kLoads[] = {
    {"sequential read, 1 MiB", false, 1 << 20, 512, false},
    {"random read, 4 KiB", false, 4096, 40'000, true},
    {"sequential write, 1 MiB", true, 1 << 20, 256, false},
    {"random write, 4 KiB", true, 4096, 20'000, true},
};

std::vector<uint64_t> offsets_of(const Load& load, bool direct) {
    std::mt19937_64 random(1);
    std::vector<uint64_t> offsets(load.requests / (direct ? 8 : 1));
    for (size_t i = 0; i < offsets.size(); i++) {
        const uint64_t place = load.random ? random() : i;
        offsets[i] = place % (kImageBytes / load.bytes) * load.bytes;
    }
    return offsets;
}

// Memory for as many requests as are under way.
class Buffers {
  public:
    explicit Buffers(size_t bytes) : bytes_(bytes) {
        all_ = ::mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (all_ == MAP_FAILED) throw std::runtime_error("no memory for buffers");
        std::memset(all_, 0x5a, size());
    }
    ~Buffers() { ::munmap(all_, size()); }
    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;
    std::byte* at(unsigned index) const { return static_cast<std::byte*>(all_) + index * bytes_; }
    size_t size() const { return bytes_ * kDepth; }

  private:
    size_t bytes_;
    void* all_;
};

void by_system_calls(const Load& load, const std::vector<uint64_t>& offsets, int fd, const Buffers& buffers) {
    for (uint64_t offset : offsets) {
        const auto at = static_cast<off_t>(offset);
        const ssize_t n = load.write ? ::pwrite(fd, buffers.at(0), load.bytes, at)
                                     : ::pread(fd, buffers.at(0), load.bytes, at);
        if (n != static_cast<ssize_t>(load.bytes)) throw std::runtime_error("a transfer failed");
    }
}

// A ring with the file and the buffers registered, which is as fast as it gets without a thread that polls.
class Ring {
  public:
    Ring(int fd, const Buffers& buffers, size_t bytes) {
        if (::io_uring_queue_init(kDepth, &ring_, 0) < 0) throw std::runtime_error("io_uring can't be used");
        std::vector<iovec> all;
        for (unsigned i = 0; i < kDepth; i++) all.push_back({buffers.at(i), bytes});
        if (::io_uring_register_files(&ring_, &fd, 1) < 0 ||
            ::io_uring_register_buffers(&ring_, all.data(), kDepth) < 0)
            throw std::runtime_error("io_uring refuses the file or its buffers");
    }
    ~Ring() { ::io_uring_queue_exit(&ring_); }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    void run(const Load& load, const std::vector<uint64_t>& offsets, unsigned depth, const Buffers& buffers) {
        std::vector<unsigned> idle;
        for (unsigned i = depth; i-- > 0;) idle.push_back(i);
        for (size_t next = 0, done = 0; done < offsets.size();) {
            for (; next < offsets.size() && !idle.empty(); next++) {
                submit(load, offsets[next], idle.back(), buffers);
                idle.pop_back();
            }
            if (::io_uring_submit_and_wait(&ring_, 1) < 0) throw std::runtime_error("io_uring_enter failed");
            io_uring_cqe* ended = nullptr;
            while (::io_uring_peek_cqe(&ring_, &ended) == 0) {
                if (ended->res != static_cast<int>(load.bytes)) throw std::runtime_error("a transfer failed");
                idle.push_back(static_cast<unsigned>(ended->user_data));
                ::io_uring_cqe_seen(&ring_, ended);
                done++;
            }
        }
    }

  private:
    void submit(const Load& load, uint64_t offset, unsigned index, const Buffers& buffers) {
        io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
        const auto bytes = static_cast<unsigned>(load.bytes);
        if (load.write) {
            ::io_uring_prep_write_fixed(entry, 0, buffers.at(index), bytes, offset, static_cast<int>(index));
        } else {
            ::io_uring_prep_read_fixed(entry, 0, buffers.at(index), bytes, offset, static_cast<int>(index));
        }
        entry->flags |= IOSQE_FIXED_FILE;
        entry->user_data = index;
    }
    io_uring ring_{};
};

double seconds_of(const std::function<void()>& body) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int bench_uring(const BenchOptions& options) {
    const std::string directory = std::string(INSP_BUILD_DIR) + "/tests/bench-uring";
    fs::remove_all(directory);
    fs::create_directories(directory);
    const std::string path = directory + "/disk.raw";
    {
        RawDevice disk(open_file(path, O_RDWR | O_CREAT), false, path);
        disk.resize(kImageBytes);
        const std::vector<std::byte> block(1 << 20, std::byte{0x5a});
        for (uint64_t at = 0; at < kImageBytes; at += block.size()) disk.write(at, block);
        disk.flush();
    }
    printf("%-12s %-24s %12s %18s %18s\n", "", "microseconds a request", "pread/pwrite", "io_uring, depth 1",
           "io_uring, depth 32");
    for (const bool direct : {false, true}) {
        for (const Load& load : kLoads) {
            const std::vector<uint64_t> offsets = offsets_of(load, direct);
            const Buffers buffers(load.bytes);
            const Fd fd = open_file(path, O_RDWR | (direct ? O_DIRECT : 0));
            Ring ring(fd.get(), buffers, load.bytes);
            std::vector<double> times[3];
            // In turns, so that what else the machine does troubles all of them.
            for (int i = 0; i < options.runs; i++) {
                times[0].push_back(seconds_of([&] { by_system_calls(load, offsets, fd.get(), buffers); }));
                times[1].push_back(seconds_of([&] { ring.run(load, offsets, 1, buffers); }));
                times[2].push_back(seconds_of([&] { ring.run(load, offsets, kDepth, buffers); }));
                ::fdatasync(fd.get());
            }
            fflush(stdout);
            double micros[3];
            for (size_t i = 0; i < 3; i++)
                micros[i] = test::median(times[i]) * 1e6 / static_cast<double>(offsets.size());
            printf("%-12s %-24s %12.2f %11.2f (%.2f) %11.2f (%.2f)\n", direct ? "O_DIRECT" : "page cache",
                   load.name, micros[0], micros[1], micros[0] / micros[1], micros[2], micros[0] / micros[2]);
        }
    }
    fs::remove_all(directory);
    return 0;
}

}  // namespace inspect::bench
