// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Session's inside: the life of the appliance and of the requests that wait for it. The operations, in
// session_*.cc, are each a request and what to do with its answer.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <inspect/session.h>

#include "base/fd.h"
#include "engine/engine.h"
#include "guest/connection.h"
#include "guest/disks.h"
#include "guest/free_space.h"
#include "guest/pipeline.h"
#include "protocol/insp.pb.h"

namespace inspect {

struct DiskState;

// What a session stands on; tests have their own.
struct SessionSeams {
    std::function<std::unique_ptr<Machine>(const EngineOptions&)> start;
    Connection::Options connection = {};
};

struct Session::Impl {
    Impl(SessionOptions session_options, SessionSeams session_seams);

    // Brings one request to the agent, started, woken and with the mounts that were asked for, and returns
    // its successful answer. Throws what failed first.
    proto::Response call(proto::Request request, const Connection::Handlers& handlers = {});
    // The same for requests that need a mounted tree, or may change it.
    proto::Response call_in_tree(proto::Request request, const Connection::Handlers& handlers = {});
    proto::Response call_changing(proto::Request request, const Connection::Handlers& handlers = {});

    // For a mount on the host, which has the channel for itself between the two.
    std::unique_ptr<Pipeline> begin_pipeline();
    // `lost`: the appliance is of no more use, and why.
    void end_pipeline(const Pipeline& pipeline, const std::optional<Error>& lost);
    Channel& channel() { return machine_->channel(); }

    ResizePlan plan_resize(const ResizeWishes& wishes);
    void resize(const ResizePlan& plan, const std::function<void(const ResizeStep&)>& on_step);

    std::vector<SparsifyResult> sparsify(const SparsifyWishes& wishes, const FilesystemReport& report,
                                         const std::function<void(const SparsifyResult&)>& on_result);
    void write_copy(const SparseCopy& copy);
    // Ends the session. What of its disks was discarded.
    std::vector<FreeSpace::Disk> discards();

    void queue_mount(proto::Request request);
    void unmount();
    bool commit();
    // For a session that only read: the appliance ends, and the images are released.
    void release();
    void warn(std::string message);
    // Where an operation's warnings go.
    std::function<void(const std::string&)> warner(const CopyOptions& copy_options);
    void check_usable() const;
    void require_writable() const;
    void interrupt() noexcept;
    SessionStats stats() const;

    const SessionOptions options;
    std::vector<std::string> warnings;

  private:
    bool interrupted() const noexcept;
    void require_not_interrupted() const;
    DiskState survey_disk(const ResizeWishes& wishes, const std::vector<std::string>& minimum_of);
    void start();
    bool finish();
    SparsifyResult sparsify_one(SparsifyResult target, proto::Request request, bool must);
    proto::Response call_once(proto::Request request, const Connection::Handlers& handlers);
    proto::Response call_unlocking(const proto::Request& request);
    bool restart_with_memory();
    void stop_machine();
    ResizePlan plan_aside(const ResizeWishes& wishes);
    void begin_direct_resize();
    proto::Request wake_request() const;
    std::vector<proto::Request> next_batch(proto::Request&& request) const;
    std::optional<Error> settle(const std::vector<proto::Request>& batch,
                                const std::vector<proto::Response>& answers);
    Error with_console(const Error& error) const;
    void end(Error reason) noexcept;

    SessionSeams seams_;
    EngineKind engine_kind_ = EngineKind::kAuto;
    uint64_t open_ns_ = 0;  // what opening the images took
    Fd interrupt_;          // an eventfd: readable once interrupt() was called
    std::optional<Disks> disks_;
    std::unique_ptr<Machine> machine_;
    std::unique_ptr<Connection> connection_;
    SessionStats final_stats_;  // of a machine that is gone

    std::vector<EncryptionKey> keys_;
    uint64_t memory_bytes_ = 0;   // of the appliance, when that is more than the options say
    uint64_t needed_memory_ = 0;  // what the agent said in its last answers that it would need
    std::vector<proto::Request> queued_mounts_;
    bool awake_ = false;                   // Wake has succeeded
    bool mounted_ = false;                 // a mount has succeeded
    bool busy_ = false;                    // a call is running
    bool find_zeros_ = false;              // before the commit
    std::optional<uint64_t> direct_size_;  // of the disk in a resize that was planned, in the direct mode
    std::optional<Error> ended_;           // the session is over, and why
};

}  // namespace inspect
