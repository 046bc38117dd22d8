// SPDX-License-Identifier: LGPL-2.1-or-later
//
// GuestConsole: the guest's kernel log as a VMM of others writes it, into a file in memory.
#pragma once

#include <cstddef>
#include <string>

#include "base/fd.h"

namespace inspect {

// Not thread-safe. The file has a fixed size: what a guest writes beyond it is lost, and fills no memory. (A
// kernel prints nothing before it panics, and then its whole log, which is a fraction of that.)
class GuestConsole {
  public:
    // Throws Error(kEngine).
    GuestConsole();

    int fd() const { return file_.get(); }  // for writing, from its start
    // The last `limit` bytes, unprintable ones replaced.
    std::string tail(size_t limit) const;

  private:
    Fd file_;
};

}  // namespace inspect
