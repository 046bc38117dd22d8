// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For tests that run under the system call filter: the sanitizers' runtimes make calls that it forbids.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kUnderSanitizers = true;
#else
inline constexpr bool kUnderSanitizers = false;
#endif

#define INSP_SKIP_UNDER_SANITIZERS() \
    if (kUnderSanitizers) GTEST_SKIP() << "the sanitizers make system calls of their own"
