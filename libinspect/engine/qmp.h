// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Qmp: QEMU's monitor, for the little that a command line can't say. (docs/interop/qmp-spec in QEMU's
// source.)
#pragma once

#include <chrono>
#include <string>

#include "base/fd.h"

namespace inspect {

// Not thread-safe. What QEMU says is believed to be its own, and bounded all the same. Every call throws
// Error(kEngine) when QEMU refuses, hangs up, says too much or nothing for 20 seconds; Error(kCancelled) once
// interrupt_fd (EngineOptions') is readable.
class Qmp {
  public:
    // One end of a pair of stream sockets; QEMU has, or is about to get, the other one.
    Qmp(Fd socket, int interrupt_fd) : socket_(std::move(socket)), interrupt_fd_(interrupt_fd) {}

    // Runs a command and waits for its end. arguments: a JSON object, empty for none.
    void execute(const std::string& command, const std::string& arguments = {});
    // Hands over a descriptor, which QEMU's other commands then know by this name.
    void give_fd(const std::string& name, int fd);
    // Waits for an event of this name that has come after the last command. status: what its data say under
    // that name, empty for any.
    void await_event(const std::string& name, const std::string& status = {});

  private:
    std::string line();
    // fd: goes along; -1: none.
    void send(std::string request, int fd);
    void await_answer(const std::string& command);

    Fd socket_;
    int interrupt_fd_;
    std::string received_;
};

}  // namespace inspect
