// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Customizing a guest: host name, passwords, users, keys, files, scripts, in the order given. The operations
// and their arguments are those of virt-customize(1), so that its users' scripts go on working.
//
//     inspect::Customization changes({{"hostname", "web-01"}, {"ssh-inject", "root:file:id.pub"}}, {});
//     inspect::Session session(...);       // writable
//     session.mount_os();
//     changes.apply(session);
//     session.commit();                    // all of it, or nothing
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/error.h>
#include <inspect/session.h>

namespace inspect {

// One of the operations that there are.
struct CustomizeOperation {
    const char* name;      // "hostname"
    const char* argument;  // its form, for a help text: "NAME"; empty: it takes none
    const char* help;      // a line, without a full stop
};
// In alphabetical order; valid for ever.
std::span<const CustomizeOperation> customize_operations() noexcept;

struct CustomizeStep {
    std::string operation;
    std::string argument = {};
};

// The steps in a file as virt-customize's --commands-from-file has it: an operation a line, without dashes,
// then its argument; '#' begins a comment line, a backslash at the end goes on. In such a file a password may
// stand
// ("password root:password:..."), which it may not on a command line. Throws Error: kUsage with the line's
// number.
std::vector<CustomizeStep> read_customize_file(const std::string& path);

struct CustomizeOptions {
    // How passwords are hashed: "yescrypt", "sha512", "sha256", "md5"; empty: what the guest's own system
    // uses.
    std::string password_crypto = {};
    // For packages, which the guest's own package manager installs or updates without a network: a directory
    // of the host with packages (*.deb, *.rpm...; also with their repodata), empty: none; and the socket of
    // an HTTP proxy that this process reaches and the guest's package manager then does, and nothing else:
    // "unix:/PATH" or "tcp:HOST:PORT", empty: none. One of the two is needed. (A package manager wants
    // memory: SessionOptions:: memory_bytes of 512 MiB or so.)
    std::string package_directory = {};
    std::string package_proxy = {};
    // Passwords may be arguments ("root:password:..."): they come from a place that others can't read.
    bool allow_plain_passwords = false;
    // Each step before it is done, as a sentence (printable): "Setting the host name: web-01".
    std::function<void(const std::string& what)> on_step = {};
    // A password that was chosen at random (user, password). It is nowhere else.
    std::function<void(const std::string& user, const std::string& password)> on_random_password = {};
    // What scripts that run in the guest's tree write.
    Sink on_output = {};
    // What could not be done as it was meant (printable), and is no failure.
    std::function<void(const std::string& message)> on_warning = {};
};

class Customization {
  public:
    // Checks all of the steps, and reads what they need of the host (passwords, keys, scripts): nothing is
    // begun with input that is wrong. Throws Error: kUsage for an unknown operation or an argument of the
    // wrong form, else what reading a file throws.
    Customization(const std::vector<CustomizeStep>& steps, CustomizeOptions options);
    ~Customization();
    Customization(Customization&&) noexcept;
    Customization& operator=(Customization&&) noexcept;

    // What apply() will do, a sentence (printable) for each step, as on_step gets them.
    std::vector<std::string> steps() const;

    // Gives all steps of an operation another argument: for the next of several guests, which differ in it
    // (their host names). The other steps stay, with what they have read. Throws as the constructor does.
    void set_argument(std::string_view operation, const std::string& argument);

    // Does them in a writable session whose tree is mounted, in their order, but for SELinux labels, which
    // are given when all else is done. The random seed of the guest is renewed first, also when there are no
    // steps. May be called for several guests; a password that is random is another one for each. Throws
    // Error, with the step in its message; then the session must not be committed. Not thread-safe.
    void apply(Session& session);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace inspect
