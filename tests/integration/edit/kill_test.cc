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

// What is edited: an image, or files that are changed together.
enum class Subject {
    kRaw,
    kQcow2,
    kSeveral,  // a qcow2 image, its data file, and a raw image
};

class Kill : public ApplianceTest {
  protected:
    static int kills() {
        const char* text = getenv("INSP_TEST_KILLS");
        return text ? atoi(text) : 6;
    }

    // On our own virtual machine, whose snapshot is there: a test that makes it first waits for longer.
    Options on_kvm() const {
        insp_ok({"appliance", "warm"}, {.env = {{"INSP_ENGINE", "kvm"}}});
        return environment({.env = {{"INSP_ENGINE", "kvm"}}});
    }

    // The small images, made once; each kill gets a copy.
    void make_originals(Subject subject) {
        subject_ = subject;
        fs::create_directory(originals());
        if (subject == Subject::kRaw) {
            fs::copy_file(guest("ext4"), originals() / "image");
            return;
        }
        Args convert = {"qemu-img", "convert", "-f", "raw", "-O", "qcow2"};
        if (subject == Subject::kSeveral) {
            convert.insert(convert.end(), {"-o", "data_file=data,data_file_raw=on"});
            fs::copy_file(guest("ext2"), originals() / "second");
        }
        convert.insert(convert.end(), {guest("ext4"), "image"});
        Outcome converted = run(convert, {.directory = originals()});
        ASSERT_TRUE(converted.ok()) << converted.describe();
    }
    fs::path originals() const { return scratch() / "originals"; }
    fs::path folder() const { return scratch() / "images"; }
    void copy_originals() const {
        fs::remove_all(folder());
        fs::copy(originals(), folder());
        for (const auto& entry : fs::directory_iterator(folder()))
            fs::permissions(entry.path(), fs::perms::owner_write, fs::perm_options::add);
    }
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const auto& entry : fs::directory_iterator(folder())) result.push_back(entry.path().filename());
        std::sort(result.begin(), result.end());
        return result;
    }

    Args disks() const {
        if (subject_ == Subject::kRaw) return {"--format=raw", "-a", folder() / "image", "-m", "/dev/sda"};
        Args args = {"--format=qcow2", "-a", folder() / "image", "-m", "/dev/sda"};
        if (subject_ == Subject::kSeveral)
            args.insert(args.end(), {"--format=raw", "-a", folder() / "second", "-m", "/dev/sdb:/dir"});
        return args;
    }
    Args files_in_the_guest() const {
        if (subject_ == Subject::kSeveral) return {"/hello.txt", "/dir/hello.txt"};
        return {"/hello.txt"};
    }
    Args on_disks(const Args& start) const {
        Args args = start;
        for (const Args& more : {disks(), files_in_the_guest()})
            args.insert(args.end(), more.begin(), more.end());
        return command(args);
    }
    Args edit() const { return on_disks({"edit", "-q", "-e", "s/hello/edited/"}); }

    // How long an edit takes, in microseconds.
    uint64_t duration() const {
        Outcome warmed = run(command({"appliance", "warm"}), environment());  // which would count as well
        EXPECT_TRUE(warmed.ok()) << warmed.describe();
        std::vector<double> seconds;
        for (int i = 0; i < 3; i++) {
            copy_originals();
            Outcome outcome = run(edit(), environment());
            EXPECT_TRUE(outcome.ok()) << outcome.describe();
            seconds.push_back(outcome.seconds);
        }
        return static_cast<uint64_t>(median(seconds) * 1e6);
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

    // Another program's opinion of every image: sound, and with the old text or the new one. Which it is.
    std::string judged() const {
        std::vector<fs::path> file_systems = {folder() / "image"};
        if (subject_ != Subject::kRaw) {
            Outcome checked =
                run({"qemu-img", "check", "-q", "-f", "qcow2", "image"}, {.directory = folder()});
            EXPECT_TRUE(checked.ok()) << checked.describe();
            file_systems = {scratch() / "judged.raw"};
            Outcome converted =
                run({"qemu-img", "convert", "-f", "qcow2", "-O", "raw", "image", file_systems[0]},
                    {.directory = folder()});
            EXPECT_TRUE(converted.ok()) << converted.describe();
        }
        if (subject_ == Subject::kSeveral) {
            EXPECT_TRUE(same_bytes(file_systems[0], folder() / "data"));
            file_systems.push_back(folder() / "second");
        }
        std::string found;
        for (const fs::path& file_system : file_systems) {
            EXPECT_TRUE(ext_is_clean(file_system));
            const std::string text = debugfs(file_system, "cat /hello.txt");
            EXPECT_THAT(text, AnyOf("hello, guest\n", "edited, guest\n"));
            if (!found.empty()) {
                EXPECT_EQ(text, found) << "one was changed and the other was not";
            }
            found = text;
        }
        return found;
    }

    void kill_and_look(int signal, Subject subject) {
        make_originals(subject);
        const uint64_t whole = duration();
        std::mt19937_64 random(std::random_device{}());
        int changed = 0, cut_short = 0, done = 0;
        // A commit takes a few milliseconds: where chance hits none, the journal is waited for.
        constexpr int kMoreTries = 20;
        const bool leaves_journals = signal == SIGKILL;  // others are heard when the commit is complete
        for (int i = 0; i < kills() || (leaves_journals && cut_short == 0 && i < kills() + kMoreTries); i++) {
            done++;
            copy_originals();
            const std::vector<std::string> before = names();
            // Every second time near the end, where the image is written.
            const uint64_t from = i % 2 ? whole * 8 / 10 : 0, to = whole * 105 / 100;
            const uint64_t delay = from + random() % (to - from);
            SCOPED_TRACE("signal " + std::to_string(signal) + " after " + std::to_string(delay) + " of " +
                         std::to_string(whole) + " us");
            Child child(edit(), environment());
            if (i < kills()) {
                usleep(static_cast<useconds_t>(delay));
            } else {
                while (child.running() && names() == before) usleep(100);
            }
            child.kill(signal);
            Outcome outcome = child.wait();
            EXPECT_FALSE(outcome.timed_out);
            EXPECT_TRUE(outcome.ok() || outcome.signal == signal) << outcome.describe();
            EXPECT_THAT(strays(), ::testing::IsEmpty());
            if (names() != before) cut_short++;
            // A commit that had begun is finished by the next one who opens an image for reading, whichever
            // it is. Now and then that is a whole command.
            const bool second = subject_ == Subject::kSeveral && i % 3 == 0;
            Outcome next =
                run(command({"info", "-q", "--no-filesystems", second ? "--format=raw" : disks()[0], "-a",
                             folder() / (second ? "second" : "image")}),
                    environment());
            EXPECT_TRUE(next.ok()) << next.describe();
            // What was not committed, and concerns the others too, is left to who opens the first one.
            next = run(command({"recover", folder() / "image"}));
            EXPECT_TRUE(next.ok()) << next.describe();
            EXPECT_EQ(names(), before) << "nothing is left beside the images";
            const std::string text = judged();
            if (text == "edited, guest\n") changed++;
            if (outcome.ok()) {
                EXPECT_EQ(text, "edited, guest\n");
            }
            if (i % 10 != 0) continue;
            next = run(on_disks({"cat", "-q"}), environment());
            EXPECT_EQ(next.out, subject_ == Subject::kSeveral ? text + text : text) << next.describe();
        }
        printf("%d of %d edits were made; %d left a journal behind\n", changed, done, cut_short);
        if (leaves_journals) {
            EXPECT_GT(cut_short, 0) << "no commit was cut short";
        }
    }

    Subject subject_ = Subject::kRaw;
};

