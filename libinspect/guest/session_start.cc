// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Joins Session to the real engines, as free_space.cc does. Tests, which bring their own, do without both.
#include "guest/session_impl.h"

namespace inspect {

Session::Session(SessionOptions options)
    : Session(std::make_unique<Impl>(std::move(options), SessionSeams{.start = start_machine})) {}

}  // namespace inspect
