// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Sizes in sentences.
#pragma once

#include <cstdint>
#include <string>

namespace inspect {

// "1.5 GiB", "512 bytes": rounded to a tenth.
std::string size_text(uint64_t bytes);
// "1.5 GiB (1610612736 bytes)", for errors: what can be given to an option as it is.
std::string exact_size_text(uint64_t bytes);

}  // namespace inspect
