// SPDX-License-Identifier: LGPL-2.1-or-later
//
// mount_on_host() and unmount_from_host().
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>
#include <utility>

#include <inspect/host_mount.h>

#include "fuse/mount_loop.h"
#include "fuse/mount_record.h"
#include "fuse/mounted.h"
#include "fuse/tree_server.h"
#include "guest/names.h"
#include "guest/printable.h"
#include "guest/session_impl.h"

namespace inspect {

namespace {

using fuse::Mounted;
using fuse::MountLoop;
using fuse::MountRecord;
using fuse::MountResult;
using fuse::NodeStat;
using fuse::TreeServer;

struct OpenedTree {
    NodeStat root;
    std::unordered_set<uint64_t> caseless;
};

OpenedTree open_tree(Session::Impl& session, const std::string& directory) {
    require_guest_path(directory);
    proto::Request request;
    request.mutable_tree_open()->set_directory(directory);
    request.mutable_tree_open()->set_writable(session.options.writable);
    proto::Response answer = session.call_in_tree(std::move(request));
    std::optional<NodeStat> root;
    if (answer.has_stat()) root = fuse::checked_stat(answer.stat());
    if (!root || !S_ISDIR(root->attributes.st_mode)) throw ProtocolError("a tree whose root is no directory");
    return {*root, {answer.caseless_devices().begin(), answer.caseless_devices().end()}};
}

// Works until the tree is unmounted. Throws what the appliance died of.
void serve(Session::Impl& session, const HostMountOptions& options, const std::string& mount_point,
           MountRecord& record) {
    OpenedTree tree = open_tree(session, options.subdirectory);
    bool checked = std::ranges::count(options.fuse_options, "default_permissions") > 0;
    std::unique_ptr<Pipeline> pipeline = session.begin_pipeline();
    std::optional<Error> lost;
    try {
        TreeServer server(*pipeline,
                          {.writable = session.options.writable,
                           .durable = session.options.write_mode == WriteMode::kDirect,
                           .check_permissions = checked,
                           .caseless = std::move(tree.caseless)},
                          tree.root);
        Mounted mounted({.source = session.options.disks.at(0).path,
                         .writable = session.options.writable,
                         .fuse_options = options.fuse_options},
                        mount_point, TreeServer::operations(), &server);
        server.set_session(mounted.session());
        MountLoop loop({mounted, session.channel(), *pipeline, server, record, options.stop_fd});
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
    const std::vector<fuse::MountEntry> mounts = fuse::mounts_on(mount_point);
    return !mounts.empty() && mounts.back().type == "fuse." + std::string(fuse::kFilesystemType);
}

}  // namespace

bool mount_on_host(Session& session, const HostMountOptions& options) {
    Session::Impl& impl = *session.impl_;
    std::string mount_point = fuse::canonical_mount_point(options.directory);
    MountRecord record(mount_point);
    fuse::require_mountable(mount_point, options.fuse_options);
    MountResult result;
    try {
        serve(impl, options, mount_point, record);
        // Who waits for the end is told when the images are free.
        if (impl.options.writable) {
            result.changed = impl.commit();
        } else {
            impl.release();
        }
    } catch (const Error& error) {
        result.error = error;
        impl.release();
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
