// SPDX-License-Identifier: LGPL-2.1-or-later
//
// include/inspect/appliance.h: the doctor's checks.
#include <sched.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>

#include <inspect/appliance.h>

#include "engine/appliance_files.h"
#include "engine/appliance_options.h"
#include "engine/cache.h"
#include "engine/engine.h"
#include "engine/engine_choice.h"
#include "engine/host.h"
#include "engine/qemu_engine.h"
#include "protocol/frame.h"
#include "protocol/insp.pb.h"

namespace inspect {

namespace {

using Clock = std::chrono::steady_clock;

std::string seconds_since(Clock::time_point begin) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3f s", std::chrono::duration<double>(Clock::now() - begin).count());
    return text;
}

// One request there and back: the appliance is alive.
void ping(Machine& machine) {
    proto::Request request;
    request.mutable_ping();
    std::string body = request.SerializeAsString();
    std::vector<std::byte> out;
    protocol::append_frame(out, protocol::FrameType::kRequest, 1, std::as_bytes(std::span(body)));
    machine.channel().write(out);
    protocol::FrameParser parser;
    for (;;) {
        if (auto frame = parser.next()) {
            if (frame->type == protocol::FrameType::kResponse && frame->stream == 1) return;
            throw Error(ErrorKind::kEngine, "the appliance gave an answer that was not asked for");
        }
        parser.filled(machine.channel().read(parser.room(4096), std::chrono::seconds(60)));
    }
}

bool user_namespaces_work() {
    pid_t child = ::fork();
    if (child == 0) ::_exit(::unshare(CLONE_NEWUSER | CLONE_NEWIPC) == 0 ? 0 : 1);
    int status = 1;
    while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return child > 0 && status == 0;
}

// Runs one check; what it throws becomes a failed check.
template <typename Body>
void check(std::vector<Check>& checks, const char* name, const char* advice, Body body) {
    Check result{name, Check::Status::kOk, "", ""};
    try {
        body(result);
    } catch (const std::exception& error) {
        result.status = Check::Status::kFailed;
        result.detail = error.what();
        result.advice = advice;
    }
    checks.push_back(std::move(result));
}

}  // namespace

std::vector<Check> diagnose(const SessionOptions& options) {
    std::vector<Check> checks;
    EngineOptions engine = appliance_options(options);
    engine.disks.clear();  // the starts are timed without any

    const EngineKind wanted = engine.engine;
    bool has_kvm = false;
    check(checks, "kvm", "see the message", [&](Check& result) {
        try {
            Fd kvm = open_kvm();
            bool software = probe_software_kvm(kvm.get());
            has_kvm = true;
            result.detail = software ? "/dev/kvm works, but the guest's kernel mode is emulated (no hardware "
                                       "virtualization)"
                                     : "/dev/kvm works, on hardware virtualization";
            if (!software) return;
            result.advice =
                "commands take seconds on it where hardware takes milliseconds; enable nested virtualization "
                "where that is possible, else QEMU is quicker (package qemu-system-x86)";
        } catch (const Error& error) {
            if (wanted == EngineKind::kKvm || find_qemu().empty()) throw;
            result.detail = error.message();
            result.advice = "the engine qemu does without it, some ten times slower";
        }
        result.status = Check::Status::kWarning;
    });
    check(checks, "qemu", "install Debian's package qemu-system-x86", [&](Check& result) {
        result.detail = find_qemu();
        if (!result.detail.empty()) return;
        result.detail = "qemu-system-x86_64 is not installed";
        if (wanted == EngineKind::kQemu) throw Error(ErrorKind::kNotFound, result.detail);
        result.detail += "; it is needed without KVM alone";
    });
    const EngineChoice choice = choose_engine(engine);
    check(checks, "engine", "", [&](Check& result) { result.detail = choice.reason; });
    check(checks, "appliance", "reinstall libinspect, or set INSP_APPLIANCE", [&](Check& result) {
        ApplianceFiles files = open_appliance(options.appliance_directory);
        result.detail = files.directory + ", " + std::to_string(files.size_bytes >> 20) + " MiB";
    });
    check(checks, "vmm", "reinstall libinspect, or set INSP_VMM",
          [&](Check& result) { result.detail = find_vmm_program(); });
    check(checks, "cache",
          "set INSP_CACHE_DIR to a directory that is this user's alone; without it every start is cold",
          [&](Check& result) {
              std::string directory = Cache::directory(options.cache_directory);
              Cache cache(directory);
              struct statvfs space;
              uint64_t free_bytes = 0;
              if (::statvfs(directory.c_str(), &space) == 0) free_bytes = space.f_bavail * space.f_frsize;
              result.detail = directory + ", " + std::to_string(cache.list_snapshots().size()) +
                              " snapshots, " + std::to_string(free_bytes >> 20) + " MiB free";
              if (::access(directory.c_str(), W_OK) != 0 || free_bytes < (256u << 20)) {
                  result.status = Check::Status::kWarning;
                  result.advice = "a snapshot needs some 50 MiB in a writable directory";
              }
          });
    check(checks, "sandbox", "", [&](Check& result) {
        if (user_namespaces_work()) {
            result.detail = "seccomp and own user and IPC namespaces";
        } else {
            result.status = Check::Status::kWarning;
            result.detail = "seccomp alone: this system allows no user namespaces to this user";
            result.advice =
                "sysctl user.max_user_namespaces and kernel.unprivileged_userns_clone decide that";
        }
    });
    for (const Check& done : checks)
        if (done.status == Check::Status::kFailed && done.name != "cache" && done.name != "sandbox")
            return checks;

    auto time_start = [&](Check& result, const EngineOptions& how) {
        auto begin = Clock::now();
        auto machine = start_machine(how);
        ping(*machine);
        result.detail = seconds_since(begin) + " to the agent's first answer";
        return machine->stats().warm;
    };
    // Of each engine that could be taken.
    auto time_starts = [&](EngineKind kind, const std::string& name) {
        engine.engine = kind;
        check(checks, (name + " cold start").c_str(), "run with -v to see the appliance's kernel log",
              [&](Check& result) {
                  EngineOptions cold = engine;
                  cold.use_snapshot = false;
                  time_start(result, cold);
              });
        check(checks, (name + " warm start").c_str(),
              "insp appliance clear removes a snapshot that is of no use", [&](Check& result) {
                  bool made = make_snapshot(engine);
                  bool warm = time_start(result, engine);
                  if (made) result.detail += " (snapshot made now)";
                  if (warm) return;
                  result.status = Check::Status::kWarning;
                  result.advice = "the snapshot could not be used: run with -v to see why";
              });
    };
    if (wanted == EngineKind::kKvm || (wanted == EngineKind::kAuto && has_kvm))
        time_starts(EngineKind::kKvm, "kvm");
    if (wanted == EngineKind::kQemu || (wanted == EngineKind::kAuto && !find_qemu().empty()))
        time_starts(EngineKind::kQemu, "qemu");
    return checks;
}

}  // namespace inspect
