// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the integration tests share: running the insp of this build, scratch folders, the test guests, and the
// judges, other people's programs that say what really is in an image.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/process.h"

namespace inspect::test {

using Args = std::vector<std::string>;

inline constexpr uint64_t kMiB = 1 << 20;

// The exit codes that every command documents.
inline constexpr int kSuccess = 0, kFailed = 1, kUsage = 2, kNothingMatched = 3;

// A test with a folder of its own in the build directory, removed when the test is over. At its end no
// process and no temporary file of any insp that it ran may be left.
class InspTest : public ::testing::Test {
  protected:
    void SetUp() override;
    void TearDown() override;

    // Which engine insp is told to take: the one that it chooses by itself, as for its users, unless a test
    // is about one of them (KvmTest; engines_test.cc is about the choice).
    std::string engine_ = "auto";

    // Runs insp with these arguments, a warm snapshot shared by all tests, that engine and a TMPDIR of its
    // own.
    Outcome insp(const Args& args, Options options = {}) const;
    // The same, and an expectation that it succeeds; its stdout.
    std::string insp_ok(const Args& args, Options options = {}) const;
    // The same, and an expectation that it says valid JSON.
    nlohmann::json insp_json(const Args& args, Options options = {}) const;
    // What insp needs in its environment and arguments to be run by Child.
    Args command(const Args& args) const;
    Options environment(Options options = {}) const;

    const std::filesystem::path& scratch() const { return scratch_; }
    // A copy of a test guest that the test may change.
    std::string copy_of(const std::string& guest, const std::string& name = {}) const;
    // The files in the scratch folder, for what a command leaves beside an image.
    std::vector<std::string> files() const;

    // A file system cut out of an image, for judges that want it as a file. number 0: the whole image.
    std::string cut_out(const std::string& image, unsigned number, unsigned sector_size = 512) const;

  private:
    std::filesystem::path scratch_;
};

// Tests that start an appliance. Skipped where there is none, or no engine to run it, or not the one that the
// test's constructor asks for: the reason is said.
class ApplianceTest : public InspTest {
  protected:
    void SetUp() override;
};

// Tests that start it on our own virtual machine, also where its KVM is emulated and QEMU would be quicker.
class KvmTest : public ApplianceTest {
  protected:
    KvmTest() { engine_ = "kvm"; }
};

// Whether this user may use /dev/kvm.
bool kvm_is_usable();

// The cached test guest of that name (tests/guests/make --list), read-only. Fails the test by an exception
// when it can't be made.
std::string guest(const std::string& name);

// `value` as `insp` would be given it on a command line: an octal file's checksum and so on come from here.
std::string sha256(const std::string& path);
std::string read_host_file(const std::filesystem::path& path);
void write_host_file(const std::filesystem::path& path, const std::string& contents);
// The middle value.
double median(std::vector<double> values);

// ---- judges of a file system in a file (see InspTest::cut_out)

// Success when `e2fsck -fn` has nothing to say.
::testing::AssertionResult ext_is_clean(const std::string& file_system);
// Success when `xfs_repair -n` has nothing to say.
::testing::AssertionResult xfs_is_clean(const std::string& file_system);
// stdout of a debugfs command, such as "cat /etc/fstab" or "stat /x".
std::string debugfs(const std::string& file_system, const std::string& request);
// The password field of that user in a file system's /etc/shadow, by debugfs.
std::string password_field(const std::string& file_system, const std::string& user);
// Success when the images are the same, byte for byte.
::testing::AssertionResult same_bytes(const std::string& one, const std::string& other);

// Success when insp failed with this exit code and one line on stderr, no more, that holds `text`. Warnings
// may stand before it.
::testing::AssertionResult refused(const Outcome& outcome, int code, const std::string& text);

}  // namespace inspect::test
