// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Between RestStorage and insp-rest, the program that has libcurl: a request and its answer at a time, over a
// Unix socket, each a header and what it announces. Both are of the same build.
#pragma once

#include <cstdint>

#include "base/endian.h"

namespace inspect::repository::rest {

enum class Method : uint8_t { kGet, kHead, kPost, kDelete };

struct Request {
    Method method;
    uint8_t list;  // 1: the answer is to be a list of names and sizes
    le32 url_length;
    le64 body_length;
    le64 range_offset, range_length;  // kGet: of the file; length 0: all of it
};

// `status` is HTTP's, 0 when there was no answer: the body is then a message for people.
struct Answer {
    le32 status;
    le64 body_length;
};

inline constexpr uint32_t kMaxUrl = 8192;
inline constexpr uint64_t kMaxBody = 1ULL << 30;

}  // namespace inspect::repository::rest
