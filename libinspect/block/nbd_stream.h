// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NbdStream: one side of an NBD connection as a stream of bytes: reads are whole and buffered, so that many
// small messages cost one system call; nothing waits longer than it was told to.
#pragma once

#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace inspect {

// Not thread-safe. Another thread may shut the socket down to end what is waiting.
class NbdStream {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr size_t kBufferSize = size_t{64} * 1024;

    // Over a connected stream socket (blocking mode), which stays the caller's. `peer` is what messages call
    // the other side. Every wait ends with an Error after `stall_timeout` without a byte moved.
    NbdStream(int socket, std::string peer, std::chrono::milliseconds stall_timeout);
    NbdStream(const NbdStream&) = delete;
    NbdStream& operator=(const NbdStream&) = delete;

    const std::string& peer() const noexcept { return peer_; }

    // Until it is lifted with nullopt it takes the place of the stall timeout: a peer may be slow to begin,
    // but must be done by then, also one that does move bytes.
    void set_deadline(std::optional<Clock::time_point> deadline);

    // Fills `out`. Throws Error(kCorrupt) when the peer hangs up or stalls.
    void read(std::span<std::byte> out);
    template <typename T>
    T read_object() {
        T object;
        read(std::as_writable_bytes(std::span(&object, 1)));
        return object;
    }
    // The next `length` bytes (at most kBufferSize) where they are; good until the next call.
    std::span<const std::byte> take(size_t length);
    void skip(uint64_t length);

    // Waits for the peer's next byte as long as it takes, the stall timeout notwithstanding. False when it
    // has hung up instead.
    bool wait();
    // How many bytes can be read without waiting or a system call.
    size_t buffered() const noexcept { return end_ - begin_; }

    // Sends all of it. Throws Error(kCorrupt) as read() does.
    void write(std::span<const std::byte> bytes);
    // The same for pieces; uses up `pieces`.
    void write(std::span<iovec> pieces);
    template <typename T>
    void write_object(const T& object) {
        write(std::as_bytes(std::span(&object, 1)));
    }

  private:
    size_t receive(std::span<std::byte> out, bool patient);
    void apply_timeout();
    [[noreturn]] void fail(const std::string& what) const;

    int socket_;
    std::string peer_;
    std::chrono::milliseconds stall_timeout_;
    std::optional<Clock::time_point> deadline_;
    std::unique_ptr<std::byte[]> buffer_;
    size_t begin_ = 0, end_ = 0;  // of what is in the buffer
};

}  // namespace inspect
