// SPDX-License-Identifier: LGPL-2.1-or-later
//
// ioctl(2) on KVM's descriptors, with errors thrown.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <string>

#include <inspect/error.h>

namespace inspect {

// Retries EINTR. `name` is the request's, for the message. Throws Error(kEngine).
template <typename Argument>
int kvm_call(int fd, unsigned long request, Argument argument, const char* name) {
    int result;
    do {
        result = ::ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    if (result < 0) throw Error::from_errno(ErrorKind::kEngine, std::string(name) + " failed", errno);
    return result;
}

#define INSP_KVM(fd, request, argument) ::inspect::kvm_call((fd), (request), (argument), #request)

}  // namespace inspect
