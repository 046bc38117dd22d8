// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <new>

#include <inspect/error.h>

#include "base/uuid.h"
#include "failure.h"
#include "identifiers.h"
#include "inspection.h"
#include "log.h"
#include "operations.h"
#include "run_program.h"
#include "sparsify.h"
#include "subvolume_list.h"

namespace inspect::agent {

namespace {

void set_failure(proto::Response& response, proto::ErrorKind kind, const std::string& message,
                 int errnum = 0) {
    google::protobuf::RepeatedPtrField<std::string> warnings;
    warnings.Swap(response.mutable_warnings());
    response.Clear();
    warnings.Swap(response.mutable_warnings());
    proto::Response::Failure& failure = *response.mutable_failure();
    failure.set_kind(kind);
    failure.set_message(message);
    failure.set_errnum(errnum > 0 ? static_cast<uint32_t>(errnum) : 0);
}

// Runs `work` and turns what it throws into the response's failure.
template <typename Work>
void guarded(proto::Response& response, Work work) {
    try {
        work();
    } catch (const Failure& failure) {
        set_failure(response, failure.kind(), failure.message(), failure.errnum());
    } catch (const Cancelled&) {
        set_failure(response, proto::CANCELLED, "the request was cancelled");
    } catch (const std::bad_alloc&) {
        set_failure(response, proto::INTERNAL, "not enough memory in the appliance: give it more", ENOMEM);
    } catch (const Error& error) {
        set_failure(response, proto::INTERNAL, error.message());
    }
}

// Where what is open was found, in our own tree.
std::string path_of_open(int fd) {
    char target[PATH_MAX];
    ssize_t size = ::readlink(FdPath(fd).c_str(), target, sizeof target);
    if (size < 0 || static_cast<size_t>(size) == sizeof target) fail_errno("cannot find", "the guest's tree");
    return std::string(target, static_cast<size_t>(size));
}

}  // namespace

Agent::Agent(Connection& connection, Machine& machine) : connection_(connection), machine_(&machine) {
    disks_.prepare();
    disks_.set_assembler([this] { return stacks_.assemble(); });
    mounts_.prepare();
    connection_.warm();
    proto::Hello hello;
    hello.set_version(protocol::kProtocolVersion);
    utsname name{};
    if (::uname(&name) == 0) hello.set_kernel(name.release);
    connection_.send_hello(hello);
}

Agent::Agent(Connection& connection, Fd sysroot, bool programs)
    : connection_(connection), tree_(std::move(sysroot)), programs_on_host_(programs) {
    proto::Hello hello;
    hello.set_version(protocol::kProtocolVersion);
    connection_.send_hello(hello);
}

void Agent::run() {
    while (std::optional<Connection::Request> received = connection_.next_request()) {
        proto::Request request;
        proto::Response response;
        guarded(response, [&] {
            if (!request.ParseFromString(received->payload))
                throw Failure(proto::USAGE, "a request that can't be parsed", EINVAL);
            if (request.has_wake()) wipe(received->payload);  // it may hold keys
            if (request.after_success() && !previous_succeeded_) {
                response.set_skipped(true);
                return;
            }
            if (connection_.cancelled()) throw Cancelled();
            look_ahead(request);
            dispatch(request, response);
        });
        Context context{connection_, tree_, response};
        for (std::string& warning : tree_.take_warnings()) context.warn(std::move(warning));
        for (std::string& warning : stacks_.take_warnings()) context.warn(std::move(warning));
        response.set_needed_memory(stacks_.needed_memory());
        previous_succeeded_ = !response.has_failure() && !response.skipped();
        if (log_verbose())
            note(
                "request " + std::to_string(request.op_case()) +
                (response.has_failure() ? " failed: " + response.failure().message() : std::string(" done")));
        try {
            connection_.respond(response);
        } catch (const Failure& failure) {  // it is too long to be sent
            previous_succeeded_ = false;
            response.Clear();
            set_failure(response, failure.kind(), failure.message());
            connection_.respond(response);
        }
    }
}

// Many reads of a mount arrive together. The disk is told of all of them before the first one waits for it:
// one by one, each would cost an interrupt and two changes between this process and an idle machine.
void Agent::look_ahead(const proto::Request& request) {
    if (!request.has_tree_read()) return open_tree_.forget_ahead();
    if (open_tree_.is_ahead() || !open_tree_.read_ahead(request.tree_read())) return;
    connection_.look_ahead([this, next = proto::Request()](const std::string& payload) mutable {
        return next.ParseFromString(payload) && next.has_tree_read() &&
               open_tree_.read_ahead(next.tree_read());
    });
}

void Agent::dispatch(proto::Request& request, proto::Response& response) {
    Context context{connection_, tree_, response};
    switch (request.op_case()) {
        case proto::Request::kWake:
            return wake(*request.mutable_wake());
        case proto::Request::kListFilesystems:
            need_machine("list file systems");
            *response.mutable_filesystems() = disks_.list(mounts_.types());
            stacks_.describe(*response.mutable_filesystems());
            add_subvolumes(disks_, mounts_, *response.mutable_filesystems());
            return;
        case proto::Request::kInspect:
            return inspect(response);
        case proto::Request::kMount:
            return mount(request.mount());
        case proto::Request::kMountOs:
            return mount_os(request.mount_os(), response);
        case proto::Request::kFinish:
            return finish();
        case proto::Request::kStat:
            return stat_file(context, request.stat());
        case proto::Request::kListDirectory:
            return list_directory(context, request.list_directory());
        case proto::Request::kReadFile:
            return read_file(context, request.read_file());
        case proto::Request::kReadTree:
            return read_tree(context, request.read_tree());
        case proto::Request::kWriteFile:
            return write_file(context, request.write_file());
        case proto::Request::kWriteTree:
            return write_tree(context, request.write_tree());
        case proto::Request::kEditFile:
            return edit_file(context, request.edit_file());
        case proto::Request::kMakeDirectory:
            return make_directory(context, request.make_directory());
        case proto::Request::kRemove:
            return remove(context, request.remove());
        case proto::Request::kRename:
            return rename(context, request.rename());
        case proto::Request::kChmod:
            return change_mode(context, request.chmod());
        case proto::Request::kChown:
            return change_owner(context, request.chown());
        case proto::Request::kLink:
            return link(context, request.link());
        case proto::Request::kTouch:
            return touch(context, request.touch());
        case proto::Request::kScrub:
            return scrub(context, request.scrub());
        case proto::Request::kRandomBytes: {
            constexpr uint32_t kMost = 256;
            uint32_t count = request.random_bytes().count();
            if (count > kMost)
                throw Failure(proto::USAGE, "more than 256 random bytes were asked for", EINVAL);
            std::string bytes(count, '\0');
            draw_random(std::as_writable_bytes(std::span(bytes)));
            response.set_random(bytes);
            return;
        }
        case proto::Request::kPing:
            return;
        case proto::Request::kRunProgram:
            return run_program(context, request.run_program());
        case proto::Request::kSurveyDisk:
            return survey_disk(resize_context("look at disks"), request.survey_disk(),
                               *response.mutable_survey());
        case proto::Request::kResizeStep:
            need_machine("resize");
            // Nothing may be on a partition that goes, and the kernel must not have it.
            if (request.resize_step().table().removed_size() > 0) look_again();
            return resize_step(resize_context("resize"), request.resize_step());
        case proto::Request::kSparsifyVolume:
            return sparsify_volume(resize_context("sparsify"), request.sparsify_volume(),
                                   *response.mutable_sparsified());
        case proto::Request::kSparsifyGroup:
            return sparsify_group(resize_context("sparsify"), request.sparsify_group(),
                                  *response.mutable_sparsified());
        case proto::Request::kUnmount:
            return unmount();
        case proto::Request::kSetIdentifiers:
            return set_identifiers(request.set_identifiers(), response);
        default:
            if (tree_operation(context, open_tree_, request)) return;
    }
    throw Failure(proto::UNSUPPORTED,
                  "a request that this appliance doesn't know: it is older than the program");
}

void Agent::need_machine(const char* what) const {
    if (!machine_)
        throw Failure(proto::UNSUPPORTED, std::string("cannot ") + what + " outside of an appliance");
}

void Agent::wake(proto::Wake& request) {
    need_machine("wake");
    if (!disks_.disks().empty()) throw Failure(proto::USAGE, "the appliance was woken already");
    set_log_verbose(request.verbose());
    machine_->wake(request);
    disks_.bind(request);
    const auto& disks = disks_.disks();
    stacks_.prepare(request,
                    std::all_of(disks.begin(), disks.end(), [](const Disk& disk) { return disk.read_only; }));
}

void Agent::mount(const proto::Mount& request) {
    need_machine("mount");
    Volume& volume = disks_.get(request.device());
    Mounts::Request options{request.options(), request.fstype(), request.read_only()};
    if (last_component(request.mountpoint()).empty()) {  // "/"
        size_t before = mounts_.count();
        if (tree_.mounted()) throw Failure(proto::USAGE, "something is mounted on / already", EBUSY);
        try {
            tree_ = GuestTree(mounts_.mount(volume, kSysroot, options));
        } catch (...) {
            mounts_.unmount_to(before);
            throw;
        }
    } else {
        mounts_.mount_below(tree_, request.mountpoint(), volume, options);
    }
}

void Agent::mount_os(const proto::MountOs& request, proto::Response& response) {
    need_machine("mount");
    if (tree_.mounted()) throw Failure(proto::USAGE, "something is mounted on / already", EBUSY);
    OsFinder finder(disks_, mounts_, kSystems, request.read_only());
    size_t before = mounts_.count();
    try {
        std::vector<OsRoot> roots;
        if (request.root().empty()) {
            roots = finder.find();
        } else {
            roots.push_back(finder.open(request.root()));
        }
        if (roots.empty()) {
            std::string message = "no operating system was found on the disks";
            for (const std::string& warning : finder.warnings()) message += "; " + warning;
            for (const std::string& warning : stacks_.take_warnings()) message += "; " + warning;
            for (const std::string& device : stacks_.locked())
                message += "; " + device + " is encrypted: give its key (--key " + device + ":key:...)";
            throw Failure(proto::NOT_FOUND, message + "; a file system can be mounted by its device (-m)");
        }
        if (roots.size() > 1) {
            std::string message = "there is more than one operating system:";
            for (const OsRoot& root : roots) message += " " + root.volume->device;
            throw Failure(proto::USAGE, message + "; say which one (--root)");
        }
        response.mutable_mount()->set_root(roots[0].volume->device);
        tree_ = std::move(roots[0].tree);
        finder.defer_tree(tree_, roots[0]);
    } catch (...) {
        mounts_.unmount_to(before);
        throw;
    }
    Context context{connection_, tree_, response};
    for (std::string& warning : finder.warnings()) context.warn(std::move(warning));
}

void Agent::inspect(proto::Response& response) {
    need_machine("inspect");
    proto::InspectResult& result = *response.mutable_inspect();
    *result.mutable_filesystems() = disks_.list(mounts_.types());
    stacks_.describe(*result.mutable_filesystems());
    inspect_systems(disks_, mounts_, connection_, result);
    if (result.systems_size() > 0) return;
    // Why there is none may be among these.
    Context context{connection_, tree_, response};
    for (const std::string& warning : result.filesystems().warnings()) context.warn(warning);
}

// Programs find all that a user knows of: the partitions' devices under the names that the host uses,
// terminals, the guest's whole tree.
void Agent::run_program(const Context& context, const proto::RunProgram& request) {
    if (!programs_on_host_ || request.chroot()) need_machine("run a program");
    if (request.chroot()) tree_.root();  // there must be one
    Program program;
    program.contained = machine_ != nullptr;
    if (!machine_) return agent::run_program(context, request, std::move(program));
    if (request.bare_disks()) {
        look_again();  // what was put together before is in the way
    } else {
        disks_.assemble();
    }
    for (std::string& warning : disks_.make_all_nodes()) context.warn(std::move(warning));
    if (tree_.mounted()) {
        tree_.settle_all();
        program.tree = path_of_open(tree_.root());
    }
    // However it ends: nothing of it may still hold the disks.
    struct Cleanup {
        Agent& agent;
        const Context& context;
        ~Cleanup() {
            try {
                end_left_behind();
                agent.look_again();
            } catch (const Failure& failure) {
                context.warn("after the program: " + failure.message());
            }
        }
    } cleanup{*this, context};
    agent::run_program(context, request, std::move(program));
}

ResizeContext Agent::resize_context(const char* what) {
    need_machine(what);
    if (tree_.mounted())
        throw Failure(proto::USAGE, std::string("cannot ") + what + " while the guest is mounted", EBUSY);
    return {connection_, disks_, mounts_};
}

// A program may have changed anything on the disks.
void Agent::look_again() {
    ::sync();
    if (mounts_.count() > 0) return;
    stacks_.forget();
    disks_.forget();
}

void Agent::unmount() {
    open_tree_.close();
    tree_ = GuestTree();
    mounts_.unmount_to(0);
}

void Agent::set_identifiers(const proto::SetIdentifiers& request, proto::Response& response) {
    resize_context("change identifiers");
    agent::set_identifiers(disks_, request, *response.mutable_identifiers());
    look_again();
}

void Agent::finish() {
    unmount();
    disks_.release();
    stacks_.dismantle();
}

}  // namespace inspect::agent
