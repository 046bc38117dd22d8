// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The one exception type of libinspect.
//
// Every public function that fails throws inspect::Error (or std::bad_alloc). The message is a sentence for
// the person who ran the command: what was tried, on what, why it failed and, where we know it, what to do.
// It never is an errno alone, and it is valid UTF-8 even where a guest's file name is not.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace inspect {

enum class ErrorKind {
    kNotFound,     // a path, device, file system or operating system is not there
    kUnsupported,  // understood, but not something this build can do
    kCorrupt,      // an image, file system or snapshot contradicts itself
    kBusy,         // someone else holds the image
    kDenied,       // permissions, read-only images, read-only mounts
    kNoSpace,      // no room, in the guest or on the host
    kEngine,       // the appliance or its virtual machine failed
    kUsage,        // the caller asked for something that makes no sense
    kCancelled,    // the caller stopped the operation
    kInternal,     // a bug in libinspect
};

// The kind's stable name as --json prints it: "not-found", "no-space", ...
std::string_view error_kind_name(ErrorKind kind) noexcept;

class Error : public std::exception {
  public:
    Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}

    // The same with the errno that the system gave; its text is appended to the message after ": ".
    static Error from_errno(ErrorKind kind, std::string message, int errnum);
    // Chooses the kind by the errno: ENOENT is kNotFound, EACCES/EPERM/EROFS kDenied, ENOSPC/EDQUOT kNoSpace,
    // EBUSY/ETXTBSY kBusy, EOPNOTSUPP kUnsupported, any other `otherwise`.
    static Error from_errno(std::string message, int errnum, ErrorKind otherwise = ErrorKind::kInternal);

    ErrorKind kind() const noexcept { return kind_; }
    const std::string& message() const noexcept { return message_; }
    const char* what() const noexcept override { return message_.c_str(); }

    // The same error with "context: " in front of its message.
    Error with_context(std::string_view context) const;

  private:
    ErrorKind kind_;
    std::string message_;
};

}  // namespace inspect
