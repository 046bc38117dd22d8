// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The life of a session: images open, appliance starts with the first request, mounts travel with the request
// after them, commit ends it all.
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <utility>

#include "base/log.h"
#include "base/uuid.h"
#include "engine/engine_choice.h"
#include "guest/printable.h"
#include "guest/session_impl.h"
#include "guest/wire_convert.h"

namespace inspect {

namespace {

uint64_t now_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

bool is_mount(const proto::Request& request) { return request.has_mount() || request.has_mount_os(); }

// Mounts are sent with the request after them; more than these are sent by themselves before that.
constexpr size_t kMaxQueuedMounts = Connection::kMaxBatch - 2;

// Warnings that nobody takes must not grow without end.
constexpr size_t kMaxWarnings = 1000;

// The keys live no longer than they are needed.
SessionOptions without_keys(const SessionOptions& options) {
    SessionOptions copy = options;
    copy.keys.clear();
    for (DiskSpec& disk : copy.disks) disk.keys.clear();
    return copy;
}

class BusyMark {
  public:
    explicit BusyMark(bool& busy) : busy_(busy) { busy_ = true; }
    ~BusyMark() { busy_ = false; }
    BusyMark(const BusyMark&) = delete;
    BusyMark& operator=(const BusyMark&) = delete;

  private:
    bool& busy_;
};

}  // namespace

Session::Impl::Impl(SessionOptions session_options, SessionSeams session_seams)
    : options(without_keys(session_options)),
      seams_(std::move(session_seams)),
      keys_(std::move(session_options.keys)) {
    uint64_t begin = now_ns(CLOCK_MONOTONIC);
    memory_bytes_ = options.memory_bytes;
    if (options.verbose) set_log_level(LogLevel::kVerbose);
    engine_kind_ = parse_engine(options.engine);
    interrupt_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!interrupt_) throw Error::from_errno("cannot make an eventfd", errno);
    disks_.emplace(session_options);
    open_ns_ = now_ns(CLOCK_MONOTONIC) - begin;
}

void Session::Impl::require_not_interrupted() const {
    if (interrupted()) throw Error(ErrorKind::kCancelled, "interrupted");
}

void Session::Impl::check_usable() const {
    require_not_interrupted();
    if (ended_) throw ended_->with_context("the session is over");
    if (busy_) throw Error(ErrorKind::kUsage, "the session is in use by an operation that has not ended");
}

void Session::Impl::require_writable() const {
    if (options.writable) return;
    throw Error(ErrorKind::kDenied, "the session is read-only: nothing in the images can be changed");
}

proto::Response Session::Impl::call_in_tree(proto::Request request, const Connection::Handlers& handlers) {
    check_usable();
    if (!mounted_ && queued_mounts_.empty())
        throw Error(ErrorKind::kUsage, "no file system is mounted yet: mount one, or the operating system");
    return call(std::move(request), handlers);
}

proto::Response Session::Impl::call_changing(proto::Request request, const Connection::Handlers& handlers) {
    require_writable();
    return call_in_tree(std::move(request), handlers);
}

// Argon2 may want more memory than the appliance has, which shows only when a volume is to be unlocked: at
// the first mount, when the disks are listed, or when a program is run. So with keys the mounts go ahead of
// the operation; where there are none, or a program is (or may be) to come, the disks are listed.
proto::Response Session::Impl::call(proto::Request request, const Connection::Handlers& handlers) {
    check_usable();
    if (!awake_ && !keys_.empty()) {
        if (request.has_list_filesystems() || request.has_inspect()) return call_unlocking(request);
        proto::Request ahead;
        if (queued_mounts_.empty() || request.has_run_program() || request.has_ping()) {
            ahead.mutable_list_filesystems();
        } else {
            ahead.mutable_ping();
        }
        call_unlocking(ahead);
    }
    return call_once(std::move(request), handlers);
}

// With which nothing comes of the session yet: so it can be done again, in an appliance with enough memory.
proto::Response Session::Impl::call_unlocking(const proto::Request& request) {
    const std::vector<proto::Request> mounts = queued_mounts_;
    const size_t warned = warnings.size();
    try {
        proto::Response response = call_once(request, {});
        if (!restart_with_memory()) return response;
    } catch (const Error&) {
        if (!restart_with_memory()) throw;
    }
    warnings.resize(std::min(warned, warnings.size()));
    queued_mounts_ = mounts;
    return call_once(request, {});
}

