// SPDX-License-Identifier: GPL-2.0-or-later
#include "tree_operations.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

namespace inspect::test {

namespace fs = std::filesystem;

namespace {

constexpr size_t kHistory = 40;

int64_t or_errno(int64_t value) { return value < 0 ? -errno : value; }

std::string contents(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::string attributes(const fs::path& path) {
    char names[4096];
    ssize_t size = ::llistxattr(path.c_str(), names, sizeof names);
    std::set<std::string> sorted;
    for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(names + at)) + 1) {
        char value[4096];
        ssize_t length = ::lgetxattr(path.c_str(), names + at, value, sizeof value);
        sorted.insert(std::string(names + at) + "=" +
                      std::string(value, length > 0 ? static_cast<size_t>(length) : 0));
    }
    std::string text;
    for (const std::string& each : sorted) text += each + ";";
    return text;
}

// All that is to be the same, but for the contents.
std::string description(const fs::path& path) {
    struct stat status;
    if (::lstat(path.c_str(), &status) < 0) return std::strerror(errno);
    std::ostringstream text;
    text << "mode " << std::oct << status.st_mode << std::dec << " owner " << status.st_uid << ":"
         << status.st_gid;
    if (!S_ISDIR(status.st_mode)) text << " size " << status.st_size << " links " << status.st_nlink;
    if (S_ISLNK(status.st_mode)) text << " target " << fs::read_symlink(path).string();
    if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) text << " device " << status.st_rdev;
    text << " attributes " << attributes(path);
    return text.str();
}

std::set<std::string> names_below(const fs::path& top) {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(top))
        names.insert(entry.path().lexically_relative(top).string());
    return names;
}

}  // namespace

TreePair::TreePair(const fs::path& mounted, const fs::path& local, uint64_t seed)
    : sides_{mounted, local}, random_(seed) {}

TreePair::~TreePair() {
    for (int fd : open_)
        if (fd >= 0) ::close(fd);
}

std::string TreePair::a_directory() {
    static const char* const kDirectories[] = {"", "", "d0/", "d1/", "d0/e0/", "d2/"};
    return kDirectories[random(std::size(kDirectories))];
}

std::string TreePair::a_name() { return a_directory() + "f" + std::to_string(random(6)); }

std::string TreePair::noise(uint64_t length) {
    std::string text(length, '\0');
    for (size_t i = 0; i < text.size(); i += 8) {
        uint64_t word = random_();
        std::memcpy(text.data() + i, &word, std::min<size_t>(8, text.size() - i));
    }
    return text;
}

template <typename Work>
std::string TreePair::both(const std::string& what, Work work) {
    Result results[2];
    for (int side = 0; side < 2; ++side) results[side] = work(side);
    history_.push_back(what + " = " + std::to_string(results[1].value));
    if (history_.size() > kHistory) history_.pop_front();
    counts_[what.substr(0, what.find(' ')) + (results[1].value < 0 ? " (refused)" : "")]++;
    if (results[0] == results[1]) return {};
    std::string text = what + ": mounted " + std::to_string(results[0].value) + ", local " +
                       std::to_string(results[1].value);
    if (results[0].bytes != results[1].bytes) {
        size_t most = std::min(results[0].bytes.size(), results[1].bytes.size());
        size_t at = 0;
        while (at < most && results[0].bytes[at] == results[1].bytes[at]) ++at;
        text += "; " + std::to_string(results[0].bytes.size()) + " and " +
                std::to_string(results[1].bytes.size()) + " bytes, different from byte " + std::to_string(at);
    }
    return text;
}

template <typename Work>
std::string TreePair::on_file(const std::string& what, const std::string& name, int flags, Work work) {
    return both(what + " " + name, [&](int side) -> Result {
        int fd = ::open((sides_[side] / name).c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644);
        if (fd < 0) return {-errno};
        struct stat status;
        Result result;
        if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) result = work(fd);
        ::close(fd);
        return result;
    });
}

template <typename Work>
std::string TreePair::on_open(const std::string& what, Work work) {
    if (open_[0] < 0) return {};
    return both(what, [&](int side) { return work(open_[side]); });
}

std::string TreePair::write() {
    uint64_t offset = an_offset();
    std::string data = noise(a_length());
    return on_file(
        "write " + std::to_string(offset) + "+" + std::to_string(data.size()), a_name(), O_RDWR | O_CREAT,
        [&](int fd) {
            return Result{or_errno(::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset)))};
        });
}

std::string TreePair::append() {
    std::string data = noise(a_length());
    return on_file("append " + std::to_string(data.size()), a_name(), O_WRONLY | O_APPEND,
                   [&](int fd) { return Result{or_errno(::write(fd, data.data(), data.size()))}; });
}

