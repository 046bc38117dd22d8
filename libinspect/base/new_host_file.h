// SPDX-License-Identifier: LGPL-2.1-or-later
//
// NewHostFile: a file of the host that appears under its name when it is complete, or not at all.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/fd.h"

namespace inspect {

// What is to be called `target` is called that until it is complete: "TARGET.insp-" and eight random digits.
std::string temporary_name(const std::string& target);

// Throws Error(kDenied) when there is something of that name: before work is done that publish() would
// refuse.
void require_unused(const std::string& target);

// Until publish() the file has a temporary name beside its place, so that it can be given its name in one
// step; the destructor removes it. Not thread-safe.
class NewHostFile {
  public:
    // Makes it, empty, with these permissions less the umask. Throws Error that names `target`.
    explicit NewHostFile(std::string target, mode_t mode = 0666);
    ~NewHostFile();
    NewHostFile(NewHostFile&& other) noexcept;
    NewHostFile& operator=(NewHostFile&&) = delete;
    NewHostFile(const NewHostFile&) = delete;

    const std::string& target() const noexcept { return target_; }
    // Where it is until publish().
    const std::string& path() const noexcept { return path_; }
    // A descriptor of it for reading and writing. Throws Error.
    Fd open() const;

    // Makes it durable and gives it its name; what is there under that name is replaced only if `replace`.
    // Throws Error; kDenied when something is there.
    void publish(bool replace = false);
    // Takes a file that was published back. Nothing when it wasn't.
    void retract() noexcept;

  private:
    std::string target_;
    std::string path_;  // empty once it has its name
    bool published_ = false;
};

}  // namespace inspect
