// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <inspect/clone.h>

#include "base/temp_dir_for_test.h"

namespace inspect {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kDomain[] = R"(<domain type='kvm' id='7'>
  <name>template</name>
  <uuid>11111111-2222-3333-4444-555555555555</uuid>
  <title>the template</title>
  <genid>99999999-2222-3333-4444-555555555555</genid>
  <sysinfo type='smbios'><system><entry name='uuid'>11111111-2222-3333-4444-555555555555</entry></system></sysinfo>
  <os><loader>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram>/var/lib/libvirt/qemu/nvram/template.fd</nvram></os>
  <memory unit='KiB'>1048576</memory>
  <devices>
    <disk type='file' device='cdrom'><source file='/iso/a.iso'/><target dev='sda'/></disk>
    <disk type='volume' device='disk'><driver name='qemu' type='raw' cache='none'/>
      <source pool='p' volume='v'/><backingStore/><target dev='vda' bus='virtio'/></disk>
    <disk type='file'><source file='/srv/b.img'/><target dev='vdb'/></disk>
    <interface type='network'><mac address='52:54:00:11:22:33'/><source network='default'/><target dev='vnet7'/></interface>
    <channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/target/template.agent'/></channel>
  </devices>
</domain>)";

Clone two_disks() {
    return {"web-01",
            {{"", "/srv/web-01.qcow2", "qcow2", CloneMethod::kOverlay, 0, ""},
             {"", "/dev/vg/web-01", "raw", CloneMethod::kLvmSnapshot, 0, ""}}};
}

TEST(CloneDomainXml, SharesNothingWithTheOriginal) {
    const std::string xml = clone_domain_xml(kDomain, two_disks());
    EXPECT_THAT(xml, HasSubstr("<name>web-01</name>"));
    EXPECT_THAT(xml, HasSubstr("<source file=\"/srv/web-01.qcow2\" />"));
    EXPECT_THAT(xml, HasSubstr("<source dev=\"/dev/vg/web-01\" />"));
    EXPECT_THAT(xml, HasSubstr("type=\"qcow2\" cache=\"none\""));
    EXPECT_THAT(xml, HasSubstr("address=\"52:54:00:"));
    EXPECT_THAT(xml, HasSubstr("/iso/a.iso"));
    EXPECT_THAT(xml, HasSubstr("<memory unit=\"KiB\">1048576</memory>"));
    for (const char* of_the_original : {"11111111-", "99999999-", "11:22:33", "vnet7", "template",
                                        "/srv/b.img", "pool=", "backingStore", "id=\"7\""})
        EXPECT_THAT(xml, Not(HasSubstr(of_the_original)));
    EXPECT_NE(xml, clone_domain_xml(kDomain, two_disks()));
}

TEST(CloneDomainXml, RefusesWhatDoesNotFit) {
    Clone clone = two_disks();
    expect_error(ErrorKind::kUsage, "no <domain>", [&] { clone_domain_xml("<network/>", clone); });
    clone.disks.pop_back();
    expect_error(ErrorKind::kUsage, "more hard disks", [&] { clone_domain_xml(kDomain, clone); });
    clone.disks.push_back({"", "relative.img", "raw", CloneMethod::kCopy, 0, ""});
    expect_error(ErrorKind::kUnsupported, "absolute path", [&] { clone_domain_xml(kDomain, clone); });
}

}  // namespace
}  // namespace inspect
