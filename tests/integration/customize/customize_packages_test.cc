// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp customize installs, updates and removes packages in a Debian without a network: from a directory of
// the host, and through a proxy that the host reaches. The packages are made here; dpkg's own list in the
// guest is the judge.
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Packages : public ApplianceTest {
  protected:
    void SetUp() override {
        ApplianceTest::SetUp();
        if (IsSkipped()) return;
        if (!have_program("dpkg-deb")) GTEST_SKIP() << "no dpkg-deb here";
        directory_ = scratch() / "packages";
        fs::create_directory(directory_);
    }
    Outcome customize(const std::string& image, Args args) const {
        args.insert(args.begin(), {"customize", "-a", image});
        return insp(args);
    }
    // A package of one file, /usr/share/NAME/version.
    void make_package(const std::string& name, const std::string& version, const std::string& depends = {}) {
        const fs::path tree = scratch() / "tree";
        fs::remove_all(tree);
        fs::create_directories(tree / "DEBIAN");
        fs::create_directories(tree / "usr/share" / name);
        write_host_file(tree / "usr/share" / name / "version", version + "\n");
        write_host_file(
            tree / "DEBIAN/control",
            "Package: " + name + "\nVersion: " + version +
                "\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a test\n" +
                (depends.empty() ? "" : "Depends: " + depends + "\n"));
        write_host_file(tree / "DEBIAN/postinst",
                        "#!/bin/sh\necho configured >/usr/share/" + name + "/configured\n");
        fs::permissions(tree / "DEBIAN/postinst", fs::perms(0755));
        const Outcome built = run({"dpkg-deb", "--build", "--root-owner-group", tree,
                                   directory_ / (name + "_" + version + "_all.deb")});
        ASSERT_TRUE(built.ok()) << built.describe();
    }
    // What the guest's dpkg thinks is installed: "name version state" lines.
    std::string installed(const std::string& image) const {
        const std::string root = cut_out(image, 2);
        EXPECT_TRUE(ext_is_clean(root));
        std::istringstream status(debugfs(root, "cat /var/lib/dpkg/status"));
        std::string list, name, state;
        for (std::string line; std::getline(status, line);) {
            if (line.starts_with("Package: ")) name = line.substr(9);
            if (line.starts_with("Status: ")) state = line.substr(8);
            if (line.starts_with("Version: ") && name.starts_with("insp-"))
                list += name + " " + line.substr(9) + " " + state + "\n";
        }
        return list;
    }
    // What apt finds at http://packages.invalid/.
    void make_index() const {
        std::ofstream index(directory_ / "Packages");
        for (const fs::directory_entry& file : fs::directory_iterator(directory_)) {
            if (file.path().extension() != ".deb") continue;
            index << run({"dpkg-deb", "-f", file.path()}).out << "Filename: ./"
                  << file.path().filename().string() << "\nSize: " << file.file_size()
                  << "\nSHA256: " << sha256(file.path()) << "\n\n";
        }
    }
    // Until it is there, and has something in it if it is a file.
    static void wait_for(const fs::path& path) {
        const auto ready = [&] {
            return fs::exists(path) && (!fs::is_regular_file(path) || !fs::is_empty(path));
        };
        for (int i = 0; i < 500 && !ready(); ++i) ::usleep(20'000);
    }

    fs::path directory_;
    const std::string proxy_ = INSP_SOURCE_DIR "/tests/integration/support/http-proxy.py";
};

TEST_F(Packages, FromADirectory) {
    make_package("insp-main", "1:1.0", "insp-needed");
    make_package("insp-needed", "1.0");
    make_package("insp-unasked", "1.0");
    write_host_file(directory_ / "README", "no package");
    const std::string image = copy_of("debian12-small");
    Outcome done = customize(image, {"--install", "insp-main", "--package-dir", directory_});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_THAT(done.err, HasSubstr("Installing packages: insp-main\n"));
    EXPECT_EQ(installed(image),
              "insp-main 1:1.0 install ok installed\ninsp-needed 1.0 install ok installed\n");
    const std::string root = cut_out(image, 2);
    EXPECT_EQ(debugfs(root, "cat /usr/share/insp-main/configured"), "configured\n");
    EXPECT_THAT(debugfs(root, "ls -p /"), Not(HasSubstr("insp-customize")));
    EXPECT_EQ(debugfs(root, "ls -p /tmp"), debugfs(cut_out(guest("debian12-small"), 2), "ls -p /tmp"));

    make_package("insp-needed", "1.1");
    done = customize(image, {"--update", "--package-dir", directory_});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_EQ(installed(image),
              "insp-main 1:1.0 install ok installed\ninsp-needed 1.1 install ok installed\n");
    EXPECT_EQ(debugfs(cut_out(image, 2), "cat /usr/share/insp-needed/version"), "1.1\n");

    done = customize(image, {"--uninstall", "insp-main,insp-needed"});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_EQ(installed(image), "");
}

TEST_F(Packages, WhatCannotBeInstalledChangesNothing) {
    make_package("insp-main", "1.0", "insp-missing");
    const std::string image = copy_of("debian12-small");
    Outcome failed = customize(image, {"--install", "insp-main", "--package-dir", directory_});
    EXPECT_EQ(failed.code, kFailed);
    EXPECT_THAT(failed.err, AllOf(HasSubstr("insp-missing"), HasSubstr("Installing packages: insp-main: ")));
    fs::create_directory(scratch() / "empty");
    EXPECT_TRUE(refused(customize(image, {"-q", "--update", "--package-dir", scratch() / "empty"}), kFailed,
                        "there is no package (*.deb)"));
    EXPECT_TRUE(refused(customize(image, {"-q", "--update", "--package-dir", scratch() / "none"}), kFailed,
                        "there is no directory"));
    EXPECT_TRUE(
        refused(customize(image, {"-q", "--update", "--package-proxy", "unix:" + (scratch() / "s").string()}),
                kFailed, "cannot connect"));
    for (const Args& wrong :
         {Args{"--install", "insp-main"}, Args{"--update"}, Args{"--install", "a;b", "--package-dir", "."},
          Args{"--update", "--package-proxy", "http://proxy:3128"}})
        EXPECT_EQ(customize(image, wrong).code, kUsage) << wrong[0];
    EXPECT_TRUE(same_bytes(image, guest("debian12-small")));
}

TEST_F(Packages, ThroughAProxy) {
    if (!have_program("python3")) GTEST_SKIP() << "no python3 here";
    make_package("insp-main", "1.0", "insp-needed");
    make_package("insp-needed", "1.0");
    make_index();
    const std::string socket = scratch() / "socket", log = scratch() / "log";
    Child proxy({"python3", proxy_, directory_, socket, log});
    wait_for(socket);
    const std::string image = copy_of("debian12-small");
    const Args sources = {"--delete", "/etc/apt/sources.list.d/*", "--write",
                          "/etc/apt/sources.list:deb [trusted=yes] http://packages.invalid/ ./"};
    Args args = sources;
    // Nothing else than the proxy is there, before, meanwhile or after.
    const std::string look = "exec 3<>/dev/tcp/127.0.0.1/22 && echo there; ls /sys/class/net";
    args.insert(args.end(), {"--install", "insp-main", "--package-proxy", "unix:" + socket, "--run-command",
                             "bash -c '" + look + "' 2>&1 || true"});
    Outcome done = customize(image, args);
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_EQ(installed(image), "insp-main 1.0 install ok installed\ninsp-needed 1.0 install ok installed\n");
    EXPECT_THAT(done.err, AllOf(HasSubstr("\nlo\n"), Not(HasSubstr("there\n")), Not(HasSubstr("eth0"))));
    EXPECT_THAT(read_host_file(log), HasSubstr("http://packages.invalid/./insp-main_1.0_all.deb"));

    // And over TCP, with both sources of packages.
    const std::string port_log = scratch() / "port";
    Child by_tcp({"python3", proxy_, directory_, "tcp", port_log});
    wait_for(port_log);
    std::string port;
    std::ifstream(port_log) >> port;
    make_package("insp-needed", "1.2");
    make_index();
    fs::create_directory(scratch() / "more");
    make_package("insp-local", "3");
    fs::rename(directory_ / "insp-local_3_all.deb", scratch() / "more/insp-local_3_all.deb");
    done = customize(image, {"--update", "--install", "insp-local", "--package-proxy",
                             "tcp:localhost:" + port, "--package-dir", scratch() / "more"});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_EQ(installed(image),
              "insp-local 3 install ok installed\ninsp-main 1.0 install ok installed\n"
              "insp-needed 1.2 install ok installed\n");
}

// What other systems' package managers are told: a program that writes it down is in their place.
TEST_F(Packages, OtherPackageManagers) {
    write_host_file(directory_ / "one-1.rpm", "one");
    write_host_file(directory_ / "two-2.rpm", "two");
    const std::string recorder =
        "#!/bin/sh\necho \"$0 $*\" >>/told\ncat /tmp/insp-repos/* >>/told 2>/dev/null\nexit 0\n";
    write_host_file(scratch() / "recorder", recorder);
    fs::permissions(scratch() / "recorder", fs::perms(0755));
    write_host_file(scratch() / "rpm", "#!/bin/sh\nfor file; do :; done\ncat \"$file\"\n");
    fs::permissions(scratch() / "rpm", fs::perms(0755));
    const std::string image = copy_of("debian12-small");
    Outcome done = customize(image, {"--delete", "/usr/bin/apt-get", "--write",
                                     "/etc/os-release:ID=fedora\nNAME=Fedora\nVERSION_ID=39\n", "--upload",
                                     (scratch() / "recorder").string() + ":/usr/bin/dnf", "--upload",
                                     (scratch() / "rpm").string() + ":/usr/bin/rpm", "--install",
                                     "one,elsewhere", "--update", "--package-dir", directory_});
    ASSERT_TRUE(done.ok()) << done.describe();
    const std::string told = debugfs(cut_out(image, 2), "cat /told");
    EXPECT_THAT(told, HasSubstr("dnf -y --setopt=reposdir=/tmp/insp-repos install "
                                "/insp-customize-packages/one-1.rpm elsewhere\n"));
    EXPECT_THAT(told,
                HasSubstr("upgrade /insp-customize-packages/one-1.rpm /insp-customize-packages/two-2.rpm\n"));
    // As a repository.
    fs::create_directory(directory_ / "repodata");
    write_host_file(directory_ / "repodata/repomd.xml", "<repomd/>");
    done = customize(image, {"--install", "one", "--package-dir", directory_});
    ASSERT_TRUE(done.ok()) << done.describe();
    EXPECT_THAT(debugfs(cut_out(image, 2), "cat /told"),
                AllOf(HasSubstr("install one\n"), HasSubstr("baseurl=file:///insp-customize-packages\n")));
}

TEST_F(Packages, AtTheFirstBoot) {
    const std::string image = copy_of("debian12-small");
    Outcome done = customize(image, {"--firstboot-install", "nginx,curl"});
    ASSERT_TRUE(done.ok()) << done.describe();
    const std::string script =
        debugfs(cut_out(image, 2), "cat /usr/lib/libinspect/firstboot/scripts/0001-install");
    EXPECT_THAT(script, AllOf(HasSubstr("set -- install 'nginx' 'curl'\n"), HasSubstr("apt-get")));
    write_host_file(scratch() / "script", script);
    EXPECT_TRUE(run({"sh", "-n", scratch() / "script"}).ok());
}

}  // namespace
}  // namespace inspect::test
