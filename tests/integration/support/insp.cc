// SPDX-License-Identifier: GPL-2.0-or-later
#include "support/insp.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace inspect::test {
namespace fs = std::filesystem;

namespace {

std::string trimmed(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    return text;
}

// Copies `length` bytes from an image, holes left out.
void copy_range(const std::string& from, const std::string& to, uint64_t offset, uint64_t length) {
    int in = open(from.c_str(), O_RDONLY | O_CLOEXEC);
    int out = open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (in < 0 || out < 0) throw std::runtime_error("cannot copy " + from + " to " + to);
    if (ftruncate(out, static_cast<off_t>(length)) != 0) throw std::runtime_error("cannot size " + to);
    auto end = static_cast<off_t>(offset + length);
    std::vector<char> buffer(1 << 20);
    for (off_t at = static_cast<off_t>(offset); at < end;) {
        off_t data = lseek(in, at, SEEK_DATA);
        if (data < 0 || data >= end) break;
        off_t hole = std::min(lseek(in, data, SEEK_HOLE), end);
        for (at = data; at < hole;) {
            ssize_t count =
                pread(in, buffer.data(), std::min<size_t>(buffer.size(), static_cast<size_t>(hole - at)), at);
            if (count <= 0 || pwrite(out, buffer.data(), static_cast<size_t>(count),
                                     at - static_cast<off_t>(offset)) != count) {
                throw std::runtime_error("cannot copy " + from + " to " + to);
            }
            at += count;
        }
    }
    close(in);
    close(out);
}

}  // namespace

void InspTest::SetUp() {
    fs::create_directories(fs::path(INSP_BUILD_DIR) / "tests/scratch");
    std::string pattern = std::string(INSP_BUILD_DIR) + "/tests/scratch/XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
    scratch_ = pattern;
    fs::create_directory(scratch_ / "tmp");
}

void InspTest::TearDown() {
    EXPECT_THAT(strays(), ::testing::IsEmpty()) << "processes were left behind";
    std::vector<std::string> left;
    for (const auto& entry : fs::recursive_directory_iterator(scratch_ / "tmp")) left.push_back(entry.path());
    EXPECT_THAT(left, ::testing::IsEmpty()) << "temporary files were left behind";
    std::error_code ignored;
    fs::remove_all(scratch_, ignored);
}

void ApplianceTest::SetUp() {
    InspTest::SetUp();
    if (!INSP_APPLIANCE_BUILT) GTEST_SKIP() << "the appliance is not built (INSP_APPLIANCE=OFF)";
    if (engine_ == "kvm" && !kvm_is_usable()) GTEST_SKIP() << "/dev/kvm is missing or not permitted";
    if (!kvm_is_usable() && !have_program("qemu-system-x86_64"))
        GTEST_SKIP() << "there is no engine: neither /dev/kvm nor qemu-system-x86_64 can be used";
}

Args InspTest::command(const Args& args) const {
    Args all{INSP_PROGRAM};
    all.insert(all.end(), args.begin(), args.end());
    return all;
}

Options InspTest::environment(Options options) const {
    options.env.try_emplace("INSP_CACHE_DIR", std::string(INSP_BUILD_DIR) + "/tests/cache");
    options.env.try_emplace("INSP_ENGINE", engine_);
    options.env.try_emplace("TMPDIR", scratch_ / "tmp");
    return options;
}

Outcome InspTest::insp(const Args& args, Options options) const {
    Outcome outcome = run(command(args), environment(std::move(options)));
    EXPECT_FALSE(outcome.timed_out) << outcome.describe();
    EXPECT_EQ(outcome.signal, 0) << outcome.describe();
    return outcome;
}

std::string InspTest::insp_ok(const Args& args, Options options) const {
    Outcome outcome = insp(args, std::move(options));
    std::ostringstream words;
    for (const std::string& arg : args) words << arg << ' ';
    EXPECT_EQ(outcome.code, kSuccess) << "insp " << words.str() << "\n" << outcome.describe();
    return outcome.out;
}

nlohmann::json InspTest::insp_json(const Args& args, Options options) const {
    std::string text = insp_ok(args, std::move(options));
    nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
    EXPECT_FALSE(value.is_discarded()) << "not valid JSON: " << text.substr(0, 2000);
    return value;
}

std::string InspTest::copy_of(const std::string& name, const std::string& as) const {
    std::string copy = scratch_ / (as.empty() ? name + ".img" : as);
    std::string original = guest(name);
    copy_range(original, copy, 0, fs::file_size(original));
    return copy;
}

