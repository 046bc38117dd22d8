// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests: an Agent that runs in a thread of this process on a directory of the host, and a small client of
// it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "agent.h"
#include "base/fd.h"
#include "connection.h"
#include "protocol/frame.h"

namespace inspect::agent {

// A directory that goes with the object.
class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        // In memory where there is such a place: these tests make many small files.
        path_ = std::string(::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") + "/agent-test-XXXXXX";
        if (!::mkdtemp(path_.data())) std::abort();
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    const std::string& path() const { return path_; }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

inline void write_text(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}
inline std::string read_text(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

struct Answer {
    proto::Response response;
    std::vector<proto::Item> items;
    std::string data;
    // Items and data in order: data as items of no kind would lose it, so it is kept as text.
    std::vector<std::string> events;

    bool ok() const { return !response.has_failure() && !response.skipped(); }
    std::string error() const { return response.failure().message(); }
};

class AgentHarness {
  public:
    explicit AgentHarness(const std::string& sysroot) {
        int fds[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0) std::abort();
        host_ = Fd(fds[0]);
        agent_side_ = Fd(fds[1]);
        agent_ = std::thread([this, sysroot] {
            try {
                Connection connection(agent_side_.get(), agent_side_.get());
                Agent(connection, open_file(sysroot, O_PATH | O_DIRECTORY)).run();
            } catch (const std::exception& error) {
                lost_ = error.what();
            }
            ::shutdown(agent_side_.get(), SHUT_RDWR);
        });
        std::optional<std::pair<protocol::FrameHeader, std::string>> hello = read_frame();
        if (!hello || hello->first.type != static_cast<uint8_t>(protocol::FrameType::kHello)) std::abort();
    }
    ~AgentHarness() { stop(); }

    // Ends the stream; what the agent lost the connection by, empty when it ended well.
    std::string stop() {
        if (host_) ::shutdown(host_.get(), SHUT_WR);
        if (agent_.joinable()) agent_.join();
        return lost_;
    }

    void send(protocol::FrameType type, uint32_t stream, std::string_view payload) {
        std::vector<std::byte> out;
        protocol::append_frame(out, type, stream, std::as_bytes(std::span(payload)));
        write_full(host_.get(), out, "write to the agent");
    }
    void send_raw(std::span<const std::byte> bytes) { write_full(host_.get(), bytes, "write to the agent"); }

    // Sends a request and returns its stream's number.
    uint32_t start(const proto::Request& request) {
        send(protocol::FrameType::kRequest, ++stream_, request.SerializeAsString());
        return stream_;
    }
    void send_data(std::string_view bytes) { send(protocol::FrameType::kData, stream_, bytes); }
    void send_item(const proto::Item& item) {
        send(protocol::FrameType::kItem, stream_, item.SerializeAsString());
    }
    void send_end() { send(protocol::FrameType::kEnd, stream_, {}); }

    // Reads up to the response of the stream, granting credit.
    Answer finish(uint32_t stream) {
        Answer answer;
        uint32_t consumed = 0;
        while (auto frame = read_frame()) {
            auto type = static_cast<protocol::FrameType>(frame->first.type);
            if (type == protocol::FrameType::kCredit) continue;
            EXPECT_EQ(frame->first.stream, stream);
            if (type == protocol::FrameType::kResponse) {
                EXPECT_TRUE(answer.response.ParseFromString(frame->second));
                return answer;
            }
            EXPECT_FALSE(frame->second.empty());
            consumed += static_cast<uint32_t>(frame->second.size());
            if (type == protocol::FrameType::kData) {
                answer.data += frame->second;
                answer.events.push_back("data " + std::to_string(frame->second.size()));
            } else {
                proto::Item item;
                EXPECT_TRUE(item.ParseFromString(frame->second));
                if (item.has_seek()) answer.events.push_back("seek " + std::to_string(item.seek().offset()));
                if (item.has_tree_entry()) answer.events.push_back("entry " + item.tree_entry().path());
                answer.items.push_back(item);
            }
            if (consumed >= protocol::kCreditStep) {
                le32 credit = consumed;
                send(protocol::FrameType::kCredit, stream,
                     {reinterpret_cast<const char*>(&credit), sizeof credit});
                consumed = 0;
            }
        }
        ADD_FAILURE() << "the agent closed the connection: " << stop();
        return answer;
    }

    Answer call(const proto::Request& request) { return finish(start(request)); }
    Answer call_with_data(const proto::Request& request, std::string_view bytes) {
        uint32_t stream = start(request);
        if (!bytes.empty()) send_data(bytes);
        send_end();
        return finish(stream);
    }

    std::optional<std::pair<protocol::FrameHeader, std::string>> read_frame() {
        protocol::FrameHeader header;
        if (read_full(host_.get(), std::as_writable_bytes(std::span(&header, 1)), "read") < sizeof header)
            return std::nullopt;
        std::string payload(header.length, '\0');
        if (read_full(host_.get(), std::as_writable_bytes(std::span(payload)), "read") < payload.size())
            return std::nullopt;
        return std::pair(header, payload);
    }

  private:
    Fd host_;
    Fd agent_side_;
    std::thread agent_;
    std::string lost_;
    uint32_t stream_ = 0;
};

// A text with this changed at its first place; a failure of the test where it has none.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    EXPECT_NE(at, text.npos) << from << " in " << text;
    return at == text.npos ? text : text.replace(at, from.size(), to);
}

}  // namespace inspect::agent
