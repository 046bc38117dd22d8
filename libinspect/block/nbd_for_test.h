// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For the tests of NBD: a device that is served in a thread of its own, programs of others, and whether they
// are there.
#pragma once

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/subprocess.h"
#include "base/temp_dir_for_test.h"
#include "block/nbd_device.h"
#include "block/nbd_listen.h"
#include "block/nbd_server.h"
#include "block/nbd_uri.h"

namespace inspect {

// Skips a test, with the reason, where a program that it needs isn't installed.
#define SKIP_WITHOUT(program)                                                      \
    do {                                                                           \
        if (!program_exists(program)) GTEST_SKIP() << program " is not installed"; \
    } while (false)

inline bool program_exists(const std::string& name) {
    try {
        run_program({name, "--version"}, std::chrono::seconds(20), 1 << 20);
        return true;
    } catch (const Error& error) {
        return error.kind() != ErrorKind::kNotFound;
    }
}

// Runs a program and expects it to succeed. Its standard output.
inline std::string run(std::vector<std::string> arguments) {
    std::string line;
    for (const std::string& argument : arguments) line += argument + " ";
    const auto result = run_program(std::move(arguments), std::chrono::seconds(100), 64 << 20);
    EXPECT_EQ(result.status, 0) << line << "\n" << result.output << result.errors;
    return result.output;
}

// nbdsh, by the system's Python, which is where Debian's package puts its module.
inline std::string nbdsh(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"/usr/bin/python3", "-m", "nbd"});
    return run(std::move(arguments));
}
inline bool nbdsh_exists() {
    return program_exists("/usr/bin/python3") &&
           run_program({"/usr/bin/python3", "-c", "import nbd"}, std::chrono::seconds(20), 1 << 20).status ==
               0;
}
#define SKIP_WITHOUT_NBDSH()                                                    \
    do {                                                                        \
        if (!nbdsh_exists()) GTEST_SKIP() << "python3-libnbd is not installed"; \
    } while (false)

// Serves a device on a Unix socket until the end of the scope.
class ServedDevice {
  public:
    explicit ServedDevice(BlockDevice& device, NbdServerOptions options = {})
        : server_(device, std::move(options)),
          listening_(listen_on_unix_socket(dir_.file("nbd"))),
          stop_(::eventfd(0, EFD_CLOEXEC)),
          thread_([this] { server_.serve(listening_.get(), stop_.get()); }) {}
    ~ServedDevice() { stop(); }

    void stop() {
        if (!thread_.joinable()) return;
        const uint64_t one = 1;
        [[maybe_unused]] ssize_t written = ::write(stop_.get(), &one, sizeof one);
        thread_.join();
        listening_.reset();
    }
    std::string uri(const std::string& name = "") const {
        return "nbd+unix:///" + name + "?socket=" + dir_.file("nbd");
    }
    Fd connect() const { return connect_to_nbd_server(NbdUri::parse(uri()), std::chrono::seconds(10)); }

  private:
    TempDir dir_;
    NbdServer server_;
    Fd listening_;
    Fd stop_;
    std::thread thread_;
};

inline std::unique_ptr<NbdDevice> connect_nbd(
    const std::string& text, bool read_only = false,
    std::chrono::milliseconds stall_timeout = std::chrono::seconds(60)) {
    const NbdUri uri = NbdUri::parse(text);
    return std::make_unique<NbdDevice>(connect_to_nbd_server(uri, std::chrono::seconds(10)), uri.export_name,
                                       NbdDeviceOptions{.name = text,
                                                        .read_only = read_only,
                                                        .handshake_timeout = std::chrono::seconds(20),
                                                        .stall_timeout = stall_timeout});
}

}  // namespace inspect