std::vector<std::string> InspTest::files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(scratch_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
}

std::string InspTest::cut_out(const std::string& image, unsigned number, unsigned sector_size) const {
    uint64_t offset = 0, length = fs::file_size(image);
    if (number != 0) {
        // What partx calls a sector here is 512 bytes, whatever the disk's are.
        Outcome table = run({"partx", "--sector-size", std::to_string(sector_size), "--nr",
                             std::to_string(number), "--raw", "--noheadings", "-o", "START,SECTORS", image});
        uint64_t start = 0, sectors = 0;
        std::istringstream(table.out) >> start >> sectors;
        if (sectors == 0)
            throw std::runtime_error("no partition " + std::to_string(number) + " in " + image +
                                     table.describe());
        offset = start * 512;
        length = sectors * 512;
    }
    // In the folder for temporary files, it would be taken for one that insp left.
    fs::create_directory(scratch_ / "cut");
    std::string file =
        scratch_ / "cut" / (fs::path(image).filename().string() + "." + std::to_string(number));
    copy_range(image, file, offset, length);
    return file;
}

bool kvm_is_usable() { return access("/dev/kvm", R_OK | W_OK) == 0; }

std::string guest(const std::string& name) {
    Outcome made = run({std::string(INSP_SOURCE_DIR) + "/tests/guests/make", name},
                       {.timeout = std::chrono::minutes(15)});
    if (!made.ok()) throw std::runtime_error("no test guest: " + made.describe());
    return trimmed(made.out);
}

std::string sha256(const std::string& path) {
    Outcome sum = run({"sha256sum", path});
    if (!sum.ok()) throw std::runtime_error("sha256sum: " + sum.describe());
    return sum.out.substr(0, 64);
}

std::string read_host_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

void write_host_file(const fs::path& path, const std::string& contents) {
    std::ofstream file(path, std::ios::binary);
    file << contents;
    if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values.at(values.size() / 2);
}

::testing::AssertionResult ext_is_clean(const std::string& file_system) {
    Outcome check = run({"/usr/sbin/e2fsck", "-fn", file_system});
    if (check.ok()) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "e2fsck -fn " << file_system << ": " << check.describe();
}

::testing::AssertionResult xfs_is_clean(const std::string& file_system) {
    Outcome check = run({"/usr/sbin/xfs_repair", "-n", "-f", file_system},
                        {.env = {{"TEST_DIR", "1"}, {"TEST_DEV", "1"}, {"QA_CHECK_FS", "1"}}});
    if (check.ok()) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "xfs_repair -n " << file_system << ": " << check.describe();
}

std::string debugfs(const std::string& file_system, const std::string& request) {
    Outcome answer =
        run({"/usr/sbin/debugfs", "-R", request, file_system}, {.env = {{"DEBUGFS_PAGER", "cat"}}});
    return answer.out;
}

std::string password_field(const std::string& file_system, const std::string& user) {
    const std::string shadow = "\n" + debugfs(file_system, "cat /etc/shadow");
    const std::string before = "\n" + user + ":";
    const size_t line = shadow.find(before);
    if (line == shadow.npos) return "(no such user)";
    const size_t start = line + before.size();
    return shadow.substr(start, shadow.find(':', start) - start);
}

::testing::AssertionResult same_bytes(const std::string& one, const std::string& other) {
    Outcome compared = run({"cmp", one, other});
    if (compared.ok()) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << compared.describe();
}

::testing::AssertionResult refused(const Outcome& outcome, int code, const std::string& text) {
    auto failure = [&](const std::string& what) {
        return ::testing::AssertionFailure() << what << ": " << outcome.describe();
    };
    if (outcome.code != code) return failure("not refused with exit code " + std::to_string(code));
    std::istringstream lines(outcome.err);
    int messages = 0;
    for (std::string line; std::getline(lines, line);) {
        if (line.rfind("  ", 0) == 0) continue;  // the rest of a message: the appliance's last words
        if (line.rfind("insp", 0) != 0 && line.rfind("Try 'insp", 0) != 0)
            return failure("\"" + line + "\" is no message of insp's");
        if (line.find(": warning: ") == std::string::npos && line.rfind("Try ", 0) != 0) messages++;
    }
    if (messages != 1) return failure("not one message but " + std::to_string(messages));
    if (outcome.err.find(text) == std::string::npos)
        return failure("the message doesn't say \"" + text + "\"");
    return ::testing::AssertionSuccess();
}

}  // namespace inspect::test
