// SPDX-License-Identifier: GPL-2.0-or-later
//
// A Session as a command uses it: made from the common options, mounted as they say, interrupted by signals,
// and with its warnings and statistics reported at the end.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <inspect/session.h>

#include "cli/context.h"
#include "cli/signals.h"

namespace inspect::cli {

enum class Access { kRead, kChange };

// What --key and --keys-from-stdin say. Throws UsageError, or Error for a file that can't be read.
std::vector<EncryptionKey> keys_of(const Arguments& arguments);
// The disks that the command line names; --format and the like act on the images after them. `operands` are
// images as well, the last ones, and what was given last holds for them. Throws UsageError, or Error where
// libvirt was asked.
std::vector<DiskSpec> disk_specs(const Arguments& arguments, std::span<const std::string> operands = {});
// The disks of this domain, with what the command line says of images.
std::vector<DiskSpec> domain_disk_specs(const Arguments& arguments, const std::string& domain);
// The same of a second guest's disks, for commands that have this option, -A.
inline constexpr const char* kSecondGuest = "second";
std::vector<DiskSpec> second_disk_specs(const Arguments& arguments);
WriteMode write_mode_of(const Arguments& arguments);  // throws UsageError
// All that it says of a session. Throws as disk_specs().
SessionOptions session_options(const Arguments& arguments, Access access);

// How the appliance runs, for commands on the appliance itself: of one disk. Throws UsageError.
SessionOptions appliance_options(const Arguments& arguments);

enum class StatsFormat { kNone, kTable, kJson };
StatsFormat stats_format(const Arguments& arguments);  // throws UsageError
std::string format_stats(const SessionStats& stats, uint64_t total_ns, StatsFormat format);

class Guest {
  public:
    // Opens the images; throws UsageError for what makes no sense to Session, or what that throws.
    Guest(Context& context, Access access);
    // The same, of what `adjust` makes of what the command line says.
    Guest(Context& context, Access access, const std::function<void(SessionOptions&)>& adjust);
    // With these options, whatever the command line says.
    Guest(Context& context, SessionOptions options);
    ~Guest();
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

    // Mounts what -m says, or the operating system.
    void mount();

    // The session, for a call that -x shows with these arguments.
    Session& call(const char* function, std::initializer_list<std::string_view> arguments = {});

    // True for a directory or a symlink to one; false for anything else and for nothing.
    bool is_directory(const std::string& path);
    // nullopt: there is nothing of that name.
    std::optional<FileStat> find(const std::string& path, bool follow_symlink);
    // For -T: the library moves and links into a directory, through a symlink to one as well. Removes such a
    // symlink. Throws Error(kDenied) for a directory, and for anything when it is not to be replaced.
    void make_room_for_name(const std::string& path, bool replace);

    // Puts the changes into the images. False: there were none.
    bool commit();

    // For a command that works until it is told to end: readable once a signal has come, and from then on a
    // signal interrupts nothing else.
    int stop_fd() const { return signals_.fd(); }
    void serve_until_stopped() {
        signals_.attach(nullptr);
        report_warnings();
    }

  private:
    void open(SessionOptions options);
    void report_warnings() noexcept;

    Context& context_;
    StatsFormat stats_;
    SignalScope signals_;
    std::unique_ptr<Session> session_;
    std::vector<MountSpec> mounts_;
    bool found_root_ = false;  // something is mounted
};

}  // namespace inspect::cli
