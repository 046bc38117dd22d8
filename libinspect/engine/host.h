// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the host is: its CPU and kernel as far as a snapshot depends on them, and which kind of KVM it offers.
#pragma once

#include <string>

#include "base/fd.h"

namespace inspect {

class Cache;

// The CPU's vendor, family, model, stepping and feature words, and the kernel's release and version: a
// snapshot taken elsewhere does not fit.
std::string host_identity();

// Opens /dev/kvm. Throws Error: kNotFound when it is missing, kDenied when it may not be opened (with the
// group to join), kEngine when it isn't a KVM that we know.
Fd open_kvm();

// True when KVM emulates the guest's kernel mode, which then needs help (vmm/software_kvm.h). Found out with
// a guest of two instructions, one of which KVM's emulator lacks. (Its CPUID tells nothing: in kernel mode
// that is emulated too, and obeys KVM_SET_CPUID2.) Costs some milliseconds. Throws Error(kEngine) when the
// guest can't be run at all.
bool probe_software_kvm(int kvm_fd);

// The same, from the cache where it is known; there it is kept. cache: nullptr where there is none.
bool is_software_kvm(int kvm_fd, const Cache* cache);

}  // namespace inspect
