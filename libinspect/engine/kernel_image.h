// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The appliance's kernel as a machine is booted with it. It is installed compressed, being a fifth of its
// size then; a warm start doesn't need it at all.
#pragma once

#include "base/fd.h"

namespace inspect {

// `compressed` is vmlinux as one Zstandard frame that says how large it becomes (RFC 8878, 3.1.1.1.4), at
// most 256 MiB. Returns the kernel in a file in memory (memfd), from its beginning, which nothing can write
// any more. Takes some 20 ms. Throws Error(kCorrupt) for a file that isn't that, else what the system says.
// Thread-safe.
Fd unpack_kernel(int compressed);

}  // namespace inspect
