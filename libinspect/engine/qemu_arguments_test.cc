// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/qemu_arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inspect {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

QemuMachineOptions machine() {
    QemuMachineOptions options;
    options.program = "/usr/bin/qemu";
    options.accelerator = "tcg";
    options.memory_bytes = 96 << 20;
    options.kernel = 10;
    options.initrd = 11;
    options.root = 12;
    options.channel = 13;
    options.kernel_command_line = "quiet a=b,c";
    options.disks = {{.nbd = 14}, {.nbd = 15, .sector_size = 4096, .read_only = true}};
    return options;
}

// The value behind each `option`.
std::vector<std::string> values(const std::vector<std::string>& arguments, const std::string& option) {
    std::vector<std::string> found;
    for (size_t i = 0; i + 1 < arguments.size(); ++i) {
        if (arguments[i] == option) found.push_back(arguments[i + 1]);
    }
    return found;
}

TEST(QemuArguments, AllDescriptorsAreNamedAndInherited) {
    EXPECT_THAT(qemu_descriptors(machine()), ElementsAre(10, 11, 12, 13, 14, 15));
    const auto arguments = qemu_arguments(machine());
    EXPECT_EQ(arguments.front(), "/usr/bin/qemu");
    EXPECT_THAT(values(arguments, "-kernel"), ElementsAre("/proc/self/fd/10"));
    EXPECT_THAT(values(arguments, "-initrd"), ElementsAre("/proc/self/fd/11"));
    EXPECT_THAT(values(arguments, "-chardev"), Contains("socket,id=channel,fd=13"));
    EXPECT_THAT(values(arguments, "-append"), ElementsAre("quiet a=b,c"));
    EXPECT_THAT(values(arguments, "-m"), ElementsAre("96"));
    EXPECT_THAT(values(arguments, "-accel"), ElementsAre("tcg"));
}

TEST(QemuArguments, DisksHaveTheSerialNumbersThatTheAgentLooksFor) {
    const auto arguments = qemu_arguments(machine());
    EXPECT_THAT(values(arguments, "-device"),
                Contains("virtio-blk-device,drive=disk1,serial=insp-disk1,logical_block_size=4096,"
                         "physical_block_size=4096"));
    EXPECT_THAT(values(arguments, "-device"), Contains("virtio-blk-device,drive=root,serial=insp-root"));
    const auto nodes = values(arguments, "-blockdev");
    ASSERT_EQ(nodes.size(), 3u);
    EXPECT_THAT(nodes[0], HasSubstr("read-only=on"));
    EXPECT_THAT(nodes[1], HasSubstr("server.str=14,"));
    EXPECT_THAT(nodes[1], HasSubstr("read-only=off"));
    EXPECT_THAT(nodes[2], HasSubstr("read-only=on"));
}

// Nothing that the user or the host has configured, and nothing that reaches the network, gets in.
TEST(QemuArguments, QemuIsClosedToTheRest) {
    const auto arguments = qemu_arguments(machine());
    EXPECT_THAT(arguments, Contains("-nodefaults"));
    EXPECT_THAT(arguments, Contains("-no-user-config"));
    EXPECT_THAT(values(arguments, "-sandbox"), Contains(HasSubstr("spawn=deny")));
    EXPECT_THAT(arguments, Not(Contains(HasSubstr("netdev"))));
    EXPECT_THAT(arguments, Not(Contains(HasSubstr("-monitor"))));
}

}  // namespace
}  // namespace inspect
