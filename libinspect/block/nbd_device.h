// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NbdDevice: an export of an NBD server as a BlockDevice, over a connected socket.
//
// It speaks the protocol itself rather than through libnbd: docs/nbd.md says why. The server is not trusted:
// whatever it answers, it ends at worst in an Error, within the stall timeout and within bounded memory.
// After the server broke the protocol, hung up or stalled the connection is unusable and every call throws.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.h"
#include "block/block_device.h"
#include "block/nbd_client_handshake.h"
#include "block/nbd_exchange.h"

namespace inspect {

struct NbdDeviceOptions {
    std::string name = {};  // of the server, in messages: its URI
    bool read_only = false;
    bool hang_up =
        true;  // say goodbye to the server at the end; false: another will go on with the connection
    std::chrono::milliseconds handshake_timeout{30'000};
    std::chrono::milliseconds stall_timeout{120'000};  // without a byte from the server, when one is due
};

class NbdDevice final : public BlockDevice {
  public:
    // Negotiates over a connected stream socket. Throws Error: kDenied when the export is read-only and
    // options.read_only is not set, else as nbd_client_handshake() does.
    NbdDevice(Fd socket, const std::string& export_name, NbdDeviceOptions options);
    // Goes on where another process has negotiated.
    NbdDevice(Fd socket, const NbdTerms& terms, NbdDeviceOptions options);
    // Says goodbye to the server (but see hang_up); does not flush.
    ~NbdDevice() override;

    const NbdTerms& terms() const noexcept { return terms_; }
    const std::string& name() const noexcept { return options_.name; }
    // The socket, for another process to go on with: NbdDevice(socket, terms()). This is then unusable.
    Fd release();

    uint64_t size() const noexcept override { return terms_.size; }
    bool read_only() const noexcept override { return options_.read_only; }
    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> in) override;
    void readv(uint64_t offset, std::span<const iovec> out) override;
    void writev(uint64_t offset, std::span<const iovec> in) override;
    // Throws Error(kUnsupported) when something was written to a server that can't make it durable.
    void flush() override;
    void discard(uint64_t offset, uint64_t length) override;
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
    // By base:allocation, where the server has it.
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override;

  private:
    void prepare_socket();
    void read_bytes(uint64_t offset, std::span<std::byte> out);
    void write_bytes(uint64_t offset, std::span<const std::byte> in);
    void zero_bytes(uint64_t offset, uint64_t length, bool may_unmap);
    void overwrite_in_block(uint64_t offset, std::span<const std::byte> in);
    uint16_t durable_flag() const;

    std::mutex mutex_;  // over all below: one call at a time has the connection
    Fd socket_;
    NbdDeviceOptions options_;
    std::unique_ptr<NbdStream> stream_;
    NbdTerms terms_;
    std::unique_ptr<NbdExchange> exchange_;
    bool dirty_ = false;  // changed since the last flush
    std::vector<std::byte> bounce_;
};

}  // namespace inspect
