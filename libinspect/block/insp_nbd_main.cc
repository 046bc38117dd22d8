// SPDX-License-Identifier: LGPL-2.1-or-later
//
// insp-nbd: reaches an NBD server through libnbd, TLS included, and serves what it exports on a socket that
// it inherits, to the one client at its other end. A program of its own because libnbd and GnuTLS can't be
// linked statically, which insp is.
#include <libnbd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>

#include <inspect/error.h>

#include "block/nbd_server.h"

namespace inspect {
namespace {

// libnbd's own limit is 64 MiB; its requests without data may be as long as the protocol has it.
constexpr uint64_t kClearPiece = 256u << 20;

class LibnbdDevice final : public BlockDevice {
  public:
    LibnbdDevice(const std::string& uri, bool read_only) : handle_(::nbd_create()) {
        check(handle_ == nullptr ? -1 : 0);
        check(::nbd_add_meta_context(handle_, LIBNBD_CONTEXT_BASE_ALLOCATION));
        check(::nbd_set_uri_allow_local_file(handle_, true));  // tls-psk-file= is the user's own
        check(::nbd_connect_uri(handle_, uri.c_str()));
        const int64_t size = ::nbd_get_size(handle_);
        check(size < 0 ? -1 : 0);
        size_ = static_cast<uint64_t>(size);
        read_only_ = read_only || ::nbd_is_read_only(handle_) == 1;
        has_allocation_ = ::nbd_can_meta_context(handle_, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
        const int64_t minimum = ::nbd_get_block_size(handle_, LIBNBD_SIZE_MINIMUM);
        minimum_block_ = minimum > 0 ? static_cast<uint32_t>(minimum) : 1;
    }
    ~LibnbdDevice() override {
        ::nbd_shutdown(handle_, 0);
        ::nbd_close(handle_);
    }

    uint32_t minimum_block() const noexcept { return minimum_block_; }

    uint64_t size() const noexcept override { return size_; }
    bool read_only() const noexcept override { return read_only_; }
    void read(uint64_t offset, std::span<std::byte> out) override {
        require_range(offset, out.size());
        if (!out.empty()) check(::nbd_pread(handle_, out.data(), out.size(), offset, 0));
    }
    void write(uint64_t offset, std::span<const std::byte> in) override {
        require_writable();
        require_range(offset, in.size());
        if (!in.empty()) check(::nbd_pwrite(handle_, in.data(), in.size(), offset, 0));
    }
    void flush() override {
        if (::nbd_can_flush(handle_) == 1) check(::nbd_flush(handle_, 0));
    }
    void discard(uint64_t offset, uint64_t length) override {
        require_writable();
        require_range(offset, length);
        if (::nbd_can_trim(handle_) != 1) return;
        in_pieces(offset, length, [&](uint64_t at, uint64_t n) { check(::nbd_trim(handle_, n, at, 0)); });
    }
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override {
        require_writable();
        require_range(offset, length);
        if (::nbd_can_zero(handle_) == 1) {
            const uint32_t flags = may_unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
            in_pieces(offset, length,
                      [&](uint64_t at, uint64_t n) { check(::nbd_zero(handle_, n, at, flags)); });
            return;
        }
        static const std::vector<std::byte> zeroes(1 << 20);
        while (length > 0) {
            const uint64_t n = std::min<uint64_t>(length, zeroes.size());
            write(offset, std::span(zeroes).first(n));
            offset += n;
            length -= n;
        }
    }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        require_range(offset, length);
        std::vector<Extent> result;
        if (length == 0) return result;
        if (!has_allocation_) return {{offset, length, ExtentKind::kData}};
        Answer answer{&result, offset, offset + length};
        while (answer.at < answer.end) {
            const uint64_t before = answer.at;
            const uint64_t asked = std::min<uint64_t>(answer.end - answer.at, 1u << 30);
            check(::nbd_block_status(handle_, asked, answer.at,
                                     {.callback = add_extents, .user_data = &answer, .free = nullptr}, 0));
            if (answer.at == before)
                throw Error(ErrorKind::kCorrupt, "the NBD server tells nothing of its extents");
        }
        return result;
    }

  private:
    struct Answer {
        std::vector<Extent>* extents;
        uint64_t at, end;
    };
    static int add_extents(void* data, const char* context, uint64_t offset, uint32_t* entries, size_t count,
                           int*) {
        auto& answer = *static_cast<Answer*>(data);
        if (std::string_view(context) != LIBNBD_CONTEXT_BASE_ALLOCATION || offset != answer.at) return 0;
        for (size_t i = 0; i + 1 < count && answer.at < answer.end; i += 2) {
            const uint64_t n = std::min<uint64_t>(entries[i], answer.end - answer.at);
            const bool zero = (entries[i + 1] & LIBNBD_STATE_ZERO) != 0,
                       hole = (entries[i + 1] & LIBNBD_STATE_HOLE) != 0;
            const ExtentKind kind = !zero ? ExtentKind::kData : hole ? ExtentKind::kHole : ExtentKind::kZero;
            if (n > 0 && !answer.extents->empty() && answer.extents->back().kind == kind) {
                answer.extents->back().length += n;
            } else if (n > 0) {
                answer.extents->push_back({answer.at, n, kind});
            }
            answer.at += n;
        }
        return 0;
    }

    template <typename Operation>
    static void in_pieces(uint64_t offset, uint64_t length, Operation operation) {
        while (length > 0) {
            const uint64_t n = std::min(length, kClearPiece);
            operation(offset, n);
            offset += n;
            length -= n;
        }
    }

    static void check(int result) {
        if (result >= 0) return;
        const char* text = ::nbd_get_error();
        const int number = ::nbd_get_errno();
        const ErrorKind kind = number == EPERM || number == EACCES ? ErrorKind::kDenied
                               : number == ENOSPC                  ? ErrorKind::kNoSpace
                               : number == ENOTSUP                 ? ErrorKind::kUnsupported
                                                                   : ErrorKind::kCorrupt;
        throw Error(kind, text != nullptr ? text : "libnbd failed");
    }

    ::nbd_handle* handle_;
    uint64_t size_ = 0;
    uint32_t minimum_block_ = 1;
    bool read_only_ = false;
    bool has_allocation_ = false;
};

int run(std::span<char*> arguments) {
    std::string uri;
    int socket = -1;
    bool read_only = false;
    for (const std::string_view argument : arguments) {
        if (argument.starts_with("--uri=")) {
            uri = argument.substr(6);
        } else if (argument.starts_with("--socket=")) {
            std::from_chars(argument.data() + 9, argument.data() + argument.size(), socket);
        } else if (argument == "--read-only") {
            read_only = true;
        }
    }
    if (uri.empty() || socket < 0) {
        throw Error(ErrorKind::kUsage,
                    "insp-nbd is started by insp: insp-nbd --uri=URI --socket=FD [--read-only]");
    }
    LibnbdDevice device(uri, read_only);
    NbdServerOptions options;
    options.read_only = read_only;
    options.minimum_block = device.minimum_block();
    NbdServer(device, options).serve_connection(socket);
    return 0;
}

}  // namespace
}  // namespace inspect

int main(int argc, char** argv) {
    try {
        return inspect::run(std::span(argv, static_cast<size_t>(argc)).subspan(1));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
