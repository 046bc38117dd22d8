// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making bytes that a guest chose fit for a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace inspect {

// Valid UTF-8 without control characters, at most about `limit` bytes: what isn't becomes \n, \t or \xNN,
// and an ellipsis stands for what was cut. So neither a terminal nor a JSON parser is ever surprised.
std::string printable(std::string_view bytes, size_t limit = 4096);

// printable() in single quotes, for a path in a sentence.
std::string quoted(std::string_view path);

}  // namespace inspect
