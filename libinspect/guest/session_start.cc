// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The one place that joins Session to the real engines. Tests, which bring their own, do without it.
#include "guest/session_impl.h"

namespace inspect {

Session::Session(SessionOptions options)
    : Session(std::make_unique<Impl>(std::move(options), SessionSeams{.start = start_machine})) {}

}  // namespace inspect
