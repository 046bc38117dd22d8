// SPDX-License-Identifier: LGPL-2.1-or-later
#include <inspect/version.h>

namespace inspect {

const char* library_version() noexcept { return INSP_VERSION; }

}  // namespace inspect
