// SPDX-License-Identifier: GPL-2.0-or-later
//
// Connection: the agent's side of protocol/frame.h. It takes requests off the stream one at a time, streams
// items and data back within the host's credit, takes uploads in, and hears kCancel at every frame.
//
// Made for few system calls: what is sent gathers in one buffer, which is written when it is full, or when
// the agent would wait for the host; a batch of small requests is answered by one write.
//
// The host is trusted by the agent (it owns the machine), but not to be free of bugs: a frame that breaks a
// rule throws ConnectionLost, and memory is bounded whatever arrives.
//
// A request whose work is one long system call (a file that grows on vfat is written with zeros) can't tell
// the host by itself that it is alive. watch() starts a thread that does so, and nothing else.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "failure.h"
#include "protocol/frame.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

// The stream is of no more use: its end, a read error, or a frame that breaks the rules.
class ConnectionLost : public std::exception {
  public:
    explicit ConnectionLost(std::string why) : why_(std::move(why)) {}
    const char* what() const noexcept override { return why_.c_str(); }

  private:
    std::string why_;
};

// Not thread-safe, but for the thread of its own.
class Connection {
  public:
    // The largest kData frame that is sent.
    static constexpr size_t kDataChunk = 256 << 10;

    // `in` and `out` may be the same descriptor; they stay the caller's, and block.
    Connection(int in, int out);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    static constexpr std::chrono::seconds kSignEvery{15};
    // From now on a sign of life is sent whenever the host has waited so long for the request at work,
    // whatever that is doing. Once is enough.
    void watch(std::chrono::nanoseconds sign_every = kSignEvery);

    void send_hello(const proto::Hello& hello);
    // Touches the buffers, so that no page of them is missing later.
    void warm();

    struct Request {
        uint32_t stream;
        std::string payload;
    };
    // The next request, which is at work until respond(). nullopt at the end of the stream. Sends what waits.
    std::optional<Request> next_request();
    // Ends the request at work. It is sent at the latest when next_request() has to wait. Throws Failure,
    // with the request at work still: it is longer than the protocol allows.
    void respond(const proto::Response& response);

    // ---- for the request at work. All of these throw Cancelled after kCancel.

    void send_item(const proto::Item& item);
    // Where to put data for the host: up to `wanted` bytes (at least 1, at most kDataChunk), within the
    // credit. Nothing else may be sent before send_data().
    std::span<std::byte> data_room(size_t wanted);
    // Sends the first `count` bytes of that room; 0: nothing.
    void send_data(size_t count);

    struct Upload {
        protocol::FrameType type;  // kItem, kData or kEnd
        std::string payload;
    };
    // The next frame of the host's upload; after kEnd it must not be called again.
    Upload receive();

    // True when receive() would not wait.
    bool upload_waiting() const { return !pending_.front().uploads.empty(); }
    // Sends what has gathered.
    void flush();

    // Hears what has arrived, without waiting, and tells the host now and then that the request is alive.
    // Cheap enough for every directory entry: it looks at the clock first.
    void check_cancelled();
    // The request at work was cancelled, as far as is known.
    bool cancelled() const { return pending_.front().cancelled; }
    // The requests that have arrived behind the one at work, in their order, until `look` returns false.
    void look_ahead(const std::function<bool(const std::string& payload)>& look) const;
    // For who waits by poll(): this descriptor, and what to do when it is readable.
    int input_fd() const { return in_; }
    void hear() { pump(); }

  private:
    struct Pending {
        uint32_t stream;
        std::string payload;
        bool cancelled = false;
        bool upload_ended = false;
        uint32_t receive_credit = protocol::kInitialCredit;
        std::deque<Upload> uploads;
    };

    void pump();
    void handle(const protocol::Frame& frame);
    void handle_upload(const protocol::Frame& frame);
    void throw_if_cancelled() const;
    void wait_for_credit(size_t bytes);
    std::byte* reserve(size_t bytes);
    void append(protocol::FrameType type, uint32_t stream, std::span<const std::byte> payload);
    void append_message(protocol::FrameType type, uint32_t stream,
                        const google::protobuf::MessageLite& message);
    void write_out(std::span<const std::byte> bytes);
    void wrote();
    void keep_watch(std::chrono::nanoseconds sign_every);

    int in_;
    int out_;
    protocol::FrameParser parser_;
    std::deque<Pending> pending_;  // the first is at work when at_work_
    bool at_work_ = false;
    uint32_t last_stream_ = 0;     // of a request that was ever seen
    size_t queued_bytes_ = 0;      // payloads in pending_
    uint32_t send_credit_ = 0;     // of the request at work
    uint32_t unacknowledged_ = 0;  // sent by us on it and not granted back
    uint32_t ungranted_ = 0;       // consumed by us and not yet granted to the host
    bool ended_ = false;           // the host has closed the stream
    uint64_t last_heard_ns_ = 0;   // when check_cancelled() last looked

    std::unique_ptr<std::byte[]> buffer_;  // what gathers to be written
    size_t gathered_ = 0;

    // Shared with watch()'s thread: writing, which is of whole frames, and what is below.
    std::mutex out_mutex_;
    uint64_t last_sign_ns_ = 0;  // when the host last got a byte, or has not waited yet
    uint32_t awaited_ = 0;       // the first stream whose answer was not written yet; 0: none
    std::condition_variable end_of_watch_;
    bool watch_ends_ = false;
    std::thread watcher_;
};

}  // namespace inspect::agent