// As `echo text > file` does it.
std::string TreePair::rewrite() {
    std::string data = noise(a_length());
    return on_file("rewrite " + std::to_string(data.size()), a_name(), O_WRONLY | O_CREAT | O_TRUNC,
                   [&](int fd) { return Result{or_errno(::write(fd, data.data(), data.size()))}; });
}

std::string TreePair::read() {
    uint64_t offset = an_offset();
    uint64_t length = a_length();
    return on_file("read " + std::to_string(offset) + "+" + std::to_string(length), a_name(), O_RDONLY,
                   [&](int fd) {
                       std::string data(length, '\0');
                       ssize_t count = ::pread(fd, data.data(), data.size(), static_cast<off_t>(offset));
                       data.resize(count > 0 ? static_cast<size_t>(count) : 0);
                       return Result{or_errno(count), data};
                   });
}

std::string TreePair::map_write() {
    uint64_t at = random(1000);
    std::string data = noise(1 + random(5000));
    return on_file("map-write per mille " + std::to_string(at), a_name(), O_RDWR, [&](int fd) {
        struct stat status;
        if (::fstat(fd, &status) != 0 || status.st_size == 0) return Result{};
        auto size = static_cast<size_t>(status.st_size);
        void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) return Result{-errno};
        size_t offset = size * at / 1000;
        std::memcpy(static_cast<char*>(map) + offset, data.data(), std::min(data.size(), size - offset));
        ::munmap(map, size);
        return Result{status.st_size};
    });
}

std::string TreePair::map_read() {
    return on_file("map-read", a_name(), O_RDONLY, [&](int fd) {
        struct stat status;
        if (::fstat(fd, &status) != 0 || status.st_size == 0) return Result{};
        auto size = static_cast<size_t>(status.st_size);
        void* map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) return Result{-errno};
        Result result{status.st_size, std::string(static_cast<char*>(map), size)};
        ::munmap(map, size);
        return result;
    });
}

std::string TreePair::truncate() {
    uint64_t size = random(5) == 0 ? 0 : an_offset();
    std::string name = a_name();
    return both("truncate " + std::to_string(size) + " " + name, [&](int side) {
        return Result{or_errno(::truncate((sides_[side] / name).c_str(), static_cast<off_t>(size)))};
    });
}

std::string TreePair::allocate() {
    static const int kModes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    int mode = kModes[random(std::size(kModes))];
    uint64_t offset = an_offset();
    uint64_t length = a_length();
    return on_file(
        "allocate mode " + std::to_string(mode) + " " + std::to_string(offset) + "+" + std::to_string(length),
        a_name(), O_RDWR, [&](int fd) {
            return Result{
                or_errno(::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)))};
        });
}

