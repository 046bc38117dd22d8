// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/guest_console.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include <inspect/error.h>

#include "engine/vmm_child.h"

namespace inspect {

namespace {

constexpr size_t kSize = 256 * 1024;

}  // namespace

GuestConsole::GuestConsole() : file_(::memfd_create("insp-console", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
    if (!file_ || ::ftruncate(file_.get(), kSize) != 0 ||
        ::fcntl(file_.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0)
        throw Error::from_errno(ErrorKind::kEngine, "cannot make a file for the appliance's console", errno);
}

std::string GuestConsole::tail(size_t limit) const {
    std::string text(kSize, '\0');
    const ssize_t n = ::pread(file_.get(), text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    text.resize(text.find_last_not_of('\0') + 1);  // npos + 1 is 0
    if (text.size() > limit) text.erase(0, text.size() - limit);
    return printable_console(text);
}

}  // namespace inspect
