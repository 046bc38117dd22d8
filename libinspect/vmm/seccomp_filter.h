// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The system calls that a running VMM may make, as a BPF program
// (Documentation/userspace-api/seccomp_filter.rst). It is put together by hand: the list is short, and a
// library that compiles it would take longer than the rest of a VM's start.
#pragma once

#include <linux/filter.h>

#include <vector>

namespace inspect {

std::vector<sock_filter> vmm_seccomp_filter();

}  // namespace inspect
