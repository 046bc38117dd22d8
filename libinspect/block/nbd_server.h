// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NbdServer: a BlockDevice as an NBD export, for QEMU, the kernel's client, nbdcopy and whoever else speaks
// it. docs/nbd.md says why it is as it is.
//
// Fixed newstyle negotiation without TLS, one export, structured replies with holes, base:allocation, FLUSH,
// FUA, TRIM, WRITE_ZEROES, CACHE. One thread a connection and a megabyte of memory for it. Reads run beside
// each other, whatever changes the device runs alone, and a flush covers what any client wrote: so several
// connections may work on one export (CAN_MULTI_CONN).
//
// What clients send is not trusted: whatever it is, it ends at worst their own connection. Whoever can
// connect may use the export, though: a socket is to be protected by the permissions of its directory, a port
// by being on the loopback interface alone.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "block/block_device.h"

namespace inspect {

class SharedDevice;

struct NbdServerOptions {
    std::string name = {};         // of the export, at most 4096 bytes; clients may always ask for "" instead
    std::string description = {};  // what clients are told about it, at most 4096 bytes
    bool read_only = false;        // refuse changes even where the device takes them
    // What clients are told to keep to, in bytes, for devices that take nothing smaller; a power of two up to
    // 64 KiB.
    uint32_t minimum_block = 1;
    unsigned max_connections = 16;      // further clients wait
    bool end_with_last_client = false;  // serve() returns when there was a client and the last one is gone
    // For the whole of the negotiation; and for any one step in the middle of a message. Clients that
    // have nothing to ask may stay silent for ever.
    std::chrono::milliseconds handshake_timeout{30'000};
    std::chrono::milliseconds stall_timeout{300'000};
};

class NbdServer {
  public:
    // `device` must outlive this, and nobody else may use it while clients are served. Throws Error(kUsage)
    // when name or description is too long.
    NbdServer(BlockDevice& device, NbdServerOptions options);
    ~NbdServer();
    NbdServer(const NbdServer&) = delete;
    NbdServer& operator=(const NbdServer&) = delete;

    // Serves the clients of a listening socket until `stop_fd` (-1: none) becomes readable. Then no more
    // requests are taken, those under way are answered (for a second at most), and it returns when all
    // connections have ended. The descriptors stay the caller's. The device is not flushed. Throws Error
    // when the listening socket fails. Call it from one thread only.
    void serve(int listening_socket, int stop_fd);

    // Serves one client, until it has gone. Takes any connected stream socket. Never throws: why a connection
    // ended is logged. Thread-safe.
    void serve_connection(int socket) noexcept;

  private:
    struct Connection;
    class Connections;

    NbdServerOptions options_;
    std::unique_ptr<SharedDevice> device_;
    std::atomic<bool> stopping_{false};
};

}  // namespace inspect
