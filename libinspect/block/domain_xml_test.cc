// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/domain_xml.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/temp_dir_for_test.h"
#include "block/libvirt.h"
#include "block/nbd_uri.h"
#include "block/qsd_location.h"

namespace inspect {
namespace {

std::string domain(const std::string& disks) {
    return "<?xml version='1.0'?>\n<domain type='kvm' id='3' "
           "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
           "<name>web</name><devices><emulator>/usr/bin/qemu</emulator>" +
           disks + "<interface type='network'/></devices></domain>";
}

DomainDisk one(const std::string& disk) {
    const DomainDisks all = parse_domain_xml(domain(disk), "the test's XML");
    if (all.disks.size() != 1) {
        ADD_FAILURE() << all.disks.size() << " disks";
        return {};
    }
    return all.disks[0];
}

TEST(DomainXml, DisksInTheirOrder) {
    const DomainDisks all = parse_domain_xml(domain(R"(
      <disk type='file' device='disk'>
        <driver name='qemu' type='qcow2' cache='none' io='native' discard='unmap'/>
        <source file='/var/lib/libvirt/images/web &amp; mail.qcow2' index='2'/>
        <backingStore type='file'><format type='raw'/><source file='/base'/></backingStore>
        <target dev='vda' bus='virtio'/><serial>WD-1</serial><boot order='1'/>
      </disk>
      <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/i.iso'/><target dev='sda'/><readonly/></disk>
      <disk type='block' device='disk'><driver name='qemu' cache='default'/><source dev='/dev/vg/lv'/><target dev='vdb'/><shareable/></disk>
      <disk type='file' device='floppy'><target dev='fda'/></disk>
      <disk type='file'><source file='/data.raw' startupPolicy='optional'/><target dev='vdc'/><readonly/></disk>
      <disk type='file' device='disk'><target dev='vdd'/></disk>
      <disk type='volume' device='disk'><driver type='qcow2'/><source pool='default' volume='v.qcow2'/><target dev='vde'/></disk>
      <disk type='block' device='lun'><source dev='/dev/sdx'/><target dev='sdb'/></disk>)"),
                                             "x");
    EXPECT_EQ(all.name, "web");
    ASSERT_EQ(all.disks.size(), 5u);
    EXPECT_EQ(all.disks[0].location, "/var/lib/libvirt/images/web & mail.qcow2");
    EXPECT_EQ(all.disks[0].format, "qcow2");
    EXPECT_EQ(all.disks[0].cache, "none");
    EXPECT_EQ(all.disks[0].target, "vda");
    EXPECT_EQ(all.disks[0].serial, "WD-1");
    EXPECT_FALSE(all.disks[0].read_only || all.disks[0].shareable || all.disks[0].optional);
    EXPECT_EQ(all.disks[1].location, "/dev/vg/lv");
    EXPECT_EQ(all.disks[1].format, "raw");  // not said, so not guessed
    EXPECT_EQ(all.disks[1].cache, "");
    EXPECT_TRUE(all.disks[1].shareable);
    EXPECT_EQ(all.disks[2].target, "vdc");
    EXPECT_TRUE(all.disks[2].read_only && all.disks[2].optional);
    EXPECT_EQ(all.disks[3].pool, "default");
    EXPECT_EQ(all.disks[3].volume, "v.qcow2");
    EXPECT_EQ(all.disks[3].location, "");
    EXPECT_EQ(all.disks[4].location, "/dev/sdx");
}

TEST(DomainXml, NetworkDisks) {
    const auto location = [](const std::string& source) {
        const std::string result =
            one("<disk type='network' device='disk'>" + source + "<target dev='vda'/></disk>").location;
        if (!NbdUri::looks_like(result)) qsd_location(result);  // it is understood there
        return result;
    };
    EXPECT_EQ(location("<auth username='libvirt'><secret type='ceph' uuid='x'/></auth><source protocol='rbd' "
                       "name='pool/im:age'>"
                       "<host name='mon1' port='6321'/><host name='mon2'/><host name='::1' port='1'/>"
                       "<snapshot name='s'/><config file='/etc/c.conf'/></source>"),
              R"(rbd:pool/im\:age@s:id=libvirt:conf=/etc/c.conf:mon_host=mon1\:6321;mon2;[\:\:1]\:1)");
    EXPECT_EQ(location("<source protocol='iscsi' name='iqn.2013-07.com.example:pool/1'><host name='h' "
                       "port='3260'/></source>"),
              "iscsi://h:3260/iqn.2013-07.com.example:pool/1");
    EXPECT_EQ(location("<source protocol='iscsi' name='iqn.x'><host name='h'/></source>"),
              "iscsi://h/iqn.x/0");
    EXPECT_EQ(
        location(
            "<source protocol='ssh' name='/a b'><host name='h' port='22'/><identity username='u'/></source>"),
        "ssh://u@h:22/a%20b");
    EXPECT_EQ(
        location("<source protocol='https' name='i/x.img' query='a=b'><host name='h' port='443'/></source>"),
        "https://h:443/i/x.img?a=b");
    EXPECT_EQ(location("<source protocol='nfs' name='/e/x'><host name='h'/></source>"), "nfs://h/e/x");
    EXPECT_EQ(location("<source protocol='nbd' name='exp'><host name='h' port='10809'/></source>"),
              "nbd://h:10809/exp");
    EXPECT_EQ(location("<source protocol='nbd' tls='yes'><host name='h'/></source>"), "nbds://h/");
    EXPECT_EQ(
        location("<source protocol='nbd' name='/e'><host transport='unix' socket='/run/a b'/></source>"),
        "nbd+unix:///%2Fe?socket=/run/a%20b");
    EXPECT_EQ(NbdUri::parse("nbd+unix:///%2Fe?socket=/run/a%20b").export_name, "/e");
}

TEST(DomainXml, WhatCantBeOpenedIsSaid) {
    for (const auto& [why, disk] : std::vector<std::pair<std::string, std::string>>{
             {"encrypted",
              "<disk type='file'><source file='/x'/><target dev='vdq'/><encryption format='luks'/></disk>"},
             {"encrypted",
              "<disk type='file'><source file='/x'><encryption format='luks'/></source><target "
              "dev='vdq'/></disk>"},
             {"slices", "<disk type='file'><source file='/x'><slices/></source><target dev='vdq'/></disk>"},
             {"type 'nvme'", "<disk type='nvme'><source type='pci'/><target dev='vdq'/></disk>"},
             {"protocol 'gluster'",
              "<disk type='network'><source protocol='gluster' name='v/i'><host name='h'/></source><target "
              "dev='vdq'/></disk>"},
             {"several servers",
              "<disk type='network'><source protocol='ssh' name='i'><host name='h'/><host "
              "name='g'/></source><target dev='vdq'/></disk>"},
             {"names no server",
              "<disk type='network'><source protocol='ssh' name='i'/><target dev='vdq'/></disk>"},
             {"not absolute", "<disk type='file'><source file='ssh://h/x'/><target dev='vdq'/></disk>"},
             {"cache mode",
              "<disk type='file'><driver cache='odd'/><source file='/x'/><target dev='vdq'/></disk>"}}) {
        expect_error(ErrorKind::kUnsupported, why, [&] { one(disk); });
        expect_error(ErrorKind::kUnsupported, "the disk vdq of the test's XML", [&] { one(disk); });
    }
}

TEST(DomainXml, WhatIsNoDomain) {
    for (const std::string xml : {"", "x", "<domain>", "<network/>", "<domain><devices></domain>"}) {
        expect_error(ErrorKind::kUsage, "no XML of a libvirt domain", [&] { parse_domain_xml(xml, "it"); });
    }
    expect_error(ErrorKind::kUsage, "4 MiB", [] { parse_domain_xml(std::string(5 << 20, ' '), "it"); });
    EXPECT_TRUE(parse_domain_xml("<domain/>", "it").disks.empty());
    // Entities are not expanded: no billion laughs, no file of the host's.
    const std::string bomb =
        R"(<!DOCTYPE d [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>
        <domain><name>&b;&f;</name></domain>)";
    EXPECT_EQ(parse_domain_xml(bomb, "it").name, "&b;&f;");
    std::string deep = "<domain>";
    for (int i = 0; i < 300'000; ++i) deep += "<a>";
    expect_error(ErrorKind::kUsage, "no XML", [&] { parse_domain_xml(deep, "it"); });
    for (int i = 0; i < 300'000; ++i) deep += "</a>";
    EXPECT_TRUE(parse_domain_xml(deep + "</domain>", "it").disks.empty());
}

// A virsh of ours, first on PATH.
class FakeVirsh {
  public:
    explicit FakeVirsh(const std::string& script) : path_(std::getenv("PATH")) {
        std::ofstream(dir_.file("virsh")) << "#!/bin/sh\n" + script;
        std::filesystem::permissions(dir_.file("virsh"), std::filesystem::perms::owner_all);
        ::setenv("PATH", (dir_.path() + ":" + path_).c_str(), 1);
    }
    ~FakeVirsh() { ::setenv("PATH", path_.c_str(), 1); }

  private:
    TempDir dir_;
    std::string path_;
};

TEST(Libvirt, AsksVirsh) {
    const FakeVirsh virsh(R"sh(
case "$*" in
"--readonly --quiet --connect=qemu:///system dumpxml --domain=-odd name")
    echo "<domain><name>odd</name><devices><disk type='volume'><source pool='p' volume='--v'/><target dev='vda'/></disk></devices></domain>" ;;
"--readonly --quiet --connect=qemu:///system vol-path --pool=p --vol=--v") echo /pool/v ; echo ;;
"--readonly --quiet --connect=test:///x list --all --name") printf 'web\nwith space\n\n' ;;
"--readonly --quiet list --all --uuid") printf '6c696269-6e73-4070-8563-740000000001\n\n' ;;
"--readonly --quiet dumpxml --domain=big") yes | head -c 20000000 ;;
*) echo "error: failed to get domain '$4'" >&2; echo "error: Domain not found" >&2; exit 1 ;;
esac)sh");
    const DomainDisks disks = libvirt_domain_disks("-odd name", "qemu:///system");
    ASSERT_EQ(disks.disks.size(), 1u);
    EXPECT_EQ(disks.disks[0].location, "/pool/v");
    expect_error(ErrorKind::kNotFound, "failed to get domain '--domain=none'; Domain not found",
                 [] { libvirt_domain_disks("none", ""); });
    expect_error(ErrorKind::kInternal, "wrote more than", [] { libvirt_domain_disks("big", ""); });
    EXPECT_EQ(libvirt_domains("test:///x", false), (std::vector<std::string>{"web", "with space"}));
    EXPECT_EQ(libvirt_domains("", true), std::vector<std::string>{"6c696269-6e73-4070-8563-740000000001"});
    expect_error(ErrorKind::kNotFound, "cannot list the domains", [] { libvirt_domains("other", false); });
}

TEST(Libvirt, AMissingVirshIsAnErrorThatNamesThePackage) {
    TempDir dir;
    const std::string path = std::getenv("PATH");
    ::setenv("PATH", dir.path().c_str(), 1);
    expect_error(ErrorKind::kNotFound, "libvirt-clients", [] { libvirt_domain_disks("x", ""); });
    ::setenv("PATH", path.c_str(), 1);
}

}  // namespace
}  // namespace inspect
