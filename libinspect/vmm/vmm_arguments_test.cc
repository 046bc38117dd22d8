// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/vmm_arguments.h"

#include <gtest/gtest.h>

#include <inspect/error.h>

namespace inspect {
namespace {

VmmArguments parse(std::vector<std::string> text) {
    text.insert(text.begin(), "insp-vmm");
    std::vector<char*> argv;
    for (std::string& t : text) argv.push_back(t.data());
    return parse_vmm_arguments(static_cast<int>(argv.size()), argv.data());
}

const std::vector<std::string> kLeast = {"--kvm=3", "--channel=4", "--control=5", "--status=6"};

std::vector<std::string> with(std::vector<std::string> more) {
    std::vector<std::string> all = kLeast;
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

TEST(VmmArguments, ParsesABoot) {
    auto a =
        parse(with({"--kernel=7", "--initrd=8", "--cmdline=quiet a=b,c", "--memory=67108864", "--slots=4",
                    "--root=9", "--software-kvm",
                    "--disk=overlay=11:12,size=8192,block-size=4096,serial=abc,read-only,node=raw(fd=10)",
                    "--disk=node=qcow2(file=raw(fd=13),backing=raw(fd=14))"}));
    EXPECT_EQ(a.kvm, 3);
    EXPECT_EQ(a.command_line, "quiet a=b,c");
    EXPECT_EQ(a.memory_bytes, 67108864u);
    EXPECT_EQ(a.slots, 4u);
    EXPECT_TRUE(a.software_kvm);
    EXPECT_TRUE(a.sandbox);
    ASSERT_EQ(a.disks.size(), 2u);
    EXPECT_EQ(a.disks[0].overlay_spill, 12);
    EXPECT_EQ(a.disks[0].block_size, 4096u);
    EXPECT_EQ(a.disks[0].serial, "abc");
    EXPECT_TRUE(a.disks[0].read_only);
    EXPECT_FALSE(a.disks[1].read_only);
    EXPECT_EQ(a.descriptors(), (std::vector<int>{3, 4, 5, 6, 9, 7, 8, 10, 11, 12, 13, 14}));
}

TEST(VmmArguments, ParsesDisksToServe) {
    auto a = parse({"--control=5", "--status=6", "--disk=nbd=8,block-size=4096,serial=a,node=raw(fd=7)",
                    "--disk=overlay=10:11,nbd=12,serial=b,node=raw(fd=9)"});
    EXPECT_TRUE(a.serves_disks());
    ASSERT_EQ(a.disks.size(), 2u);
    EXPECT_EQ(a.disks[0].nbd, 8);
    EXPECT_EQ(a.disks[1].nbd, 12);
    EXPECT_EQ(a.descriptors(), (std::vector<int>{5, 6, 7, 8, 9, 10, 11, 12}));
    EXPECT_FALSE(parse(with({"--kernel=7"})).serves_disks());
}

TEST(VmmArguments, RefusesWhatMakesNoSense) {
    for (const auto& bad : std::vector<std::vector<std::string>>{
             {},
             kLeast,
             with({"--kernel=7", "--restore-state=8", "--restore-memory=9"}),
             with({"--restore-state=8"}),
             with({"--kernel=7", "--restore-memory=9"}),
             with({"--kernel=x"}),
             with({"--kernel=-1"}),
             with({"--kernel=7x"}),
             with({"--kernel=99999999999"}),
             with({"--kernel=7", "--bogus"}),
             with({"--kernel=7", "--disk=serial=a"}),
             with({"--kernel=7", "--disk=bogus,node=raw(fd=1)"}),
             with({"--kernel=7", "--disk=node=raw(fd=1"}),
             with({"--kernel=7", "--disk=node=floppy(fd=1)"}),
             with({"--kernel=7", "--disk=overlay=2,node=raw(fd=1)"}),
             {"--kernel=7"},
             with({"--kernel=7", "--disk=nbd=8,node=raw(fd=1)"}),
             with({"--kernel=7", "--disk=block-size=0,node=raw(fd=1)"}),
             with({"--kernel=7", "--disk=block-size=1000,node=raw(fd=1)"}),
             {"--control=5", "--status=6"},
             {"--control=5", "--status=6", "--disk=node=raw(fd=1)"},
             {"--control=5", "--status=6", "--kernel=7", "--disk=nbd=8,node=raw(fd=1)"},
             {"--control=5", "--disk=nbd=8,node=raw(fd=1)"},
         })
        EXPECT_THROW(parse(bad), Error);
}

}  // namespace
}  // namespace inspect
