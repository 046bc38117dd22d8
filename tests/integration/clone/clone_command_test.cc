// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp clone: what it makes, refuses and leaves behind. qemu-img is the judge.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CloneCommand : public InspTest {
  protected:
    void SetUp() override {
        InspTest::SetUp();
        if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    }
    std::string qemu_img(Args args) const {
        args.insert(args.begin(), "qemu-img");
        Outcome outcome = run(args, {.directory = scratch()});
        // It times its key derivation, and gives up where the kernel's account of its time went back a
        // little.
        for (int i = 0; i < 5 && outcome.err.find("accurate CPU usage") != std::string::npos; ++i)
            outcome = run(args, {.directory = scratch()});
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        return outcome.out;
    }
    void expect_same_disk(const std::string& one, const std::string& other) const {
        qemu_img({"compare", "-U", one, other});
    }
    json info(const std::string& image) const {
        return json::parse(qemu_img({"info", "-U", "--output=json", image}));
    }
    static std::vector<json> lines(const std::string& text) {
        std::vector<json> result;
        std::istringstream in(text);
        for (std::string line; std::getline(in, line);) result.push_back(json::parse(line));
        return result;
    }
};

TEST_F(CloneCommand, SeedsForCloudInit) {
    if (!have_program("xorrisofs")) GTEST_SKIP() << "no xorrisofs here";
    const std::string source = copy_of("ext4", "template.img");
    fs::create_directory(scratch() / "vms");
    std::ofstream(scratch() / "user") << "#cloud-config\nusers: [default]\n";
    const std::string user = (scratch() / "user").string() + ":user-data";
    const Args args = {
        "clone",   "--json", "--format=raw",   "-a",    source,         "-o", scratch() / "vms",
        "--count", "2",      "--name-pattern", "web%d", "--cloud-init", user, "--cloud-init-iso"};
    const std::vector<json> made = lines(insp_ok(args));
    ASSERT_EQ(made.size(), 2U);
    for (const int number : {1, 2}) {
        const std::string name = "web" + std::to_string(number),
                          seed = scratch() / ("vms/" + name + "-seed.iso");
        EXPECT_EQ(made[static_cast<size_t>(number) - 1]["cloud_init_iso"], seed);
        EXPECT_EQ(run({"blkid", "-p", "-o", "value", "-s", "LABEL", seed}).out, "CIDATA\n");
        // Files lie in it as they are.
        EXPECT_THAT(read_host_file(seed), HasSubstr("local-hostname: \"" + name + "\"\n"));
        EXPECT_THAT(read_host_file(seed), HasSubstr("#cloud-config\nusers: [default]\n"));
    }
    // What is there is found out before a clone is made.
    fs::remove(scratch() / "vms/web1.img");
    fs::remove(scratch() / "vms/web2.img");
    EXPECT_EQ(insp(args).code, kFailed);
    EXPECT_FALSE(fs::exists(scratch() / "vms/web1.img"));
}

TEST_F(CloneCommand, ManyOverlaysOfOneTemplate) {
    const std::string source = copy_of("ext4", "template.img"), before = sha256(source);
    fs::create_directory(scratch() / "vms");
    const std::vector<json> made =
        lines(insp_ok({"clone", "--json", "--format=raw", "-a", source, "-o", scratch() / "vms", "--count",
                       "3", "--start", "9", "--name-pattern", "web-%03d", "--method=overlay"}));
    ASSERT_EQ(made.size(), 3U);
    EXPECT_EQ(made[2]["name"], "web-011");
    for (const json& clone : made) {
        const json& disk = clone["disks"].at(0);
        EXPECT_EQ(disk["method"], "overlay");
        const json seen = info(disk["path"]);
        EXPECT_EQ(seen["full-backing-filename"], source);
        EXPECT_EQ(seen["backing-filename-format"], "raw");
        qemu_img({"check", "-q", "-f", "qcow2", disk["path"]});
        expect_same_disk(source, disk["path"]);
    }
    EXPECT_EQ(sha256(source), before);
}

