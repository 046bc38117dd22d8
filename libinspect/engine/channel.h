// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Channel: what an engine hands to the client side: a byte stream to the agent in a running appliance.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <span>

namespace inspect {

// A full-duplex byte stream. Not thread-safe. Its calls throw Error(kCancelled) once
// EngineOptions::interrupt_fd is readable.
class Channel {
  public:
    virtual ~Channel() = default;

    // Writes all of `in`. A peer that is writing itself may not read before it is heard: whenever it doesn't,
    // and read() would return at once, `hear` is called, if there is one; it reads and doesn't write. Throws
    // Error(kEngine) when the appliance died, with the reason and the kernel's last lines.
    virtual void write(std::span<const std::byte> in, const std::function<void()>& hear = {}) = 0;

    // Reads at least one byte; at most out.size(). Returns 0 only on a clean end of the stream.
    // Throws Error(kEngine) when the appliance died or nothing came within `timeout`.
    virtual size_t read(std::span<std::byte> out, std::chrono::milliseconds timeout) = 0;

    // True when read() would return at once.
    virtual bool readable() = 0;

    // Waits until read() would return at once or `fd` is readable (or at its end). Throws as read().
    struct Ready {
        bool channel;
        bool fd;
    };
    virtual Ready wait_with(int fd, std::chrono::milliseconds timeout) = 0;
    // For who waits for several things at once. Writes as much as goes without waiting and returns how much
    // that was; throws as write().
    virtual size_t write_some(std::span<const std::byte> in) = 0;
    // What to poll(2): readable when read() would return at once, writable when write_some() would write.
    virtual int descriptor() const = 0;
};

}  // namespace inspect