// False: there is no need to, or nothing to be gained.
bool Session::Impl::restart_with_memory() {
    constexpr uint64_t kMost = uint64_t{3} << 30;
    constexpr uint64_t kUnit = uint64_t{32} << 20;  // docs/appliance.md
    if (ended_ || !machine_ || needed_memory_ == 0 || needed_memory_ > kMost) return false;
    const uint64_t wanted = (needed_memory_ + kUnit - 1) / kUnit * kUnit;
    if (options.memory_bytes != 0 || wanted <= memory_bytes_) return false;
    log(LogLevel::kVerbose, "an encrypted volume needs " + std::to_string(wanted >> 20) +
                                " MiB of memory: the appliance is started again");
    stop_machine();
    memory_bytes_ = std::min(wanted, kMost);
    needed_memory_ = 0;
    return true;
}

// The next call starts another one. Journals that were replayed are in the overlay, and complete.
void Session::Impl::stop_machine() {
    if (!machine_) return;
    proto::Request request;
    request.mutable_finish();
    call_once(std::move(request), {});
    machine_->stop(true);
    connection_.reset();
    machine_.reset();
    awake_ = false;
    mounted_ = false;
}

proto::Response Session::Impl::call_once(proto::Request request, const Connection::Handlers& handlers) {
    check_usable();
    BusyMark mark(busy_);
    start();
    std::vector<proto::Request> batch = next_batch(std::move(request));
    Connection::Outcome outcome;
    try {
        outcome = connection_->run(batch, handlers);
    } catch (const ProtocolError& error) {
        Error explained = with_console(error);
        end(error);
        throw explained;
    } catch (const Error& error) {
        if (connection_->broken()) end(error);
        throw;
    }
    std::optional<Error> failure = settle(batch, outcome.answers);
    if (outcome.thrown) std::rethrow_exception(outcome.thrown);
    if (failure) throw *failure;
    return std::move(outcome.answers.back());
}

// Takes in what a batch did: wake, mounts, warnings. The first failure, if there was one.
std::optional<Error> Session::Impl::settle(const std::vector<proto::Request>& batch,
                                           const std::vector<proto::Response>& answers) {
    queued_mounts_.clear();
    for (size_t i = 0; i < batch.size(); ++i) {
        const proto::Response& answer = answers[i];
        if (answer.needed_memory() != 0) needed_memory_ = answer.needed_memory();
        for (const std::string& warning : answer.warnings()) warn(printable(warning));
        if (answer.has_failure()) {
            Error error = to_error(answer.failure());
            if (error.kind() == ErrorKind::kEngine) error = with_console(error);
            if (batch[i].has_wake()) end(error);
            return error;
        }
        awake_ = true;
        if (is_mount(batch[i])) mounted_ = true;
    }
    return std::nullopt;
}

std::unique_ptr<Pipeline> Session::Impl::begin_pipeline() {
    check_usable();
    if (!connection_) throw Error(ErrorKind::kInternal, "the appliance was not started");
    busy_ = true;
    return std::make_unique<Pipeline>(machine_->channel(), connection_->next_stream());
}

void Session::Impl::end_pipeline(const Pipeline& pipeline, const std::optional<Error>& lost) {
    busy_ = false;
    connection_->resume(pipeline.next_stream(), lost.has_value() || !pipeline.idle());
    if (lost) end(*lost);
}

void Session::Impl::queue_mount(proto::Request request) {
    check_usable();
    queued_mounts_.push_back(std::move(request));
    if (queued_mounts_.size() < kMaxQueuedMounts) return;
    proto::Request ping;
    ping.mutable_ping();
    call(std::move(ping));
}

void Session::Impl::unmount() {
    check_usable();
    queued_mounts_.clear();  // nothing came after them that would need them
    if (!mounted_) return;
    proto::Request request;
    request.mutable_unmount();
    call(std::move(request));
    mounted_ = false;
}

std::vector<proto::Request> Session::Impl::next_batch(proto::Request&& request) const {
    std::vector<proto::Request> batch;
    if (!awake_) batch.push_back(wake_request());
    batch.insert(batch.end(), queued_mounts_.begin(), queued_mounts_.end());
    batch.push_back(std::move(request));
    return batch;
}

