// SPDX-License-Identifier: LGPL-2.1-or-later
//
// mount_on_host() and unmount_from_host().
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>

#include <inspect/host_mount.h>

#include "base/subprocess.h"
#include "fuse/mount_loop.h"
#include "fuse/mount_record.h"
#include "fuse/tree_server.h"
#include "guest/names.h"
#include "guest/printable.h"
#include "guest/session_impl.h"

namespace inspect {

namespace {

using fuse::MountLoop;
using fuse::MountRecord;
using fuse::MountResult;
using fuse::NodeStat;
using fuse::TreeServer;

constexpr char kFilesystemType[] = "insp";  // as "fuse.insp" in /proc/self/mountinfo

void require_empty_directory(const std::string& path) {
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
        return result.empty() ? "no reason was given" : printable(result);
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

// A FUSE session, mounted.
class Mounted {
  public:
    Mounted(const HostMountOptions& options, const std::string& mount_point, const std::string& source,
            bool writable, TreeServer& server) {
        std::string text = "subtype=" + std::string(kFilesystemType) + ",fsname=" + source;
        if (!writable) text += ",ro";
        for (const std::string& option : options.fuse_options) text += "," + option;
        std::string program = "insp";
        std::string flag = "-o";
        std::vector<char*> arguments{program.data(), flag.data(), text.data(), nullptr};
        fuse_args args = FUSE_ARGS_INIT(3, arguments.data());
        FuseMessages messages;
        session_ = fuse_session_new(&args, &TreeServer::operations(), sizeof(fuse_lowlevel_ops), &server);
        fuse_opt_free_args(&args);
        if (!session_) throw Error(ErrorKind::kUsage, "FUSE does not take its options: " + messages.take());
        if (::access("/dev/fuse", F_OK) != 0 || fuse_session_mount(session_, mount_point.c_str()) != 0) {
            std::string why = ::access("/dev/fuse", F_OK) != 0 ? "there is no /dev/fuse" : messages.take();
            if (::geteuid() != 0 && find_program("fusermount3").empty())
                why += "; as an ordinary user it needs fusermount3 (Debian: fuse3)";
            fuse_session_destroy(session_);
            throw Error(ErrorKind::kUnsupported, "cannot mount on " + quoted(mount_point) + ": " + why);
        }
    }
    ~Mounted() {
        fuse_session_unmount(session_);
        fuse_session_destroy(session_);
    }
    Mounted(const Mounted&) = delete;
    Mounted& operator=(const Mounted&) = delete;

    fuse_session* session() const { return session_; }

  private:
    fuse_session* session_ = nullptr;
};

// What mount(8) shows as the source. Commas would end the option.
std::string source_name(const SessionOptions& options) {
    std::string name = printable(options.disks.at(0).path);
    std::ranges::replace(name, ',', '_');
    std::ranges::replace(name, '\\', '_');
    return name;
}

NodeStat open_tree(Session::Impl& session, const std::string& directory) {
    require_guest_path(directory);
    proto::Request request;
    request.mutable_tree_open()->set_directory(directory);
    request.mutable_tree_open()->set_writable(session.options.writable);
    proto::Response answer = session.call_in_tree(std::move(request));
    std::optional<NodeStat> root;
    if (answer.has_stat()) root = fuse::checked_stat(answer.stat());
    if (!root || !S_ISDIR(root->attributes.st_mode)) throw ProtocolError("a tree whose root is no directory");
    return *root;
}

// Works until the tree is unmounted. Throws what the appliance died of.
void serve(Session::Impl& session, const HostMountOptions& options, const std::string& mount_point,
           MountRecord& record) {
    HostMountOptions wanted = options;
    std::erase(wanted.fuse_options, "nonempty");
    NodeStat root = open_tree(session, options.subdirectory);
    bool checked = std::ranges::count(wanted.fuse_options, "default_permissions") > 0;
    std::unique_ptr<Pipeline> pipeline = session.begin_pipeline();
    std::optional<Error> lost;
    try {
        TreeServer server(*pipeline,
                          {.writable = session.options.writable,
                           .durable = session.options.write_mode == WriteMode::kDirect,
                           .check_permissions = checked},
                          root);
        Mounted mounted(wanted, mount_point, source_name(session.options), session.options.writable, server);
        MountLoop loop(
            {mounted.session(), mount_point, session.channel(), *pipeline, server, record, options.stop_fd});
        if (options.on_mounted) options.on_mounted();
        lost = loop.run();
    } catch (...) {
        session.end_pipeline(*pipeline, lost);
        throw;
    }
    session.end_pipeline(*pipeline, lost);
    if (lost) throw lost->with_context("the images are as they were");
}

// What is mounted on the path now is a tree of ours (by whatever process).
bool is_our_mount(const std::string& mount_point) {
    std::ifstream mounts("/proc/self/mountinfo");
    std::string found;
    for (std::string line; std::getline(mounts, line);) {
        // 36 35 98:0 /root /mount/point options - type source options
        size_t at = 0;
        for (int field = 0; field < 4; ++field) at = line.find(' ', at) + 1;
        std::string escaped = line.substr(at, line.find(' ', at) - at);
        std::string path;
        for (size_t i = 0; i < escaped.size(); ++i) {
            if (escaped[i] != '\\' || i + 3 >= escaped.size()) {
                path += escaped[i];
                continue;
            }
            path += static_cast<char>(std::stoi(escaped.substr(i + 1, 3), nullptr, 8));
            i += 3;
        }
        size_t dash = line.find(" - ", at);
        if (path == mount_point && dash != line.npos) found = line.substr(dash + 3);
    }
    return found.starts_with("fuse." + std::string(kFilesystemType) + " ");
}

}  // namespace

bool mount_on_host(Session& session, const HostMountOptions& options) {
    Session::Impl& impl = *session.impl_;
    std::string mount_point = fuse::canonical_mount_point(options.directory);
    MountRecord record(mount_point);
    bool nonempty = std::ranges::count(options.fuse_options, "nonempty") > 0;
    if (!nonempty) require_empty_directory(mount_point);
    MountResult result;
    try {
        serve(impl, options, mount_point, record);
        result.changed = impl.options.writable && impl.commit();
    } catch (const Error& error) {
        result.error = error;
    }
    record.finish(result);
    if (result.error) throw *result.error;
    return result.changed;
}

bool unmount_from_host(const std::string& directory, const UnmountOptions& options) {
    std::string mount_point = fuse::canonical_mount_point(directory);
    std::optional<MountResult> result = fuse::ask_mount(mount_point, options);
    if (!result) {
        if (!is_our_mount(mount_point))
            throw Error(ErrorKind::kNotFound,
                        "no guest is mounted on " + quoted(directory) + " by this user");
        struct statfs status;
        if (::statfs(mount_point.c_str(), &status) == 0 || errno != ENOTCONN)
            throw Error(ErrorKind::kDenied,
                        "the mount on " + quoted(directory) +
                            " is another user's, or was made with another $XDG_RUNTIME_DIR");
        std::string why = options.wait_only ? "" : fuse::unmount_directory(mount_point, true);
        throw Error(ErrorKind::kEngine,
                    "the process of the mount on " + quoted(directory) +
                        " was killed: what was changed there is lost, the image is as it was before" +
                        (why.empty() ? "" : "; and it can't be unmounted: " + why));
    }
    if (result->error) throw *result->error;
    return result->changed;
}

}  // namespace inspect
