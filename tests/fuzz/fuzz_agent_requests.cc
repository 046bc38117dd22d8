// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arbitrary bytes from the host to the agent, which works on a small tree in memory. The agent must answer or
// give the connection up, never crash, hold bounded memory, and change nothing outside of the tree.
//
// The input is cut into pieces: a byte says what the next one is (a request that protobuf finds by itself is
// rare), then two bytes of length, then that much payload. Raw pieces go to the stream as they are.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "agent.h"
#include "base/fd.h"
#include "connection.h"
#include "protocol/frame.h"

namespace fs = std::filesystem;
using namespace inspect;

namespace {

struct Playground {
    Playground() {
        std::string pattern =
            fs::exists("/dev/shm") ? "/dev/shm/insp-fuzz-agent-XXXXXX" : "/tmp/insp-fuzz-agent-XXXXXX";
        if (!mkdtemp(pattern.data())) std::abort();
        base = pattern;
        std::ofstream(base / "outside") << "outside";
    }
    ~Playground() { fs::remove_all(base); }
    void fresh_tree() {
        fs::remove_all(base / "root");
        fs::create_directories(base / "root/d/e");
        std::ofstream(base / "root/f") << "contents";
        fs::create_symlink("../../outside", base / "root/d/link");
        fs::create_directory_symlink("..", base / "root/d/up");
    }
    void check() const {
        std::string text;
        std::ifstream(base / "outside") >> text;
        size_t count = 0;
        for ([[maybe_unused]] const auto& entry : fs::directory_iterator(base)) ++count;
        if (text != "outside" || count != 2) std::abort();
    }
    fs::path base;
};

Playground& playground() {
    static Playground instance;
    return instance;
}

std::vector<std::byte> stream_of(std::span<const uint8_t> input) {
    std::vector<std::byte> out;
    uint32_t stream = 0;
    while (input.size() >= 3) {
        uint8_t kind = input[0];
        size_t length = std::min<size_t>(input[1] | input[2] << 8, input.size() - 3);
        auto payload = std::as_bytes(input.subspan(3, length));
        input = input.subspan(3 + length);
        if (kind == 0xff) {
            out.insert(out.end(), payload.begin(), payload.end());
            continue;
        }
        auto type = static_cast<protocol::FrameType>(kind % 9);
        if (type == protocol::FrameType::kRequest) {
            // Programs are started by edits only, and would make each run slow.
            proto::Request request;
            if (request.ParseFromArray(payload.data(), static_cast<int>(payload.size())) &&
                request.has_edit_file())
                continue;
            ++stream;
        }
        protocol::append_frame(out, type, stream, payload);
    }
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size > 64 << 10) return 0;
    std::vector<std::byte> bytes = stream_of({data, size});
    playground().fresh_tree();
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) std::abort();
    Fd host(fds[0]);
    Fd agent_side(fds[1]);
    // What the agent says is read and thrown away, so that it never waits for room.
    std::thread reader([&] {
        char buffer[64 << 10];
        while (::read(host.get(), buffer, sizeof buffer) > 0) {
        }
    });
    std::thread writer([&] {
        size_t at = 0;
        while (at < bytes.size()) {
            ssize_t n = ::send(host.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
            if (n <= 0) break;
            at += static_cast<size_t>(n);
        }
        ::shutdown(host.get(), SHUT_WR);
    });
    try {
        agent::Connection connection(agent_side.get(), agent_side.get());
        agent::Agent(connection, open_file((playground().base / "root").string(), O_PATH | O_DIRECTORY))
            .run();
    } catch (const agent::ConnectionLost&) {
    }
    ::shutdown(agent_side.get(), SHUT_RDWR);
    writer.join();
    reader.join();
    playground().check();
    return 0;
}
