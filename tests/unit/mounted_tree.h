// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests: a real FUSE mount on the host, whose agent works on a directory of the host: everything of `insp
// mount` but the appliance.
#pragma once

#include <sys/socket.h>
#include <sys/wait.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
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

// base/guest appears on base/mount, served by a process of its own: a process that waits for its own FUSE
// mount in munmap(2) would wait for ever, as its other threads can't touch memory meanwhile. Unmounts at the
// latest when it is destroyed.
class MountedTree {
  public:
    explicit MountedTree(const std::filesystem::path& base, bool writable = true) : base_(base) {
        namespace fs = std::filesystem;
        for (const char* name : {"guest", "mount", "run"}) fs::create_directories(base / name);
        fs::permissions(base / "run", fs::perms::owner_all);
        setenv("XDG_RUNTIME_DIR", (base / "run").c_str(), 1);
        std::ofstream(base / "disk.img") << std::string(4096, '\0');
        auto [ours, childs] = make_socket_pair(SOCK_SEQPACKET);
        child_ = fork();
        if (child_ < 0) throw Error::from_errno("fork", errno);
        if (child_ == 0) {
            ours.reset();
            _exit(serve(base, writable, childs.get()));
        }
        childs.reset();
        control_ = std::move(ours);
        char text[1024];
        ssize_t size = recv(control_.get(), text, sizeof text, 0);
        if (size == 1) return;
        waitpid(child_, nullptr, 0);
        child_ = -1;
        throw Error(ErrorKind::kUsage, std::string(text, size > 0 ? static_cast<size_t>(size) : 0));
    }
    ~MountedTree() {
        if (child_ < 0) return;
        try {
            unmount_from_host(mount_point(), {.lazy = true});
        } catch (const Error&) {
            // The test that cares has asked itself.
        }
        waitpid(child_, nullptr, 0);
    }
    MountedTree(const MountedTree&) = delete;
    MountedTree& operator=(const MountedTree&) = delete;

    std::filesystem::path mount_point() const { return base_ / "mount"; }
    // Throws what serving threw.
    void unmount() {
        unmount_from_host(mount_point());
        waitpid(child_, nullptr, 0);
        child_ = -1;
    }
    void kill_agent() {
        send(control_.get(), "", 1, 0);
        char byte;
        recv(control_.get(), &byte, 1, 0);
    }

  private:
    // The child's life. It says "" (one byte) when it is mounted, else why not; a byte to it kills its agent.
    static int serve(const std::filesystem::path& base, bool writable, int control) {
        AgentMachine* machine = nullptr;
        SessionOptions options;
        options.disks.push_back({.path = (base / "disk.img").string(), .format = "raw"});
        options.writable = writable;
        auto start = [&](const EngineOptions&) {
            auto made = std::make_unique<AgentMachine>((base / "guest").string());
            machine = made.get();
            return made;
        };
        try {
            Session session(std::make_unique<Session::Impl>(
                options, SessionSeams{.start = start, .connection = {.silence = std::chrono::seconds(10)}}));
            session.mount_os();
            HostMountOptions mount;
            mount.directory = (base / "mount").string();
            mount.on_mounted = [&] {
                send(control, "", 1, 0);
                std::thread([&machine, control] {
                    char byte;
                    if (recv(control, &byte, 1, 0) != 1) return;
                    machine->stop(true);
                    send(control, "", 1, 0);
                }).detach();
            };
            mount_on_host(session, mount);
            return 0;
        } catch (const std::exception& error) {
            send(control, error.what(), std::strlen(error.what()), MSG_DONTWAIT | MSG_NOSIGNAL);
            return 1;
        }
    }

    std::filesystem::path base_;
    pid_t child_ = -1;
    Fd control_;
};

}  // namespace inspect
