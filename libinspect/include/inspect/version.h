// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace inspect {

// "MAJOR.MINOR.PATCH" of the library that runs, which may be newer than the headers. Never null; static.
const char* library_version() noexcept;

}  // namespace inspect
