// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/host.h"

#include <gtest/gtest.h>

#include <inspect/error.h>

namespace inspect {
namespace {

TEST(Host, IdentityIsStableOnOneHost) {
    EXPECT_FALSE(host_identity().empty());
    EXPECT_EQ(host_identity(), host_identity());
}

TEST(Host, ProbeGivesTheSameAnswerTwice) {
    Fd kvm;
    try {
        kvm = open_kvm();
    } catch (const Error& error) {
        GTEST_SKIP() << error.what();
    }
    EXPECT_EQ(probe_software_kvm(kvm.get()), probe_software_kvm(kvm.get()));
}

}  // namespace
}  // namespace inspect