proto::Request Session::Impl::wake_request() const {
    proto::Request request;
    proto::Wake& wake = *request.mutable_wake();
    wake.set_realtime_ns(now_ns(CLOCK_REALTIME));
    std::array<char, 64> entropy;
    draw_random(std::as_writable_bytes(std::span(entropy)));
    wake.set_entropy(entropy.data(), entropy.size());
    for (size_t i = 0; i < options.disks.size(); ++i) {
        proto::Wake::Disk& disk = *wake.add_disks();
        disk.set_slot(static_cast<uint32_t>(i));
        disk.set_read_only(!options.writable || options.disks[i].read_only);
    }
    wake.set_verbose(options.verbose);
    wake.set_allow_discards(options.allow_discards);
    for (const EncryptionKey& key : keys_) {
        proto::Wake::Key& item = *wake.add_keys();
        item.set_id(key.id);
        item.set_secret(key.secret);
    }
    return request;
}

void Session::Impl::start() {
    if (machine_) return;
    EngineOptions engine;
    engine.engine = engine_kind_;
    engine.disks = disks_->engine_disks();
    engine.memory_bytes = memory_bytes_;
    engine.use_snapshot = options.use_snapshot;
    engine.verbose = options.verbose;
    engine.appliance_directory = options.appliance_directory;
    engine.cache_directory = options.cache_directory;
    engine.interrupt_fd = interrupt_.get();
    machine_ = seams_.start(engine);
    connection_ = std::make_unique<Connection>(machine_->channel(), seams_.connection);
}

void Session::Impl::interrupt() noexcept {
    uint64_t one = 1;
    // Async-signal-safe. It can fail only when the counter is full, and then it is readable anyway.
    int saved = errno;
    [[maybe_unused]] ssize_t written = write(interrupt_.get(), &one, sizeof one);
    errno = saved;
}

bool Session::Impl::interrupted() const noexcept {
    pollfd descriptor{interrupt_.get(), POLLIN, 0};
    return poll(&descriptor, 1, 0) > 0;
}

// The appliance is no more; its figures stay.
void Session::Impl::end(Error reason) noexcept {
    ended_ = std::move(reason);
    connection_.reset();
    if (!machine_) return;
    try {
        final_stats_ = machine_->stats();
    } catch (...) {
        final_stats_ = {};  // the figures of a machine that broke may be lost
    }
    machine_.reset();
}

Error Session::Impl::with_console(const Error& error) const {
    std::string tail = machine_ ? machine_->console_tail() : "";
    if (tail.empty()) return error;
    return Error(error.kind(), error.message() + "\nThe appliance's last messages:\n" + tail);
}

// Everything unmounted, and the appliance gone. False: there was none.
bool Session::Impl::finish() {
    check_usable();
    require_writable();
    const bool started = machine_ != nullptr;
    if (started) {
        queued_mounts_.clear();  // nothing came after them that would need them
        proto::Request request;
        request.mutable_finish();
        call(std::move(request));
        try {
            machine_->stop(true);
        } catch (const Error& error) {
            end(error);
            throw;
        }
    }
    end(Error(ErrorKind::kUsage, "it was committed"));
    return started;
}

bool Session::Impl::commit() {
    bool changed = false;
    if (finish()) {
        if (find_zeros_) disks_->find_zeros([this] { require_not_interrupted(); });
        changed = disks_->commit();
    }
    disks_.reset();
    return changed;
}

void Session::Impl::release() {
    end(Error(ErrorKind::kUsage, "its images were released"));
    disks_.reset();
}

SessionStats Session::Impl::stats() const {
    SessionStats stats = machine_ ? machine_->stats() : final_stats_;
    stats.engine_ns += open_ns_;
    return stats;
}

void Session::Impl::warn(std::string message) {
    if (warnings.size() == kMaxWarnings) message = "there were more warnings";
    if (warnings.size() <= kMaxWarnings) warnings.push_back(std::move(message));
}

std::function<void(const std::string&)> Session::Impl::warner(const CopyOptions& copy_options) {
    if (copy_options.on_warning) return copy_options.on_warning;
    return [this](const std::string& message) { warn(message); };
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

void Session::unmount() { impl_->unmount(); }
bool Session::commit() { return impl_->commit(); }
std::vector<std::string> Session::take_warnings() { return std::exchange(impl_->warnings, {}); }
SessionStats Session::stats() const { return impl_->stats(); }
void Session::interrupt() noexcept { impl_->interrupt(); }

}  // namespace inspect
