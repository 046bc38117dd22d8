// SPDX-License-Identifier: GPL-2.0-or-later
//
// Images that are not lone raw files: qcow2 and its chains, formats that qemu-storage-daemon reads, NBD,
// libvirt domains; and what info, serve and recover say and do. qemu-img is the judge.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

class Formats : public ApplianceTest {
  protected:
    void SetUp() override {
        ApplianceTest::SetUp();
        if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    }
    void qemu_img(Args args) const {
        args.insert(args.begin(), "qemu-img");
        Outcome outcome = run(args, {.directory = scratch()});
        ASSERT_TRUE(outcome.ok()) << outcome.describe();
    }
    // The guest's disk in another format, in the scratch folder.
    std::string convert(const std::string& name, const std::string& format, Args more = {}) const {
        const std::string path = scratch() / (name + "." + format);
        Args args = {"convert", "-f", "raw", "-O", format};
        args.insert(args.end(), more.begin(), more.end());
        args.insert(args.end(), {guest(name), path});
        qemu_img(args);
        return path;
    }
    // What `image` holds, as a raw file for the judges of file systems.
    std::string as_raw(const std::string& image, const std::string& format) const {
        const std::string path = scratch() / "judged.raw";
        qemu_img({"convert", "-U", "-f", format, "-O", "raw", image, path});
        return path;
    }
    void expect_sound(const std::string& image, const std::string& format) const {
        qemu_img({"check", "-q", "-f", format, image});
        EXPECT_TRUE(ext_is_clean(as_raw(image, format)));
    }
};

