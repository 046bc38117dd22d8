// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fuse/mounted.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include <inspect/error.h>

#include "base/fd.h"
#include "base/subprocess.h"
#include "guest/printable.h"

namespace inspect::fuse {

namespace {

using namespace std::chrono_literals;

// The option that is ours, and not FUSE's.
constexpr const char* kNonEmpty = "nonempty";

// What libfuse has to say when it fails, instead of its writing it to stderr.
class FuseMessages {
  public:
    FuseMessages() {
        text().clear();
        fuse_set_log_func(&FuseMessages::keep);
    }
    std::string take() const {
        std::string result = text();
        while (!result.empty() && result.back() == '\n') result.pop_back();
        // fusermount3 writes to stderr by itself.
        const char* nothing = ::geteuid() == 0 ? "no reason was given" : "fusermount3 has refused it";
        return result.empty() ? nothing : printable(result);
    }

  private:
    [[gnu::format(printf, 2, 0)]] static void keep(fuse_log_level, const char* format, va_list arguments) {
        char line[512];
        std::vsnprintf(line, sizeof line, format, arguments);
        if (text().size() < kMost) text() += line;
    }
    static constexpr size_t kMost = 4096;
    static std::string& text() {
        static std::string messages;
        return messages;
    }
};

// Commas would end the option.
std::string source_name(const std::string& source) {
    std::string name = printable(source);
    std::ranges::replace(name, ',', '_');
    std::ranges::replace(name, '\\', '_');
    return name;
}

}  // namespace

void require_mountable(const std::string& path, const std::vector<std::string>& fuse_options) {
    if (std::ranges::count(fuse_options, kNonEmpty) > 0) return;
    Fd fd = open_file(path, O_RDONLY | O_DIRECTORY);
    DIR* directory = ::fdopendir(fd.get());
    if (!directory) throw Error::from_errno("cannot read " + quoted(path), errno);
    fd.release();
    bool empty = true;
    while (const dirent* entry = ::readdir(directory))
        empty = empty && (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0);
    ::closedir(directory);
    if (!empty)
        throw Error(ErrorKind::kUsage, quoted(path) +
                                           " is not empty: what is in it would be hidden. Mount on " +
                                           "another directory, or give -o nonempty");
}

std::vector<MountEntry> mounts_on(const std::string& mount_point) {
    std::ifstream mounts("/proc/self/mountinfo");
    std::vector<MountEntry> result;
    for (std::string line; std::getline(mounts, line);) {
        // 36 35 98:0 /root /mount/point options - type source options
        std::istringstream fields(line);
        std::string id, parent, device, root, escaped;
        fields >> id >> parent >> device >> root >> escaped;
        std::string path;
        for (size_t i = 0; i < escaped.size(); ++i) {
            if (escaped[i] != '\\' || i + 3 >= escaped.size()) {
                path += escaped[i];
                continue;
            }
            path += static_cast<char>(std::stoi(escaped.substr(i + 1, 3), nullptr, 8));
            i += 3;
        }
        const size_t dash = line.find(" - ");
        if (path != mount_point || dash == line.npos) continue;
        const size_t type = dash + 3;
        result.push_back({device, line.substr(type, line.find(' ', type) - type)});
    }
    return result;
}

Mounted::Mounted(const MountedOptions& options, const std::string& mount_point,
                 const fuse_lowlevel_ops& operations, void* user_data)
    : mount_point_(mount_point) {
    std::string text = "subtype=" + std::string(kFilesystemType) + ",fsname=" + source_name(options.source);
    if (!options.writable) text += ",ro";
    for (const std::string& option : options.fuse_options)
        if (option != kNonEmpty) text += "," + option;
    std::string program = "insp";
    std::string flag = "-o";
    std::vector<char*> arguments{program.data(), flag.data(), text.data(), nullptr};
    fuse_args args = FUSE_ARGS_INIT(3, arguments.data());
    FuseMessages messages;
    session_ = fuse_session_new(&args, &operations, sizeof(fuse_lowlevel_ops), user_data);
    fuse_opt_free_args(&args);
    if (!session_) throw Error(ErrorKind::kUsage, "FUSE does not take its options: " + messages.take());
    if (::access("/dev/fuse", F_OK) != 0 || fuse_session_mount(session_, mount_point.c_str()) != 0) {
        std::string why = ::access("/dev/fuse", F_OK) != 0 ? "there is no /dev/fuse" : messages.take();
        if (::geteuid() != 0 && find_program("fusermount3").empty())
            why += "; as an ordinary user it needs fusermount3 (Debian: fuse3)";
        fuse_session_destroy(session_);
        throw Error(ErrorKind::kUnsupported, "cannot mount on " + quoted(mount_point) + ": " + why);
    }
    if (const std::vector<MountEntry> mounts = mounts_on(mount_point); !mounts.empty())
        device_ = mounts.back().device;
}

Mounted::~Mounted() {
    // What else is on the path by now is not ours to unmount.
    if (place() == Place::kHere) fuse_session_unmount(session_);
    fuse_session_destroy(session_);
}

Mounted::Place Mounted::place() const {
    if (device_.empty()) return Place::kHere;  // without /proc nobody can tell
    const std::vector<MountEntry> mounts = mounts_on(mount_point_);
    if (!mounts.empty() && mounts.back().device == device_) return Place::kHere;
    return std::ranges::count(mounts, device_, &MountEntry::device) > 0 ? Place::kCovered : Place::kGone;
}

std::string unmount_refusal(const std::string& mount_point, const std::string& why) {
    if (why != "busy") return "cannot unmount " + quoted(mount_point) + ": " + why;
    return quoted(mount_point) +
           " is in use: leave it, or end what has files open there (fuser -m), or use --lazy";
}

std::string unmount_directory(const std::string& mount_point, bool lazy) {
    if (::geteuid() == 0) {
        if (::umount2(mount_point.c_str(), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0) return {};
        return errno == EBUSY ? "busy" : std::strerror(errno);
    }
    std::vector<std::string> arguments{"fusermount3", "-u"};
    if (lazy) arguments.push_back("-z");
    arguments.insert(arguments.end(), {"--", mount_point});
    try {
        ProgramResult result = run_program(arguments, 1h, 64 << 10);
        if (WIFEXITED(result.status) && WEXITSTATUS(result.status) == 0) return {};
        if (result.errors.find("Device or resource busy") != result.errors.npos) return "busy";
        return result.errors.empty() ? "fusermount3 " + Subprocess::describe(result.status) : result.errors;
    } catch (const Error& error) {
        return error.message();
    }
}

}  // namespace inspect::fuse
