// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/engine_choice.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include <inspect/error.h>

namespace inspect {
namespace {

// The variable for the time of a test.
struct WithEngine {
    explicit WithEngine(const char* value) { ::setenv("INSP_ENGINE", value, 1); }
    ~WithEngine() { ::unsetenv("INSP_ENGINE"); }
};

TEST(EngineChoice, TheOptionWinsOverTheVariable) {
    ::unsetenv("INSP_ENGINE");
    EXPECT_EQ(parse_engine(""), EngineKind::kAuto);
    EXPECT_EQ(parse_engine("kvm"), EngineKind::kKvm);
    const WithEngine variable("qemu");
    EXPECT_EQ(parse_engine(""), EngineKind::kQemu);
    EXPECT_EQ(parse_engine("kvm"), EngineKind::kKvm);
    EXPECT_EQ(parse_engine("auto"), EngineKind::kAuto);
}

TEST(EngineChoice, NonsenseIsWrongUsage) {
    for (const char* bad : {"KVM", "xen", " qemu"}) {
        EXPECT_THROW(parse_engine(bad), Error) << bad;
        const WithEngine variable(bad);
        try {
            parse_engine("");
            ADD_FAILURE() << bad;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::kUsage);
            EXPECT_NE(error.message().find("INSP_ENGINE"), std::string::npos);
        }
    }
    const WithEngine empty("");
    EXPECT_EQ(parse_engine(""), EngineKind::kAuto);
}

TEST(EngineChoice, AutoTakesWhatWorks) {
    EngineOptions options;
    const EngineChoice choice = choose_engine(options);
    EXPECT_NE(choice.kind, EngineKind::kAuto);
    EXPECT_FALSE(choice.reason.empty());
    // More disks than QEMU's machine has room for.
    options.disks.resize(7);
    if (::access("/dev/kvm", R_OK | W_OK) == 0) {
        EXPECT_EQ(choose_engine(options).kind, EngineKind::kKvm);
    }
    options.engine = EngineKind::kQemu;
    EXPECT_EQ(choose_engine(options).kind, EngineKind::kQemu);
}

}  // namespace
}  // namespace inspect