std::string TreePair::copy_range() {
    std::string from = a_name();
    uint64_t from_offset = an_offset();
    uint64_t to_offset = an_offset();
    uint64_t length = a_length();
    return on_file("copy-range " + from + " " + std::to_string(from_offset) + " to " +
                       std::to_string(to_offset) + "+" + std::to_string(length),
                   a_name(), O_RDWR, [&, side = 0](int to) mutable {
                       int source =
                           ::open((sides_[side++] / from).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
                       if (source < 0) return Result{-errno};
                       auto in = static_cast<off64_t>(from_offset);
                       auto out = static_cast<off64_t>(to_offset);
                       int64_t done = 0;
                       // How much one call copies is the file system's affair.
                       for (;;) {
                           ssize_t count = ::copy_file_range(source, &in, to, &out,
                                                             length - static_cast<uint64_t>(done), 0);
                           if (count < 0 && done == 0) done = -errno;
                           if (count <= 0) break;
                           done += count;
                           if (static_cast<uint64_t>(done) == length) break;
                       }
                       ::close(source);
                       return Result{done};
                   });
}

// Where holes are is the file system's affair; what is a hole reads as zeros, and the end is the end.
std::string TreePair::seek() {
    uint64_t offset = an_offset();
    return on_file("seek " + std::to_string(offset), a_name(), O_RDONLY, [&](int fd) {
        struct stat status;
        ::fstat(fd, &status);
        off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
        if (data < 0 && errno == EINVAL) data = static_cast<off_t>(offset);  // it says that it can't tell
        off_t end = data < 0 ? status.st_size : data;
        Result result{static_cast<off_t>(offset) >= status.st_size ? -1 : 0};
        std::string skipped(end > static_cast<off_t>(offset) ? static_cast<size_t>(end) - offset : 0, '\0');
        ssize_t count = ::pread(fd, skipped.data(), skipped.size(), static_cast<off_t>(offset));
        skipped.resize(count > 0 ? static_cast<size_t>(count) : 0);
        if (skipped.find_first_not_of('\0') != std::string::npos) result.value = 1000;
        return result;
    });
}

// What is read next comes from the other side of FUSE again.
std::string TreePair::sync_and_drop() {
    return on_file("sync", a_name(), O_RDWR, [](int fd) {
        Result result{or_errno(::fsync(fd))};
        ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        return result;
    });
}

std::string TreePair::rename() {
    bool directory = random(4) == 0;
    std::string from = directory ? "d" + std::to_string(random(3)) : a_name();
    std::string to = directory ? (random(2) ? "d0/e" : "d") + std::to_string(random(3)) : a_name();
    unsigned flags = random(5) == 0 ? RENAME_NOREPLACE : 0;
    return both("rename " + from + " " + to + " flags " + std::to_string(flags), [&](int side) {
        int64_t value = or_errno(::renameat2(AT_FDCWD, (sides_[side] / from).c_str(), AT_FDCWD,
                                             (sides_[side] / to).c_str(), flags));
        // Of a directory that is not empty XFS says the one, ext4 the other; POSIX allows both.
        return Result{value == -EEXIST && flags == 0 ? -ENOTEMPTY : value};
    });
}

std::string TreePair::exchange() {
    std::string from = random(3) == 0 ? "d" + std::to_string(random(3)) : a_name();
    std::string to = a_name();
    return both("exchange " + from + " " + to, [&](int side) {
        return Result{or_errno(::renameat2(AT_FDCWD, (sides_[side] / from).c_str(), AT_FDCWD,
                                           (sides_[side] / to).c_str(), RENAME_EXCHANGE))};
    });
}

std::string TreePair::link() {
    std::string from = a_name();
    std::string to = a_name();
    return both("link " + from + " " + to, [&](int side) {
        return Result{or_errno(::link((sides_[side] / from).c_str(), (sides_[side] / to).c_str()))};
    });
}

std::string TreePair::symlink() {
    std::string target = "f" + std::to_string(random(6));
    std::string to = a_name();
    return both("symlink " + target + " " + to, [&](int side) {
        return Result{or_errno(::symlink(target.c_str(), (sides_[side] / to).c_str()))};
    });
}

std::string TreePair::make_node() {
    std::string name = a_name();
    mode_t mode = (random(2) ? S_IFIFO : S_IFSOCK) | 0640;
    return both("node " + name,
                [&](int side) { return Result{or_errno(::mknod((sides_[side] / name).c_str(), mode, 0))}; });
}

std::string TreePair::unlink() {
    std::string name = a_name();
    return both("unlink " + name,
                [&](int side) { return Result{or_errno(::unlink((sides_[side] / name).c_str()))}; });
}

std::string TreePair::make_directory() {
    std::string name = random(3) == 0 ? "d0/e" + std::to_string(random(2)) : "d" + std::to_string(random(3));
    return both("mkdir " + name,
                [&](int side) { return Result{or_errno(::mkdir((sides_[side] / name).c_str(), 0755))}; });
}

std::string TreePair::remove_directory() {
    std::string name = random(2) == 0 ? "d0/e" + std::to_string(random(2)) : "d" + std::to_string(random(3));
    return both("rmdir " + name,
                [&](int side) { return Result{or_errno(::rmdir((sides_[side] / name).c_str()))}; });
}

std::string TreePair::change_mode() {
    std::string name = a_name();
    auto mode = static_cast<mode_t>(0600 | random(01000));
    return both("chmod " + name,
                [&](int side) { return Result{or_errno(::chmod((sides_[side] / name).c_str(), mode))}; });
}

std::string TreePair::change_time() {
    std::string name = a_name();
    timespec times[2] = {{static_cast<time_t>(random(2'000'000'000)), 5},
                         {static_cast<time_t>(random(2'000'000'000)), 7}};
    return both("utimes " + name, [&](int side) {
        Result result{
            or_errno(::utimensat(AT_FDCWD, (sides_[side] / name).c_str(), times, AT_SYMLINK_NOFOLLOW))};
        struct stat status;
        if (::lstat((sides_[side] / name).c_str(), &status) == 0 && result.value == 0)
            result.bytes =
                std::to_string(status.st_mtim.tv_sec) + "." + std::to_string(status.st_mtim.tv_nsec);
        return result;
    });
}

std::string TreePair::set_attribute() {
    std::string name = a_name();
    std::string key = "user.key" + std::to_string(random(3));
    std::string value = noise(random(60));
    return both("setxattr " + name, [&](int side) {
        return Result{
            or_errno(::lsetxattr((sides_[side] / name).c_str(), key.c_str(), value.data(), value.size(), 0))};
    });
}

std::string TreePair::remove_attribute() {
    std::string name = a_name();
    std::string key = "user.key" + std::to_string(random(3));
    return both("removexattr " + name, [&](int side) {
        return Result{or_errno(::lremovexattr((sides_[side] / name).c_str(), key.c_str()))};
    });
}

std::string TreePair::list() {
    std::string name = a_directory();
    return both("list " + name, [&](int side) {
        std::set<std::string> names;
        DIR* directory = ::opendir((sides_[side] / name).c_str());
        if (!directory) return Result{-errno};
        while (const dirent* entry = ::readdir(directory)) names.insert(entry->d_name);
        ::closedir(directory);
        Result result{static_cast<int64_t>(names.size())};
        for (const std::string& each : names) result.bytes += each + "\n";
        return result;
    });
}

std::string TreePair::open_file() {
    close_file();
    std::string name = a_name();
    return both("open " + name, [&](int side) {
        open_[side] = ::open((sides_[side] / name).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        int error = errno;
        struct stat status;
        if (open_[side] >= 0 && (::fstat(open_[side], &status) < 0 || !S_ISREG(status.st_mode))) {
            ::close(open_[side]);
            open_[side] = -1;
            error = ENODEV;
        }
        return Result{open_[side] < 0 ? -error : 0};
    });
}

std::string TreePair::write_open() {
    uint64_t offset = an_offset();
    std::string data = noise(a_length());
    bool cut = random(3) == 0;
    return on_open("write-open " + std::to_string(offset) + "+" + std::to_string(data.size()), [&](int fd) {
        Result result{or_errno(::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset)))};
        if (cut && ::ftruncate(fd, static_cast<off_t>(offset / 2)) < 0) result.value = -errno;
        if (cut && ::fchmod(fd, 0600) < 0) result.value = -errno;
        return result;
    });
}

std::string TreePair::read_open() {
    return on_open("read-open", [&](int fd) {
        struct stat status;
        if (::fstat(fd, &status) < 0) return Result{-errno};
        std::string data(static_cast<size_t>(status.st_size), '\0');
        ssize_t count = ::pread(fd, data.data(), data.size(), 0);
        return Result{or_errno(count) * 100 + static_cast<int64_t>(status.st_nlink), data};
    });
}

std::string TreePair::close_file() {
    for (int& fd : open_) {
        if (fd >= 0) ::close(fd);
        fd = -1;
    }
    return {};
}

std::string TreePair::step() {
    static constexpr std::pair<Operation, unsigned> kOperations[] = {
        {&TreePair::write, 14},           {&TreePair::append, 4},
        {&TreePair::rewrite, 4},          {&TreePair::read, 14},
        {&TreePair::map_write, 5},        {&TreePair::map_read, 4},
        {&TreePair::truncate, 5},         {&TreePair::allocate, 5},
        {&TreePair::copy_range, 4},       {&TreePair::seek, 3},
        {&TreePair::sync_and_drop, 4},    {&TreePair::rename, 5},
        {&TreePair::exchange, 2},         {&TreePair::link, 4},
        {&TreePair::symlink, 1},          {&TreePair::make_node, 1},
        {&TreePair::unlink, 4},           {&TreePair::make_directory, 3},
        {&TreePair::remove_directory, 1}, {&TreePair::change_mode, 2},
        {&TreePair::change_time, 2},      {&TreePair::set_attribute, 2},
        {&TreePair::remove_attribute, 1}, {&TreePair::list, 2},
        {&TreePair::open_file, 2},        {&TreePair::write_open, 3},
        {&TreePair::read_open, 3},        {&TreePair::close_file, 1},
    };
    static const unsigned total = [] {
        unsigned sum = 0;
        for (const auto& each : kOperations) sum += each.second;
        return sum;
    }();
    uint64_t pick = random(total);
    for (const auto& [operation, weight] : kOperations) {
        if (pick < weight) return (this->*operation)();
        pick -= weight;
    }
    return {};
}

std::string TreePair::compare_all() {
    std::set<std::string> names = names_below(sides_[0]);
    if (names != names_below(sides_[1])) return "the trees have different names";
    for (const std::string& name : names) {
        std::string one = description(sides_[0] / name);
        std::string other = description(sides_[1] / name);
        if (one != other) return name + ": mounted " + one + ", local " + other;
        if (!fs::is_regular_file(fs::symlink_status(sides_[1] / name))) continue;
        if (contents(sides_[0] / name) != contents(sides_[1] / name)) return name + ": different contents";
    }
    return {};
}

std::string TreePair::history() const {
    std::string text;
    for (const std::string& each : history_) text += "  " + each + "\n";
    return text;
}

std::string TreePair::summary() const {
    std::string text;
    for (const auto& [what, count] : counts_)
        text += (text.empty() ? "" : ", ") + what + " " + std::to_string(count);
    return text;
}

}  // namespace inspect::test
