// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the VMM's process gives up before the guest runs. Three steps, in this order:
//
//   close_all_but()     descriptors
//   leave_namespaces()  while the process has one thread; best effort: many systems refuse unprivileged
//                       namespaces, and the filter below does not depend on them
//   lock_down()         for all threads: a seccomp filter that allows what a running VM needs, by number, for
//                       ioctl and memory protection also by argument, and kills the process for anything else
//
// Not done: PR_SET_PDEATHSIG. It fires when the parent's *thread* ends, which in a library's caller proves
// nothing; the process ends when its sockets do.
#pragma once

#include <span>

namespace inspect {

// Closes every descriptor but 0, 1, 2 and those.
void close_all_but(std::span<const int> keep);

// New user and IPC namespaces, an empty root directory, no capabilities, no core dumps, no ptrace by
// others, at most `max_fds` as the number of a new descriptor.
void leave_namespaces(unsigned max_fds);

// Sets no_new_privs and the filter, for all threads. Throws Error(kEngine) when the system can't.
void lock_down();

}  // namespace inspect
