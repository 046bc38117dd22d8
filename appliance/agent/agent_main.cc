// SPDX-License-Identifier: GPL-2.0-or-later
//
// PID 1 of the appliance.
#include <unistd.h>

#include <csignal>
#include <exception>

#include "agent.h"
#include "connection.h"
#include "log.h"
#include "machine.h"

int main() {
    using namespace inspect::agent;
    std::signal(SIGPIPE, SIG_IGN);
    try {
        Machine machine;
        inspect::Fd port = machine.open_port();
        Connection connection(port.get(), port.get());
        Agent(connection, machine).run();
    } catch (const std::exception& error) {
        complain(error.what());
    }
    stop_machine();
}
