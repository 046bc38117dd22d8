// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests: a real FUSE mount on the host, whose agent works on a directory of the host: everything of `insp
// mount` but the appliance.
#pragma once

#include <sys/eventfd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <inspect/host_mount.h>

#include "agent_machine.h"
#include "guest/session_impl.h"

namespace inspect {

// Why FUSE can't be used here; empty: it can.
inline std::string why_no_fuse() {
    if (access("/dev/fuse", R_OK | W_OK) != 0) return "/dev/fuse is missing or not permitted";
    if (geteuid() != 0 && system("command -v fusermount3 >/dev/null") != 0)
        return "fusermount3 is not installed";
    return "";
}

// base/guest appears on base/mount. Unmounts at the latest when it is destroyed.
class MountedTree {
  public:
    explicit MountedTree(const std::filesystem::path& base, bool writable = true) : base_(base) {
        namespace fs = std::filesystem;
        for (const char* name : {"guest", "mount", "run"}) fs::create_directories(base / name);
        fs::permissions(base / "run", fs::perms::owner_all);
        setenv("XDG_RUNTIME_DIR", (base / "run").c_str(), 1);
        std::ofstream(base / "disk.img") << std::string(4096, '\0');
        SessionOptions options;
        options.disks.push_back({.path = (base / "disk.img").string(), .format = "raw"});
        options.writable = writable;
        session_.emplace(std::make_unique<Session::Impl>(
            options, SessionSeams{.start =
                                      [this](const EngineOptions&) {
                                          auto machine =
                                              std::make_unique<AgentMachine>((base_ / "guest").string());
                                          machine_ = machine.get();
                                          return machine;
                                      },
                                  .connection = {.silence = std::chrono::seconds(10)}}));
        session_->mount_os();
        std::promise<void> mounted;
        HostMountOptions mount;
        mount.directory = mount_point().string();
        mount.on_mounted = [&] { mounted.set_value(); };
        thread_ = std::thread([this, mount, &mounted] {
            try {
                mount_on_host(*session_, mount);
            } catch (...) {
                error_ = std::current_exception();
                try {
                    mounted.set_exception(error_);
                } catch (const std::future_error&) {
                    // It was mounted; unmount() tells.
                }
            }
        });
        try {
            mounted.get_future().get();
        } catch (...) {
            thread_.join();
            throw;
        }
    }
    ~MountedTree() {
        if (!thread_.joinable()) return;
        try {
            unmount_from_host(mount_point(), {.lazy = true});
        } catch (const Error&) {
            // The test that cares has asked itself.
        }
        thread_.join();
    }
    MountedTree(const MountedTree&) = delete;
    MountedTree& operator=(const MountedTree&) = delete;

    std::filesystem::path mount_point() const { return base_ / "mount"; }
    std::filesystem::path guest() const { return base_ / "guest"; }
    // Throws what mounting or serving threw.
    void unmount() {
        unmount_from_host(mount_point());
        thread_.join();
        if (error_) std::rethrow_exception(error_);
    }
    void kill_agent() { machine_->stop(true); }

  private:
    std::filesystem::path base_;
    std::optional<Session> session_;
    AgentMachine* machine_ = nullptr;
    std::thread thread_;
    std::exception_ptr error_;
};

}  // namespace inspect