TEST_F(CloneCommand, CopiesConvertsAndFlattens) {
    const std::string base = copy_of("ext4", "base.img");
    qemu_img({"create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", "top.qcow2"});
    const std::string top = scratch() / "top.qcow2";
    const auto clone = [&](const std::string& name, const Args& more) {
        Args args = {"clone", "-q", "--format=qcow2", "-a", top, "--output", scratch() / name};
        args.insert(args.end(), more.begin(), more.end());
        insp_ok(args);
        expect_same_disk(top, scratch() / name);
        return info(scratch() / name);
    };
    EXPECT_FALSE(clone("flat.qcow2", {"--flatten"}).contains("backing-filename"));
    EXPECT_EQ(clone("kept.qcow2", {"--keep-chain", "--method", "copy"})["full-backing-filename"], base);
    EXPECT_EQ(clone("flat.img", {"--output-format=raw"})["format"], "raw");
    // What was a hole still is one.
    EXPECT_LE(info(scratch() / "flat.img")["actual-size"], info(base)["actual-size"].get<uint64_t>() + 4096);
    qemu_img({"check", "-q", "-f", "qcow2", "flat.qcow2"});
}

TEST_F(CloneCommand, AllDisksAndTheDomainsXml) {
    const std::string one = copy_of("ext4", "one.img"), two = copy_of("xfs", "two.img");
    write_host_file(
        scratch() / "domain.xml",
        "<domain type='kvm'><name>template</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"
        "<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='" +
            one + "'/></disk><disk type='file'><source file='" + two +
            "'/></disk><interface type='network'><mac address='52:54:00:00:00:01'/></interface>"
            "</devices></domain>");
    fs::create_directory(scratch() / "vms");
    insp_ok({"clone", "--domain-xml", scratch() / "domain.xml", "-o", scratch() / "vms", "--name", "web",
             "--domain-output", scratch() / "web.xml"});
    EXPECT_TRUE(same_bytes(one, scratch() / "vms/web.img"));
    EXPECT_TRUE(same_bytes(two, scratch() / "vms/web-2.img"));
    const std::string xml = read_host_file(scratch() / "web.xml");
    EXPECT_THAT(xml, HasSubstr("<name>web</name>"));
    EXPECT_THAT(xml, HasSubstr((scratch() / "vms/web-2.img").string()));
    EXPECT_THAT(xml, ::testing::Not(HasSubstr("52:54:00:00:00:01")));
    // It is a domain with those disks to insp itself, too.
    EXPECT_EQ(
        insp_json({"info", "--json", "--no-filesystems", "--domain-xml", scratch() / "web.xml"})["images"]
            .size(),
        2U);
}

TEST_F(CloneCommand, RefusesAndLeavesNothing) {
    const std::string source = copy_of("ext4", "source.img");
    const std::vector<std::string> before = files();
    const auto fails = [&](Args more, int code, const std::string& text) {
        Args args = {"clone", "-a", source};
        args.insert(args.end(), more.begin(), more.end());
        EXPECT_TRUE(refused(insp(args), code, text));
        EXPECT_EQ(files(), before);
    };
    fails({}, kUsage, "--output");
    fails({"-o", source}, kFailed, "to be cloned");
    fails({"-o", source, "--force"}, kFailed, "to be cloned");
    fails({"-o", scratch() / "missing/x.img"}, kFailed, "missing");
    fails({"-o", scratch(), "--count", "2", "--name-pattern", "same"}, kUsage, "equal names");
    fails({"-o", scratch() / "x", "--count", "2"}, kUsage, "directory");
    fails({"-o", scratch() / "x", "--method=zfs"}, kUsage, "method");
    fails({"-o", scratch() / "x", "--method=overlay", "--flatten"}, kUsage, "--flatten");
    fails({"-o", scratch() / "x", "--domain-output", "x.xml"}, kUsage, "one domain");
    // A virtual machine that runs: QEMU locks byte 101 of an image that it writes to.
    const int fd = ::open(source.c_str(), O_RDONLY | O_CLOEXEC);
    struct flock lock {};
    lock.l_type = F_RDLCK;
    lock.l_start = 101;
    lock.l_len = 1;
    ASSERT_EQ(::fcntl(fd, F_OFD_SETLK, &lock), 0);
    fails({"-o", scratch() / "x"}, kFailed, "being written");
    ::close(fd);
    EXPECT_EQ(files(), before);
}

