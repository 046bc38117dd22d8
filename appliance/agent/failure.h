// SPDX-License-Identifier: GPL-2.0-or-later
//
// What goes wrong while a request is worked on: it becomes the Failure of the Response.
//
// Unlike inspect::Error the message is bytes (it may hold a guest's file name as it is) and the errno stays a
// number beside it.
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "protocol/insp.pb.h"

namespace inspect::agent {

class Failure : public std::exception {
  public:
    Failure(proto::ErrorKind kind, std::string message, int errnum = 0)
        : kind_(kind), message_(std::move(message)), errnum_(errnum) {}

    // "WHAT: text of the errno", the kind chosen by the errno.
    static Failure from_errno(std::string what, int errnum);

    proto::ErrorKind kind() const noexcept { return kind_; }
    const std::string& message() const noexcept { return message_; }
    int errnum() const noexcept { return errnum_; }
    const char* what() const noexcept override { return message_.c_str(); }

  private:
    proto::ErrorKind kind_;
    std::string message_;
    int errnum_;
};

// The host cancelled the request at work.
struct Cancelled : std::exception {
    const char* what() const noexcept override { return "cancelled"; }
};

// An errno's text, with what it means where the system's words mislead ("Structure needs cleaning").
std::string errno_text(int errnum);
proto::ErrorKind errno_kind(int errnum);

// Throws Failure::from_errno(what, errno) where a system call's result is less than 0.
void must(int result, const char* what);

// Throws Failure::from_errno(verb + " " + path, errno): fail("cannot open", "/etc/x").
[[noreturn]] void fail_errno(std::string_view verb, std::string_view path);

}  // namespace inspect::agent
