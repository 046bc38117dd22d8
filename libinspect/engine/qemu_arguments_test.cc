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
using ::testing::StartsWith;

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
    EXPECT_THAT(values(arguments, "-append"),
                ElementsAre(StartsWith("quiet a=b,c virtio_mmio.device=512@4272947200:5 ")));
    EXPECT_THAT(values(arguments, "-m"), ElementsAre("96M"));
    EXPECT_THAT(values(arguments, "-accel"), ElementsAre("tcg"));
}

TEST(QemuArguments, TheGuestHasVectorsWhereTheProcessorRunsThem) {
    QemuMachineOptions options = machine();
    EXPECT_THAT(values(qemu_arguments(options), "-cpu"), ElementsAre(HasSubstr(",-avx2")));
    options.accelerator = "kvm";
    EXPECT_THAT(values(qemu_arguments(options), "-cpu"), ElementsAre(Not(HasSubstr("avx"))));
}

TEST(QemuArguments, DisksHaveTheSerialNumbersThatTheAgentLooksFor) {
    const auto arguments = qemu_arguments(machine());
    EXPECT_THAT(values(arguments, "-device"),
                Contains("virtio-blk-device,drive=disk1,serial=insp-disk1,logical_block_size=4096,"
                         "physical_block_size=4096,bus=virtio-mmio-bus.3"));
    EXPECT_THAT(values(arguments, "-device"),
                Contains("virtio-blk-device,drive=root,serial=insp-root,bus=virtio-mmio-bus.1"));
    const auto nodes = values(arguments, "-blockdev");
    ASSERT_EQ(nodes.size(), 3u);
    EXPECT_THAT(nodes[0], HasSubstr("read-only=on"));
    EXPECT_THAT(nodes[1], HasSubstr("server.str=14,"));
    EXPECT_THAT(nodes[1], HasSubstr("read-only=off"));
    EXPECT_THAT(nodes[2], HasSubstr("read-only=on"));
}

TEST(QemuArguments, SnapshotsAreOfAMemoryFile) {
    QemuMachineOptions options = machine();
    EXPECT_THAT(qemu_arguments(options), Not(Contains("-incoming")));
    EXPECT_TRUE(values(qemu_arguments(options), "-object").empty());
    options.memory_file = 20;
    options.monitor = 22;
    options.makes_snapshot = true;
    EXPECT_THAT(qemu_descriptors(options), ElementsAre(10, 11, 12, 13, 22, 20, 14, 15));
    EXPECT_THAT(values(qemu_arguments(options), "-object"), ElementsAre(HasSubstr("share=on")));
    // Nobody who restores it may change it.
    options.makes_snapshot = false;
    options.restores_snapshot = true;
    EXPECT_THAT(values(qemu_arguments(options), "-object"),
                ElementsAre("memory-backend-file,id=memory,size=96M,share=off,mem-path=/proc/self/fd/20"));
    EXPECT_THAT(values(qemu_arguments(options), "-incoming"), ElementsAre("defer"));
    // The kernel runs already.
    options.kernel = options.initrd = -1;
    EXPECT_THAT(qemu_arguments(options), Not(Contains("-kernel")));
    EXPECT_THAT(qemu_descriptors(options), ElementsAre(12, 13, 22, 20, 14, 15));
}

// Nothing that the user or the host has configured, and nothing that reaches the network, gets in.
TEST(QemuArguments, QemuIsClosedToTheRest) {
    const auto arguments = qemu_arguments(machine());
    EXPECT_THAT(arguments, Contains("-nodefaults"));
    EXPECT_THAT(arguments, Contains("-no-user-config"));
    EXPECT_THAT(values(arguments, "-sandbox"), Contains(HasSubstr("spawn=deny")));
    EXPECT_THAT(arguments, Not(Contains(HasSubstr("netdev"))));
    EXPECT_THAT(arguments, Not(Contains("-mon")));
}

}  // namespace
}  // namespace inspect
