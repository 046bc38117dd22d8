// SPDX-License-Identifier: GPL-2.0-or-later
//
// Killed at any moment, a command leaves no process, no temporary file, and an image that is either the old
// one or the new one. INSP_TEST_KILLS: how often each test kills; a night of it is a soak test.
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class Kill : public KvmTest {
  protected:
    static int kills() {
        const char* text = getenv("INSP_TEST_KILLS");
        return text ? atoi(text) : 6;
    }

    Args edit(const std::string& image) const {
        return command({"edit", "-q", "-a", image, "-e", "s/old/new/", "/etc/hostname"});
    }

    // The guest, or with `qcow2` the same in this format.
    std::string make_image(bool qcow2, const std::string& name) const {
        std::string image = copy_of("fake-debian", name);
        if (!qcow2) return image;
        Outcome converted = run({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", image, image + ".qcow2"});
        EXPECT_TRUE(converted.ok()) << converted.describe();
        fs::remove(image);
        fs::rename(image + ".qcow2", image);
        return image;
    }

    // How long an edit takes, in microseconds.
    uint64_t duration(bool qcow2) const {
        insp_ok({"appliance", "warm"});  // which would count as well
        std::string image = make_image(qcow2, "timed.img");
        Outcome outcome = run(edit(image), environment());
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        fs::remove(image);
        return static_cast<uint64_t>(outcome.seconds * 1e6);
    }

    // The processes of that name below this test.
    static std::vector<pid_t> processes(const std::string& name) {
        std::vector<pid_t> found;
        for (const auto& entry : fs::directory_iterator("/proc")) {
            pid_t pid = atoi(entry.path().filename().c_str());
            if (pid <= 0) continue;
            std::string comm = read_host_file(entry.path() / "comm");
            if (comm != name + "\n") continue;
            for (pid_t up = pid; up > 1;) {
                std::string text = read_host_file("/proc/" + std::to_string(up) + "/stat");
                size_t end = text.rfind(')');
                if (end == std::string::npos) break;
                char state;
                std::istringstream(text.substr(end + 1)) >> state >> up;
                if (up == getpid()) {
                    found.push_back(pid);
                    break;
                }
            }
        }
        return found;
    }

    void expect_old_or_new(std::string image, bool qcow2) const {
        if (qcow2) {
            Outcome checked = run({"qemu-img", "check", "-q", "-f", "qcow2", image});
            EXPECT_TRUE(checked.ok()) << checked.describe();
            const std::string raw = scratch() / "judged.raw";
            Outcome converted = run({"qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw});
            EXPECT_TRUE(converted.ok()) << converted.describe();
            image = raw;
        }
        std::string root = cut_out(image, 1);
        EXPECT_TRUE(ext_is_clean(root));
        EXPECT_THAT(debugfs(root, "cat /etc/hostname"), AnyOf("old-debian\n", "new-debian\n"));
    }

    void kill_and_look(int signal, bool qcow2 = false) {
        uint64_t whole = duration(qcow2);
        std::mt19937_64 random(std::random_device{}());
        for (int i = 0; i < kills(); i++) {
            std::string image = make_image(qcow2, "fake-debian.img");
            std::vector<std::string> names = files();
            // Every second time near the end, where the image is written.
            uint64_t from = i % 2 ? whole * 8 / 10 : 0, to = whole * 105 / 100;
            uint64_t delay = from + random() % (to - from);
            SCOPED_TRACE("signal " + std::to_string(signal) + " after " + std::to_string(delay) + " of " +
                         std::to_string(whole) + " us");
            Child child(edit(image), environment());
            usleep(static_cast<useconds_t>(delay));
            child.kill(signal);
            Outcome outcome = child.wait();
            EXPECT_FALSE(outcome.timed_out);
            EXPECT_TRUE(outcome.ok() || outcome.signal == signal) << outcome.describe();
            EXPECT_THAT(strays(), ::testing::IsEmpty());
            // A commit that had begun is finished by the next one who opens the image for reading.
            Outcome next = insp({"cat", "-q", "-a", image, "/etc/hostname"});
            EXPECT_THAT(next.out, AnyOf("old-debian\n", "new-debian\n")) << next.describe();
            EXPECT_EQ(files(), names) << "nothing is left beside the image";
            if (outcome.ok()) {
                EXPECT_EQ(next.out, "new-debian\n");
            }
            expect_old_or_new(image, qcow2);
        }
    }
};

TEST_F(Kill, BySigkill) { kill_and_look(SIGKILL); }

TEST_F(Kill, BySigkillWithQcow2) {
    if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    kill_and_look(SIGKILL, true);
}

TEST_F(Kill, BySigint) { kill_and_look(SIGINT); }

// ^C reaches all processes of the group at once.
TEST_F(Kill, ByTheTerminal) {
    std::string image = copy_of("large");
    fs::create_directory(scratch() / "out");
    Child child(command({"copy-out", "-a", image, "-m", "/dev/sda", "/large", scratch() / "out"}),
                environment());
    sleep(2);
    child.kill_group(SIGINT);
    Outcome outcome = child.wait();
    EXPECT_EQ(outcome.signal, SIGINT) << outcome.describe();
    EXPECT_LT(outcome.seconds, 5) << "it ends at once";
    EXPECT_THAT(strays(), ::testing::IsEmpty());
}

// The virtual machine's process dies: a clear error, no hang, the image as it was.
TEST_F(Kill, TheVirtualMachine) {
    std::string image = copy_of("large");
    Child child(command({"cat", "-a", image, "-m", "/dev/sda", "/large"}), environment());
    std::vector<pid_t> machines;
    for (int i = 0; i < 400 && machines.empty() && child.running(); i++) {
        usleep(10'000);
        machines = processes("insp-vmm");
    }
    ASSERT_FALSE(machines.empty()) << child.wait().describe();
    usleep(300'000);
    for (pid_t pid : machines) kill(pid, SIGKILL);
    Outcome outcome = child.wait();
    EXPECT_TRUE(refused(outcome, kFailed, "appliance"));
}

// Nobody reads any more: the command ends, as every filter does.
TEST_F(Kill, ByAClosedPipe) {
    Outcome outcome =
        run({"sh", "-c",
             std::string(INSP_PROGRAM) + " cat -a " + guest("large") + " -m /dev/sda /large | head -n 1"},
            environment());
    EXPECT_EQ(outcome.out, "000000000000001\n");
    EXPECT_EQ(outcome.err, "");
}

}  // namespace
}  // namespace inspect::test