// What was encrypted is not there for everybody to read, unless that is said.
TEST_F(CloneCommand, EncryptedImagesStayEncrypted) {
    write_host_file(scratch() / "key", "secret");
    qemu_img({"convert", "-O", "qcow2", "--object", "secret,id=k,file=key", "-o",
              "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=20", guest("ext4"), "luks.qcow2"});
    const std::string source = scratch() / "luks.qcow2", clone = scratch() / "clone.qcow2";
    const Args args = {"clone", "-q",   "--key", "all:file:" + (scratch() / "key").string(),
                       "-a",    source, "-o",    clone};
    for (const char* method : {"auto", "copy", "overlay"}) {
        Args refusing = args;
        refusing.insert(refusing.end(), {"--method", method});
        EXPECT_TRUE(refused(insp(refusing), kFailed, "would not be"));
        EXPECT_FALSE(fs::exists(clone));
    }
    Args converting = args;
    converting.insert(converting.end(), {"--output-format", "qcow2"});
    insp_ok(converting);
    expect_same_disk(guest("ext4"), clone);
}

// LVM by programs that were made up: what they are told is what counts.
TEST_F(CloneCommand, SnapshotsOfLogicalVolumes) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can make a block device";
    fs::create_directory(scratch() / "bin");
    const Outcome loop = run({"losetup", "--find", "--show", "--read-only", copy_of("ext4", "lv.img")}, {});
    if (!loop.ok()) GTEST_SKIP() << "there is no loop device: " << loop.describe();
    std::string device = loop.out;
    while (device.ends_with('\n')) device.pop_back();
    // The second question is whether there is a volume of the clone's name.
    write_host_file(scratch() / "bin/lvs",
                    "#!/bin/sh\n[ \"$1\" = --reportformat ] || exit 5\n"
                    R"(echo '{"report":[{"seg":[{"vg_name":"vg0","lv_name":"template","pool_lv":"pool",)"
                    R"("lv_size":"8388608","lv_layout":"thin,sparse","lv_role":"public","stripes":"0",)"
                    R"("vg_extent_size":"4194304","vg_free":"0"}]}]}')"
                    "\n");
    for (const char* name : {"bin/lvs", "bin/lvcreate", "bin/lvrename"}) {
        if (name != std::string("bin/lvs"))
            write_host_file(scratch() / name, "#!/bin/sh\necho \"$*\" | sed s/insp-[0-9a-f]*/insp-N/ >> '" +
                                                  (scratch() / "told").string() + "'\n");
        fs::permissions(scratch() / name, fs::perms(0755));
    }
    Options options;
    options.env["PATH"] = (scratch() / "bin").string() + ":" + std::getenv("PATH");
    const std::string said = insp_ok({"clone", "--format=raw", "-a", device, "-o", "/dev/vg0/web"}, options);
    run({"losetup", "--detach", device}, {});
    EXPECT_THAT(said, HasSubstr("/dev/vg0/web: raw"));
    EXPECT_EQ(read_host_file(scratch() / "told"),
              "--quiet --yes --snapshot --name web.insp-N --setactivationskip n vg0/template\n"
              "--quiet --yes vg0 web.insp-N web\n");
}

}  // namespace
}  // namespace inspect::test
