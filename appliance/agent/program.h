// SPDX-License-Identifier: GPL-2.0-or-later
//
// Starting a program as a user asks for one: in a session and a mount namespace of its own, in the appliance
// or in the guest's tree. (For the agent's own tools see child.h, which costs less.)
//
// All that the program mounts goes with its namespace, when its last process does. So the guest's tree is
// surrounded by /dev, /proc, /sys and /tmp for this program alone, and may run what it holds (the agent
// mounts everything noexec, nosuid and nodev).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace inspect::agent {

struct Program {
    std::vector<std::string> arguments;
    std::vector<std::string> environment;  // all of it
    std::string directory = "/";
    int input = -1;  // descriptors above 2
    int output = -1;
    int errors = -1;
    bool terminal = false;  // `input` is one, and becomes the controlling terminal
    bool contained = true;  // false, on a host for tests: no namespace
    std::string tree = {};  // where the guest's tree is mounted: it appears on /sysroot; empty: there is none
    bool chroot = false;    // the program's root is that tree
};

struct StartedProgram {
    pid_t pid = -1;
    // When it could not be started, pid is -1.
    const char* failed_step = nullptr;  // "change to the directory"
    int errnum = 0;
};

// Throws Failure(ENGINE) when there can't be another process.
StartedProgram start_program(const Program& program);

// Ends everything that programs started here and left behind: by SIGTERM, and what is still there after a
// moment by SIGKILL. Returns when it is gone. In the appliance only.
void end_left_behind();

}  // namespace inspect::agent