TEST_F(Kill, BySigkill) { kill_and_look(SIGKILL, Subject::kRaw); }

TEST_F(Kill, BySigkillWithQcow2) {
    if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    kill_and_look(SIGKILL, Subject::kQcow2);
}

TEST_F(Kill, BySigkillWithSeveralFiles) {
    if (!have_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    kill_and_look(SIGKILL, Subject::kSeveral);
}

TEST_F(Kill, BySigint) { kill_and_look(SIGINT, Subject::kRaw); }

// ^C reaches all processes of the group at once.
TEST_F(Kill, ByTheTerminal) {
    if (!kvm_is_usable()) GTEST_SKIP() << "/dev/kvm is missing or not permitted";
    std::string image = copy_of("large");
    fs::create_directory(scratch() / "out");
    Child child(command({"copy-out", "-a", image, "-m", "/dev/sda", "/large", scratch() / "out"}), on_kvm());
    sleep(2);
    child.kill_group(SIGINT);
    Outcome outcome = child.wait();
    EXPECT_EQ(outcome.signal, SIGINT) << outcome.describe();
    EXPECT_LT(outcome.seconds, 5) << "it ends at once";
    EXPECT_THAT(strays(), ::testing::IsEmpty());
}

// The virtual machine's process dies: a clear error, no hang, the image as it was.
TEST_F(Kill, TheVirtualMachine) {
    if (!kvm_is_usable()) GTEST_SKIP() << "/dev/kvm is missing or not permitted";
    std::string image = copy_of("large");
    Child child(command({"cat", "-a", image, "-m", "/dev/sda", "/large"}), on_kvm());
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
