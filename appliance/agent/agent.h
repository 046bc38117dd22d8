// SPDX-License-Identifier: GPL-2.0-or-later
//
// Agent: takes requests and has them worked on, one after the other.
#pragma once

#include <optional>
#include <string>

#include "connection.h"
#include "disks.h"
#include "guest_tree.h"
#include "machine.h"
#include "mounts.h"
#include "open_tree.h"
#include "operations.h"
#include "os_tree.h"
#include "resize.h"
#include "stacks.h"

namespace inspect::agent {

// Not thread-safe.
class Agent {
  public:
    // In the appliance.
    Agent(Connection& connection, Machine& machine);
    // On a host, for tests: `sysroot` is the guest's tree; nothing is woken, bound or mounted, and a program
    // is run (on that host) only with `programs`.
    Agent(Connection& connection, Fd sysroot, bool programs = false);

    // Works until the stream ends. Throws ConnectionLost.
    void run();

  private:
    void look_ahead(const proto::Request& request);
    void dispatch(proto::Request& request, proto::Response& response);
    void wake(proto::Wake& request);
    void mount(const proto::Mount& request);
    void mount_os(const proto::MountOs& request, proto::Response& response);
    void inspect(proto::Response& response);
    void run_program(const Context& context, const proto::RunProgram& request);
    void look_again();
    void unmount();
    void set_identifiers(const proto::SetIdentifiers& request, proto::Response& response);
    void finish();
    ResizeContext resize_context(const char* what);
    void need_machine(const char* what) const;

    Connection& connection_;
    Machine* machine_ = nullptr;
    Disks disks_;
    Programs programs_{connection_};
    Stacks stacks_{disks_, programs_};
    Mounts mounts_{disks_, &programs_};
    GuestTree tree_;
    bool programs_on_host_ = false;
    OpenTree open_tree_;
    bool previous_succeeded_ = true;
};

}  // namespace inspect::agent
