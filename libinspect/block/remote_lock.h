// SPDX-License-Identifier: LGPL-2.1-or-later
//
// RemoteLock: keeps two sessions of this user on this host from changing one remote image, and its journal,
// at the same time. What others do with it is the server's business.
#pragma once

#include <string>

#include "base/fd.h"

namespace inspect {

// Holds the lock, a file of its own, while it lives.
class RemoteLock {
  public:
    // `path` is that of the file; `image` is what messages call it. Throws Error(kBusy) at once when another
    // session holds it.
    RemoteLock(std::string path, const std::string& image);
    ~RemoteLock();
    RemoteLock(const RemoteLock&) = delete;
    RemoteLock& operator=(const RemoteLock&) = delete;

  private:
    std::string path_;
    Fd fd_;
};

}  // namespace inspect