TEST_F(Formats, Qcow2InManyShapes) {
    const std::vector<Args> shapes = {
        {},
        {"-c"},
        {"-o", "compat=0.10"},
        {"-o", "cluster_size=512"},
        {"-o", "cluster_size=2M,lazy_refcounts=on"},
        {"-o", "extended_l2=on,cluster_size=128k"},
        {"-c", "-o", "compression_type=zstd"},
        {"-o", "refcount_bits=1"},
        {"-o", "preallocation=metadata"},
    };
    for (const Args& shape : shapes) {
        SCOPED_TRACE(shape.empty() ? "plain" : shape.back());
        const std::string image = convert("ext4", "qcow2", shape);
        EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/hello.txt"}), "hello, guest\n");
        insp_ok({"write", "-a", image, "-m", "/dev/sda", "/new"}, {.input = std::string(20'000, 'n')});
        expect_sound(image, "qcow2");
        EXPECT_EQ(debugfs(as_raw(image, "qcow2"), "cat /new"), std::string(20'000, 'n'));
        fs::remove(image);
    }
}

TEST_F(Formats, AChainIsReadThroughAndWrittenAtItsTop) {
    const std::string base = convert("ext4", "qcow2");
    qemu_img({"create", "-q", "-f", "qcow2", "-b", "ext4.qcow2", "-F", "qcow2", "middle"});
    qemu_img({"create", "-q", "-f", "qcow2", "-b", "middle", "-F", "qcow2", "top", "64M"});
    const std::string before = sha256(base), top = scratch() / "top";
    EXPECT_TRUE(
        refused(insp({"cat", "-a", top, "-m", "/dev/sda", "/hello.txt"}), kFailed, "--allow-backing"));
    insp_ok({"edit", "--format=qcow2", "-a", top, "-m", "/dev/sda", "-e", "s/hello/chained/", "/hello.txt"});
    EXPECT_EQ(insp_ok({"cat", "--allow-backing", "-a", top, "-m", "/dev/sda", "/hello.txt"}),
              "chained, guest\n");
    EXPECT_EQ(sha256(base), before);
    qemu_img({"check", "-q", "top"});
    EXPECT_EQ(debugfs(as_raw(top, "qcow2"), "cat /hello.txt"), "chained, guest\n");

    json info = insp_json({"info", "--json", "--format=qcow2", "-a", top}).at("images").at(0);
    EXPECT_EQ(info.at("virtual_size"), 64 << 20);
    ASSERT_EQ(info.at("chain").size(), 2U);
    EXPECT_EQ(info.at("chain")[1].at("path"), base);
    fs::remove(base);
    EXPECT_TRUE(refused(insp({"cat", "--format=qcow2", "-a", top, "-m", "/dev/sda", "/hello.txt"}), kFailed,
                        "ext4.qcow2"));
}

// As QEMU writes them when it was given options.
TEST_F(Formats, BackingFilesNamedInJson) {
    const std::string base = convert("ext4", "qcow2"), top = scratch() / "top";
    const json name = {{"driver", "qcow2"}, {"file", {{"driver", "file"}, {"filename", base}}}};
    qemu_img({"create", "-q", "-f", "qcow2", "-b", "json:" + name.dump(), "-F", "qcow2", "top"});
    insp_ok({"edit", "--format=qcow2", "-a", top, "-m", "/dev/sda", "-e", "s/hello/chained/", "/hello.txt"});
    qemu_img({"check", "-q", "top"});
    EXPECT_EQ(debugfs(as_raw(top, "qcow2"), "cat /hello.txt"), "chained, guest\n");
    const json info = insp_json({"info", "--no-filesystems", "--json", "--format=qcow2", "-a", top});
    EXPECT_EQ(info.at("images").at(0).at("chain").at(0).at("path"), base);
    const json part = {{"driver", "raw"}, {"offset", 512}, {"file", name.at("file")}};
    qemu_img({"create", "-q", "-f", "qcow2", "-b", "json:" + part.dump(), "-F", "raw", "part", "1M"});
    EXPECT_TRUE(refused(insp({"info", "--no-filesystems", "--format=qcow2", "-a", scratch() / "part"}),
                        kFailed, "'offset'"));
}

// An image with its data in another file, and several images of one session: all or nothing.
TEST_F(Formats, SeveralFilesAreChangedTogether) {
    qemu_img({"convert", "-f", "raw", "-O", "qcow2", "-o", "data_file=data,data_file_raw=on", guest("ext4"),
              "outside"});
    const std::string outside = scratch() / "outside", data = scratch() / "data", second = copy_of("ext2");
    const std::vector<std::string> names = files();
    const auto run_on_both = [&](const std::string& command, const Args& paths, const std::string& input) {
        Args args = {command, "--format=qcow2", "-a", outside,        "--format=raw", "-a", second,
                     "-m",    "/dev/sda:/",     "-m", "/dev/sdb:/dir"};
        args.insert(args.end(), paths.begin(), paths.end());
        insp_ok(args, {.input = input});
    };
    run_on_both("write", {"/new"}, std::string(300'000, 'n'));
    run_on_both("touch", {"/both", "/dir/both"}, "");
    EXPECT_EQ(files(), names) << "nothing is left beside the images";
    qemu_img({"check", "-q", "-f", "qcow2", "outside"});
    qemu_img({"compare", "-q", "-f", "qcow2", "-F", "raw", "outside", "data"});
    EXPECT_TRUE(ext_is_clean(data));
    EXPECT_EQ(debugfs(data, "cat /new"), std::string(300'000, 'n'));
    EXPECT_TRUE(ext_is_clean(second));
    for (const std::string& image : {data, second})
        EXPECT_THAT(debugfs(image, "stat /both"), HasSubstr("Type: regular"));
}

TEST_F(Formats, SnapshotsAndBitmaps) {
    const std::string image = convert("ext4", "qcow2");
    qemu_img({"snapshot", "-c", "before", image});
    qemu_img({"bitmap", "--add", image, "changes"});
    insp_ok({"edit", "-a", image, "-m", "/dev/sda", "-e", "s/hello/later/", "/hello.txt"});
    EXPECT_EQ(insp_ok({"cat", "-a", image, "-m", "/dev/sda", "/hello.txt"}), "later, guest\n");
    EXPECT_EQ(insp_ok({"cat", "--disk-snapshot=before", "-a", image, "-m", "/dev/sda", "/hello.txt"}),
              "hello, guest\n");
    EXPECT_TRUE(refused(insp({"cat", "--disk-snapshot=none", "-a", image, "-m", "/dev/sda", "/hello.txt"}),
                        kFailed, "none"));
    EXPECT_TRUE(refused(insp({"rm", "--disk-snapshot=before", "-a", image, "-m", "/dev/sda", "/hello.txt"}),
                        kUsage, "snapshot"));
    qemu_img({"check", "-q", image});
    json info = insp_json({"info", "--json", "--no-filesystems", "-a", image}).at("images").at(0);
    EXPECT_EQ(info.at("snapshots").at(0).at("name"), "before");
    // The disk was changed without it: it must not claim to know what changed.
    EXPECT_EQ(info.at("bitmaps").at(0).at("usable"), false);
    qemu_img({"bitmap", "--remove", image, "changes"});
    qemu_img({"snapshot", "-q", "-a", "before", image});
    EXPECT_EQ(debugfs(as_raw(image, "qcow2"), "cat /hello.txt"), "hello, guest\n");
}

TEST_F(Formats, DirtyAndCorruptImagesAreRepairedOnDemand) {
    const std::string image = convert("ext4", "qcow2", {"-o", "lazy_refcounts=on"});
    const Args disk = {"-a", image, "-m", "/dev/sda"};
    const auto with = [&](Args args, const Args& more) {
        args.insert(args.end(), disk.begin(), disk.end());
        args.insert(args.end(), more.begin(), more.end());
        return args;
    };
    const auto mark = [&](char features) {
        std::fstream file(image, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(79).put(features);
    };
    mark(1);
    EXPECT_EQ(insp_ok(with({"cat"}, {"/hello.txt"})), "hello, guest\n") << "a dirty image can be read";
    EXPECT_TRUE(refused(insp(with({"rm"}, {"/hello.txt"})), kFailed, "--repair"));
    EXPECT_TRUE(refused(insp(with({"cat", "--ro", "--repair"}, {"/hello.txt"})), kUsage, "--ro"));
    EXPECT_TRUE(refused(insp(with({"cat", "--repair=some"}, {"/hello.txt"})), kUsage, "some"));
    Options without{.env = {{"PATH", scratch()}}};
    EXPECT_TRUE(refused(insp(with({"rm", "--repair"}, {"/hello.txt"}), without), kFailed, "qemu-utils"));
    insp_ok(with({"edit", "--repair=leaks", "-e", "s/hello/repaired/"}, {"/hello.txt"}));
    expect_sound(image, "qcow2");
    mark(2);
    EXPECT_TRUE(refused(insp(with({"cat"}, {"/hello.txt"})), kFailed, "marked corrupt"));
    EXPECT_EQ(insp_ok(with({"cat", "--repair"}, {"/hello.txt"})), "repaired, guest\n");
    expect_sound(image, "qcow2");
}

TEST_F(Formats, OthersThroughTheStorageDaemon) {
    if (!have_program("qemu-storage-daemon")) GTEST_SKIP() << "qemu-storage-daemon is not installed";
    for (const std::string format : {"vdi", "vmdk", "vhdx", "vpc", "qed"}) {
        SCOPED_TRACE(format);
        const std::string image = convert("ext4", format);
        insp_ok({"edit", "--format=" + format, "-a", image, "-m", "/dev/sda", "-e", "s/hello/" + format + "/",
                 "/hello.txt"});
        EXPECT_EQ(insp_ok({"cat", "--format=" + format, "-a", image, "-m", "/dev/sda", "/hello.txt"}),
                  format + ", guest\n");
        EXPECT_EQ(debugfs(as_raw(image, format), "cat /hello.txt"), format + ", guest\n");
    }
    // Detected: only those that can't name another file.
    EXPECT_EQ(insp_ok({"cat", "-a", scratch() / "ext4.vdi", "-m", "/dev/sda", "/hello.txt"}), "vdi, guest\n");
    EXPECT_TRUE(refused(insp({"cat", "-a", scratch() / "ext4.vmdk", "-m", "/dev/sda", "/x"}), kFailed,
                        "--format=vmdk"));
    Options without{.env = {{"PATH", scratch()}}};
    EXPECT_TRUE(refused(
        insp({"cat", "--format=vmdk", "-a", scratch() / "ext4.vmdk", "-m", "/dev/sda", "/x"}, without),
        kFailed, "qemu-system-common"));
}

// An image that is itself encrypted, and not only what its guest has in it.
TEST_F(Formats, LuksInQcow2) {
    if (!have_program("qemu-storage-daemon")) GTEST_SKIP() << "qemu-storage-daemon is not installed";
    const std::string image = scratch() / "secret.qcow2", key = scratch() / "key";
    // qemu-img measures how fast it derives keys, which on a busy machine may fail.
    Outcome made;
    for (int attempt = 0; attempt < 10 && !made.ok(); attempt++) {
        made = run({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "--object", "secret,id=k,data=sesame",
                    "-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=20", guest("ext4"),
                    image});
    }
    if (!made.ok()) GTEST_SKIP() << "qemu-img cannot make a LUKS image on this machine: " << made.err;
    const auto on_it = [&](Args args, const Args& keys) {
        args.insert(args.end(), keys.begin(), keys.end());
        args.insert(args.end(), {"-a", image, "-m", "/dev/sda", "/hello.txt"});
        return args;
    };
    const Options options{.env = {{"XDG_STATE_HOME", scratch() / "state"}}};
    EXPECT_TRUE(refused(insp(on_it({"cat"}, {})), kFailed, "--key secret.qcow2:key:"));
    EXPECT_TRUE(refused(insp(on_it({"cat"}, {"--key", "all:key:wrong"})), kFailed, "no key that was given"));
    EXPECT_EQ(insp_ok(on_it({"cat"}, {"--key", "secret.qcow2:key:sesame"})), "hello, guest\n");
    EXPECT_EQ(insp_ok(on_it({"cat"}, {"--keys-from-stdin"}), {.input = "wrong\nsesame\n"}), "hello, guest\n");
    write_host_file(key, "sesame\n");
    insp_ok(on_it({"edit", "-e", "s/hello/secret/"}, {"--key", "all:file:" + key}), options);
    const json info = insp_json({"info", "--json", "--keys-from-stdin", "-a", image}, {.input = "sesame"});
    EXPECT_EQ(info.at("images").at(0).at("encrypted"), true);
    EXPECT_EQ(info.at("filesystems").at(0).at("type"), "ext4");
    qemu_img({"convert", "--object", "secret,id=k,data=sesame", "--image-opts",
              "driver=qcow2,encrypt.key-secret=k,file.filename=" + image, "-O", "raw", "plain"});
    EXPECT_TRUE(ext_is_clean(scratch() / "plain"));
    EXPECT_EQ(debugfs(scratch() / "plain", "cat /hello.txt"), "secret, guest\n");
}

TEST_F(Formats, CacheAndWriteModes) {
    for (const std::string mode : {"writeback", "writethrough", "unsafe", "none", "directsync"}) {
        for (const std::string write : {"atomic", "direct"}) {
            SCOPED_TRACE(mode + ", " + write);
            // Who writes the image is the virtual machine's process.
            engine_ = write == "direct" && (mode == "writeback" || mode == "none") && kvm_is_usable()
                          ? "kvm"
                          : "auto";
            const std::string image = copy_of("ext4");
            Outcome outcome = insp({"edit", "--cache=" + mode, "--write-mode=" + write, "-a", image, "-m",
                                    "/dev/sda", "-e", "s/hello/" + mode + "/", "/hello.txt"});
            if (!outcome.ok() && outcome.err.find("page cache") != std::string::npos)
                continue;  // no O_DIRECT here
            ASSERT_TRUE(outcome.ok()) << outcome.describe();
            EXPECT_TRUE(ext_is_clean(image));
            EXPECT_EQ(debugfs(image, "cat /hello.txt"), mode + ", guest\n");
        }
    }
    const std::string image = convert("ext4", "qcow2");
    insp_ok({"write", "--write-mode=direct", "-a", image, "-m", "/dev/sda", "/new"}, {.input = "directly"});
    expect_sound(image, "qcow2");
    EXPECT_EQ(debugfs(as_raw(image, "qcow2"), "cat /new"), "directly");
    EXPECT_TRUE(refused(insp({"ls", "--write-mode=careless", "-a", image, "/"}), kUsage, "careless"));
}

// What is wrong with the command line by itself is wrong usage in every command; what opening an image shows
// is a failure.
TEST_F(Formats, WrongValuesAreWrongUsageInEveryCommand) {
    const std::string image = convert("ext4", "qcow2"), output = scratch() / "output";
    const std::vector<Args> commands = {
        {"ls", "/"},
        {"cat", "/x"},
        {"edit", "-e", "s/a/b/", "/x"},
        {"info"},
        {"info", "--no-filesystems"},
        {"inspect"},
        {"diff", "-A", image},
        {"serve", "--once", "--socket", output},
        {"clone", "-o", output},
        {"sysprep"},
        {"backup", "create", "--repo", scratch() / "repository", "--password-command=echo x"}};
    insp_ok({"backup", "init", "-q", "--repo", scratch() / "repository", "--password-command=echo x"});
    const auto with = [&](Args args, const Args& more) {
        args.insert(args.begin() + (args[0] == "backup" ? 2 : 1), more.begin(), more.end());
        return insp(args);
    };
    for (const Args& args : commands) {
        SCOPED_TRACE(args[0]);
        EXPECT_TRUE(refused(with(args, {"--cache=fast", "-a", image}), kUsage, "fast"));
        EXPECT_TRUE(refused(with(args, {"--format=clay", "-a", image}), kUsage, "clay"));
        EXPECT_TRUE(refused(with(args, {"-a", "nbd+unix:///x"}), kUsage, "socket"));
        if (args[0] != "edit" && args[0] != "sysprep") {
            EXPECT_TRUE(refused(with(args, {"--disk-snapshot=x", "-a", guest("ext4")}), kFailed,
                                "internal snapshots"));
        }
        if (args[0] != "serve" && args[0] != "backup") {
            EXPECT_TRUE(refused(with(args, {"--stats=clay", "-a", image}), kUsage, "clay"));
        }
    }
    EXPECT_FALSE(fs::exists(output));
    EXPECT_TRUE(refused(insp({"clone", "-a", image, "-o", output, "--method=overlay", "--output-format=raw"}),
                        kUsage, "qcow2"));
    EXPECT_TRUE(refused(insp({"serve", "--engine=kvm", "-a", image}), kUsage, "unknown option"));
    Args many{"ls", "--engine=qemu", "/"};
    for (int i = 0; i < 7; ++i) many.insert(many.end(), {"-a", image});
    EXPECT_TRUE(refused(insp(many), kUsage, "at most 6"));
}

TEST_F(Formats, ServedAndReadBackByOthers) {
    const std::string image = convert("ext4", "qcow2"), socket = scratch() / "socket";
    Child server(command({"serve", "-a", image, "--socket", socket}), environment());
    for (int i = 0; i < 200 && !fs::exists(socket); i++) usleep(10'000);
    const std::string uri = "nbd+unix:///?socket=" + socket;
    qemu_img({"compare", "-q", "-f", "raw", "-F", "raw", guest("ext4"), uri});
    // Its own client, and one that writes.
    EXPECT_EQ(insp_ok({"cat", "-a", uri, "-m", "/dev/sda", "/hello.txt"}), "hello, guest\n");
    insp_ok({"edit", "-a", uri, "-m", "/dev/sda", "-e", "s/hello/served/", "/hello.txt"},
            {.env = {{"XDG_STATE_HOME", scratch() / "state"}}});
    EXPECT_EQ(debugfs(as_raw(image, "qcow2"), "cat /hello.txt"), "hello, guest\n") << "not before its end";
    server.kill(SIGTERM);
    Outcome outcome = server.wait();
    EXPECT_TRUE(outcome.ok()) << outcome.describe();
    EXPECT_EQ(outcome.out, uri + "\n");
    EXPECT_FALSE(fs::exists(socket));
    expect_sound(image, "qcow2");
    EXPECT_EQ(debugfs(as_raw(image, "qcow2"), "cat /hello.txt"), "served, guest\n");
    EXPECT_TRUE(refused(insp({"cat", "-a", uri, "/x"}), kFailed, socket));

    // Killed, it has changed nothing.
    const std::string before = sha256(image);
    Child killed(command({"serve", "-a", image, "--socket", socket}), environment());
    for (int i = 0; i < 200 && !fs::exists(socket); i++) usleep(10'000);
    insp_ok({"rm", "-a", uri, "-m", "/dev/sda", "/hello.txt"},
            {.env = {{"XDG_STATE_HOME", scratch() / "state"}}});
    killed.kill(SIGKILL);
    killed.wait();
    EXPECT_EQ(sha256(image), before);
    fs::remove(socket);
}

TEST_F(Formats, TheDisksOfALibvirtDomain) {
    const std::string image = convert("fake-debian", "qcow2");
    write_host_file(
        scratch() / "domain.xml",
        "<domain type='kvm'><name>web</name><devices>"
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='writeback'/>"
        "<source file='" +
            image +
            "'/><target dev='vda' bus='virtio'/></disk>"
            "<disk type='file' device='cdrom'><source file='/nonexistent.iso'/><target dev='sda'/></disk>"
            "</devices></domain>");
    EXPECT_EQ(insp_ok({"cat", "-q", "--domain-xml", scratch() / "domain.xml", "/etc/hostname"}),
              "old-debian\n");
    EXPECT_TRUE(
        refused(insp({"ls", "-d", "web", "/"}, {.env = {{"PATH", scratch()}}}), kFailed, "libvirt-clients"));
    // A virsh that knows the domain.
    write_host_file(scratch() / "virsh",
                    "#!/bin/sh\nexec /bin/cat " + (scratch() / "domain.xml").string() + "\n");
    chmod((scratch() / "virsh").c_str(), 0755);
    Options with{.env = {{"PATH", scratch().string() + ":/usr/bin:/bin"}}};
    insp_ok({"edit", "-q", "-d", "web", "-c", "test:///default", "-e", "s/old/domain/", "/etc/hostname"},
            with);
    EXPECT_EQ(debugfs(cut_out(as_raw(image, "qcow2"), 1), "cat /etc/hostname"), "domain-debian\n");
}

TEST_F(Formats, BadImages) {
    write_host_file(scratch() / "header", std::string("QFI\xfb\0\0\0\3", 8) + std::string(65536, '\0'));
    EXPECT_TRUE(refused(insp({"cat", "-a", scratch() / "header", "/x"}), kFailed, "header"));
    const std::string image = convert("ext4", "qcow2");
    fs::resize_file(image, fs::file_size(image) / 2);
    Outcome cut = insp({"cat", "-a", image, "-m", "/dev/sda", "/dir/sub/deep.txt", "/numbers"});
    EXPECT_EQ(cut.code, kFailed) << cut.describe();
    qemu_img({"create", "-q", "-f", "qcow2", "one", "1M"});
    qemu_img({"create", "-q", "-f", "qcow2", "-b", "one", "-F", "qcow2", "two"});
    qemu_img({"rebase", "-q", "-u", "-b", "two", "-F", "qcow2", "one"});
    EXPECT_TRUE(refused(insp({"info", "--no-filesystems", "--format=qcow2", "-a", scratch() / "one"}),
                        kFailed, "comes back"));
}

TEST_F(Formats, BlockDevices) {
    const std::string image = copy_of("ext4"), state = scratch() / "state";
    Outcome attached = run({"losetup", "--find", "--show", image});
    if (!attached.ok()) GTEST_SKIP() << "no loop device can be had here: " << attached.err;
    const std::string device = attached.out.substr(0, attached.out.find('\n'));
    const Options options{.env = {{"XDG_STATE_HOME", state}}};
    EXPECT_EQ(insp_ok({"cat", "-a", device, "-m", "/dev/sda", "/hello.txt"}, options), "hello, guest\n");
    for (const std::string mode : {"writeback", "none"})
        insp_ok({"write", "--cache=" + mode, "-a", device, "-m", "/dev/sda", "/" + mode},
                {.input = "on a device", .env = options.env});
    // Killed on the way, and opened again.
    for (int i = 0; i < 3; i++) {
        Child child(command({"edit", "-a", device, "-m", "/dev/sda", "-e", "s/hello/killed/", "/hello.txt"}),
                    environment(options));
        usleep(static_cast<useconds_t>(900'000 + i * 150'000));
        child.kill(SIGKILL);
        child.wait();
    }
    insp_ok({"edit", "-a", device, "-m", "/dev/sda", "-e", "s/(hello|killed)/edited/", "/hello.txt"},
            options);
    EXPECT_TRUE(fs::is_empty(fs::path(state) / "libinspect")) << "the journal is gone";
    EXPECT_TRUE(refused(insp({"cat", "-a", device + "nonsense", "/x"}), kFailed, "nonsense"));
    // In use by the host: mounted.
    fs::create_directory(scratch() / "mounted");
    if (run({"mount", device, scratch() / "mounted"}).ok()) {
        EXPECT_TRUE(
            refused(insp({"rm", "-a", device, "-m", "/dev/sda", "/hello.txt"}, options), kFailed, "in use"));
        run({"umount", scratch() / "mounted"});
    }
    Outcome detached = run({"losetup", "--detach", device});
    EXPECT_TRUE(detached.ok()) << detached.describe();
    EXPECT_TRUE(ext_is_clean(image));
    EXPECT_EQ(debugfs(image, "cat /hello.txt"), "edited, guest\n");
    EXPECT_EQ(debugfs(image, "cat /none"), "on a device");
}

TEST_F(Formats, RecoverByHand) {
    const std::string image = copy_of("ext4");
    EXPECT_THAT(insp_ok({"recover", image}), HasSubstr("nothing to recover"));
    write_host_file(image + ".insp-journal", std::string(4096, '\0'));
    json answer = insp_json({"recover", "--json", image});
    EXPECT_EQ(answer.at("images").at(0).at("result"), "discarded");
    EXPECT_FALSE(fs::exists(image + ".insp-journal"));
    EXPECT_TRUE(same_bytes(image, guest("ext4")));
    EXPECT_TRUE(refused(insp({"recover", scratch() / "none"}), kFailed, "none"));
}

}  // namespace
}  // namespace inspect::test
