// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include <inspect/resize.h>
#include <inspect/session.h>

#include "base/fd.h"
#include "block/overlay.h"
#include "block/raw.h"
#include "guest/fake_agent_for_test.h"
#include "guest/session_impl.h"

namespace inspect {
namespace {

namespace fs = std::filesystem;
using protocol::Frame;
using protocol::FrameType;
using testing::ElementsAre;
using testing::HasSubstr;

// Sessions on a real image and a scripted agent.
class SessionTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "insp-session-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        directory_ = pattern;
        std::ofstream(image()) << std::string(1 << 20, 'd');
    }
    void TearDown() override { fs::remove_all(directory_); }

    std::string image() const { return (directory_ / "disk.img").string(); }

    Session open(bool writable, WriteMode mode = WriteMode::kAtomic, std::vector<EncryptionKey> keys = {}) {
        SessionOptions options;
        options.write_mode = mode;
        options.keys = std::move(keys);
        options.disks.push_back({.path = image(), .format = "raw"});
        options.writable = writable;
        return Session(std::make_unique<Session::Impl>(
            options, SessionSeams{.start = [this](const EngineOptions& engine) { return start(engine); }}));
    }

    std::unique_ptr<Machine> start(const EngineOptions& engine) {
        ++starts_;
        engine_ = engine;
        auto channel = std::make_unique<FakeChannel>(
            [this](FakeChannel& self, const Frame& frame) { hear(self, frame); });
        channel_ = channel.get();
        auto machine = std::make_unique<FakeMachine>(std::move(channel));
        machine->on_stop = [this] { stopped_ = true; };
        return machine;
    }

    // Answers every request by answer_, or success; uploads when they end.
    void hear(FakeChannel& self, const Frame& frame) {
        if (frame.type == FrameType::kRequest) {
            proto::Request request;
            ASSERT_TRUE(request.ParseFromArray(frame.payload.data(), static_cast<int>(frame.payload.size())));
            requests_.push_back(request);
            if (!request.after_success()) failed_ = false;
            if (request.has_write_file()) {
                uploading_ = frame.stream;
                return;
            }
            answer(self, frame.stream, request);
        } else if (frame.type == FrameType::kEnd && uploading_ == frame.stream) {
            answer(self, frame.stream, requests_.back());
        }
    }
    void answer(FakeChannel& self, uint32_t stream, const proto::Request& request) {
        proto::Response response;
        if (failed_) {
            response.set_skipped(true);
        } else if (on_request_) {
            response = on_request_(self, stream, request);
        }
        failed_ = failed_ || response.has_failure();
        self.reply(stream, response);
    }

    // The names of the requests since the last call.
    std::vector<std::string> heard() {
        std::vector<std::string> names;
        for (const proto::Request& request : std::exchange(requests_, {})) {
            names.push_back(request.has_wake()               ? "wake"
                            : request.has_mount()            ? "mount " + request.mount().mountpoint()
                            : request.has_mount_os()         ? "mount_os"
                            : request.has_stat()             ? "stat"
                            : request.has_finish()           ? "finish"
                            : request.has_ping()             ? "ping"
                            : request.has_run_program()      ? "run"
                            : request.has_list_filesystems() ? "list"
                            : request.has_read_file()        ? "read_file"
                            : request.has_write_file()       ? "write_file"
                                                             : "other");
        }
        return names;
    }

    static proto::Response failure(proto::ErrorKind kind, const std::string& message) {
        proto::Response response;
        response.mutable_failure()->set_kind(kind);
        response.mutable_failure()->set_message(message);
        return response;
    }
    static proto::Response stat_answer() {
        proto::Response response;
        response.mutable_stat()->set_mode(S_IFREG | 0644);
        response.mutable_stat()->set_size(7);
        return response;
    }
    // What a guest does to its disk: writes into the overlay.
    void guest_writes(uint64_t offset, std::string_view text) {
        Fd memory(dup(engine_.disks[0].overlay_memory_fd));
        Fd spill(dup(engine_.disks[0].overlay_spill_fd));
        auto lower = std::make_unique<RawDevice>(open_file(image(), O_RDONLY), true, image());
        auto store = std::make_shared<OverlayStore>(std::move(memory), std::move(spill),
                                                    std::max(lower->size(), engine_.disks[0].size));
        Overlay(std::move(lower), store).write(offset, std::as_bytes(std::span(text)));
    }
    std::string image_bytes() const {
        std::ifstream in(image(), std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    template <typename Function>
    static Error error_of(Function function) {
        try {
            function();
        } catch (const Error& error) {
            return error;
        }
        ADD_FAILURE() << "nothing was thrown";
        return Error(ErrorKind::kInternal, "");
    }

    fs::path directory_;
    int starts_ = 0;
    bool stopped_ = false;
    bool failed_ = false;
    uint32_t uploading_ = 0;
    EngineOptions engine_;
    FakeChannel* channel_ = nullptr;
    std::vector<proto::Request> requests_;
    std::function<proto::Response(FakeChannel&, uint32_t, const proto::Request&)> on_request_;
};

TEST_F(SessionTest, StartsNothingBeforeItMust) {
    Session session = open(false);
    session.mount_os();
    EXPECT_EQ(starts_, 0);
    EXPECT_FALSE(session.stats().warm);
}

TEST_F(SessionTest, SendsWakeMountsAndTheOperationTogether) {
    on_request_ = [](FakeChannel&, uint32_t, const proto::Request& request) {
        return request.has_stat() ? stat_answer() : proto::Response();
    };
    Session session = open(false);
    session.mount({.device = "/dev/sda1"});
    session.mount({.device = "/dev/sda2", .mountpoint = "/boot"});
    EXPECT_EQ(session.stat("/etc/fstab").size, 7u);
    EXPECT_EQ(channel_->writes, 1u);
    EXPECT_TRUE(requests_[0].wake().disks(0).read_only());
    EXPECT_GE(requests_[0].wake().entropy().size(), 32u);
    EXPECT_TRUE(requests_[1].mount().read_only());
    EXPECT_THAT(heard(), ElementsAre("wake", "mount /", "mount /boot", "stat"));
    session.stat("/x");
    EXPECT_THAT(heard(), ElementsAre("stat"));
    EXPECT_EQ(starts_, 1);
}

TEST_F(SessionTest, ReportsAMountsFailureFromTheNextCallAndGoesOn) {
    on_request_ = [](FakeChannel&, uint32_t, const proto::Request& request) {
        if (request.has_mount() && request.mount().device() == "/dev/sdz")
            return failure(proto::NOT_FOUND, "there is no \xff/dev/sdz\n");
        return request.has_stat() ? stat_answer() : proto::Response();
    };
    Session session = open(false);
    session.mount({.device = "/dev/sdz"});
    Error error = error_of([&] { session.stat("/"); });
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_EQ(error.message(), "there is no \\xff/dev/sdz\\n");
    EXPECT_EQ(error_of([&] { session.stat("/"); }).kind(), ErrorKind::kUsage);  // nothing is mounted
    session.mount({.device = "/dev/sda1"});
    session.stat("/");
}

TEST_F(SessionTest, CollectsWarnings) {
    on_request_ = [](FakeChannel&, uint32_t, const proto::Request& request) {
        proto::Response response = request.has_stat() ? stat_answer() : proto::Response();
        if (request.has_mount_os()) response.add_warnings("fstab names UUID=1, which is\tnot there");
        return response;
    };
    Session session = open(false);
    session.mount_os();
    session.stat("/");
    EXPECT_THAT(session.take_warnings(), ElementsAre("fstab names UUID=1, which is\\tnot there"));
    EXPECT_TRUE(session.take_warnings().empty());
}

TEST_F(SessionTest, RefusesWhatMakesNoSenseBeforeAnythingRuns) {
    Session session = open(false);
    EXPECT_EQ(error_of([&] { session.stat("/x"); }).kind(), ErrorKind::kUsage);  // nothing mounted
    session.mount_os();
    EXPECT_EQ(error_of([&] { session.stat("etc"); }).kind(), ErrorKind::kUsage);
    EXPECT_EQ(error_of([&] { session.stat(std::string("/a\0b", 4)); }).kind(), ErrorKind::kUsage);
    EXPECT_EQ(error_of([&] { session.remove("/x"); }).kind(), ErrorKind::kDenied);
    EXPECT_EQ(error_of([&] { session.commit(); }).kind(), ErrorKind::kDenied);
    EXPECT_EQ(starts_, 0);
    SessionOptions options;
    EXPECT_EQ(
        error_of([&] { Session none(std::make_unique<Session::Impl>(options, SessionSeams{})); }).kind(),
        ErrorKind::kUsage);
    options.disks.push_back({.path = image(), .sector_size = 1000});
    EXPECT_EQ(
        error_of([&] { Session none(std::make_unique<Session::Impl>(options, SessionSeams{})); }).kind(),
        ErrorKind::kUsage);
    options.disks = {{.path = (directory_ / "none").string()}};
    EXPECT_EQ(
        error_of([&] { Session none(std::make_unique<Session::Impl>(options, SessionSeams{})); }).kind(),
        ErrorKind::kNotFound);
}

// Half a resize is none.
TEST_F(SessionTest, ResizeThatFailsIsNotCommitted) {
    on_request_ = [this](FakeChannel&, uint32_t, const proto::Request& request) {
        proto::Response response;
        if (request.has_survey_disk()) {
            response.mutable_survey()->set_sector_size(512);
            auto& whole = *response.mutable_survey()->mutable_whole();
            whole.set_device("/dev/sda");
            whole.set_type("ext4");
            whole.set_size(1 << 20);
            whole.set_granule(1024);
        }
        if (request.has_resize_step() && request.resize_step().has_filesystem())
            return failure(proto::CORRUPT, "resize2fs fell over");
        if (request.has_resize_step()) guest_writes(4096, "checked");
        return response;
    };
    Session session = open(true);
    ResizeWishes wishes;
    wishes.size = SizeChange::parse("+1M");
    const ResizePlan plan = session.plan_resize(wishes);
    ASSERT_EQ(plan.steps.size(), 3u);
    EXPECT_EQ(error_of([&] { session.resize(plan); }).message(), "resize2fs fell over");
    const Error error = error_of([&] { session.commit(); });
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    EXPECT_THAT(error.message(), HasSubstr("the session is over"));
    EXPECT_EQ(image_bytes(), std::string(1 << 20, 'd'));
}

// Written directly, the image is left alone until there is a plan.
TEST_F(SessionTest, PlansADirectResizeAside) {
    on_request_ = [this](FakeChannel&, uint32_t, const proto::Request& request) {
        proto::Response response;
        if (!request.has_survey_disk()) return response;
        if (starts_ == 1) guest_writes(4096, "looked");
        response.mutable_survey()->set_sector_size(512);
        return response;
    };
    Session session = open(true, WriteMode::kDirect);
    ResizeWishes wishes;
    wishes.size = SizeChange::parse("2M");
    wishes.follow = false;
    const ResizePlan plan = session.plan_resize(wishes);
    EXPECT_EQ(engine_.disks[0].size, 2u << 20);
    EXPECT_EQ(image_bytes(), std::string(1 << 20, 'd'));
    EXPECT_FALSE(fs::exists(image() + ".insp-journal"));
    session.resize(plan, [&](const ResizeStep&) { EXPECT_TRUE(fs::exists(image() + ".insp-journal")); });
    EXPECT_EQ(starts_, 2);
    EXPECT_TRUE(session.commit());
    EXPECT_EQ(image_bytes(), std::string(1 << 20, 'd') + std::string(1 << 20, '\0'));
}

TEST_F(SessionTest, CommitsWhatTheGuestChanged) {
    Session session = open(true);
    session.mount_os();
    session.remove("/x");
    guest_writes(4096, "hello");
    EXPECT_EQ(image_bytes(), std::string(1 << 20, 'd'));
    EXPECT_TRUE(session.commit());
    EXPECT_TRUE(stopped_);
    EXPECT_THAT(heard(), ElementsAre("wake", "mount_os", "other", "finish"));
    EXPECT_EQ(image_bytes().substr(4096, 6), "hellod");
    EXPECT_EQ(error_of([&] { session.stat("/x"); }).kind(), ErrorKind::kUsage);
    // And the image is free again.
    Session again = open(true);
}

TEST_F(SessionTest, LeavesTheImageAloneWithoutACommit) {
    struct stat before {};
    ASSERT_EQ(stat(image().c_str(), &before), 0);
    {
        Session session = open(true);
        session.mount_os();
        session.remove("/x");
        guest_writes(4096, "hello");
    }
    {
        Session session = open(true);
        session.mount_os();
        session.remove("/x");
        EXPECT_FALSE(session.commit());  // nothing was written
    }
    {
        Session session = open(true);
        EXPECT_FALSE(session.commit());
    }
    struct stat after {};
    ASSERT_EQ(stat(image().c_str(), &after), 0);
    EXPECT_EQ(image_bytes(), std::string(1 << 20, 'd'));
    EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    EXPECT_EQ(std::distance(fs::directory_iterator(directory_), {}), 1);
}

TEST_F(SessionTest, AFinishThatFailsCommitsNothing) {
    on_request_ = [](FakeChannel&, uint32_t, const proto::Request& request) {
        return request.has_finish() ? failure(proto::INTERNAL, "cannot write back") : proto::Response();
    };
    Session session = open(true);
    session.mount_os();
    session.remove("/x");
    guest_writes(4096, "hello");
    EXPECT_THAT(error_of([&] { session.commit(); }).message(), HasSubstr("cannot write back"));
    EXPECT_EQ(image_bytes(), std::string(1 << 20, 'd'));
}

TEST_F(SessionTest, StreamsBothWays) {
    on_request_ = [](FakeChannel& self, uint32_t stream, const proto::Request& request) {
        if (request.has_read_file()) self.reply(FrameType::kData, stream, "contents");
        return proto::Response();
    };
    Session session = open(true);
    session.mount_os();
    std::string got;
    session.read_file("/x", [&](std::span<const std::byte> bytes) {
        got.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    });
    EXPECT_EQ(got, "contents");
    size_t left = 1'000'000;
    session.write_file("/x", [&](std::span<std::byte> out) {
        size_t count = std::min(left, out.size());
        left -= count;
        return count;
    });
    EXPECT_EQ(left, 0u);
    EXPECT_EQ(error_of([&] {
                  session.read_file(
                      "/x", [](auto) {}, 0, 4);
              }).kind(),
              ErrorKind::kEngine);
}

// Argon2 may want more memory than there is, which the agent says when it is to unlock something.
TEST_F(SessionTest, UnlocksWithEnoughMemoryBeforeAnythingIsDone) {
    const uint64_t wanted = uint64_t{512} << 20;
    on_request_ = [&](FakeChannel&, uint32_t, const proto::Request& request) {
        proto::Response response;
        if (request.has_list_filesystems()) response.mutable_filesystems();
        if (request.has_run_program()) response.mutable_run();
        if (request.has_stat()) response = stat_answer();
        const bool unlocks = request.has_list_filesystems() ||
                             (request.has_mount() && request.mount().device() != "/dev/sda1");
        if (unlocks && engine_.memory_bytes < wanted) {
            response.set_needed_memory(wanted);
            response.add_warnings("too little memory");
        }
        return response;
    };
    auto expect = [&](Session& session, const std::vector<std::string>& requests) {
        EXPECT_EQ(heard(), requests);
        EXPECT_EQ(engine_.memory_bytes, wanted);
        EXPECT_TRUE(session.take_warnings().empty());
    };
    const std::vector<EncryptionKey> keys{{"all", "secret"}};
    {
        Session session = open(false, WriteMode::kAtomic, keys);
        session.run({.arguments = {"blkid"}});
        expect(session, {"wake", "list", "finish", "wake", "list", "run"});
        session.run({.arguments = {"blkid"}});
        EXPECT_THAT(heard(), ElementsAre("run"));
    }
    {
        Session session = open(false, WriteMode::kAtomic, keys);
        session.ping();  // a shell is to come
        expect(session, {"wake", "list", "finish", "wake", "list", "ping"});
    }
    {
        Session session = open(false, WriteMode::kAtomic, keys);
        session.mount({.device = "/dev/sda1"});  // which unlocks nothing
        session.run({.arguments = {"blkid"}});
        expect(session, {"wake", "mount /", "list", "finish", "wake", "mount /", "list", "run"});
    }
    {
        Session session = open(false, WriteMode::kAtomic, keys);
        session.mount({.device = "/dev/vg/root"});
        session.stat("/");
        expect(session, {"wake", "mount /", "ping", "finish", "wake", "mount /", "ping", "stat"});
    }
    Session session = open(false);
    session.run({.arguments = {"blkid"}});
    EXPECT_THAT(heard(), ElementsAre("wake", "run"));
}

TEST_F(SessionTest, IsNotReentrant) {
    on_request_ = [](FakeChannel& self, uint32_t stream, const proto::Request& request) {
        if (request.has_read_file()) self.reply(FrameType::kData, stream, "contents");
        return proto::Response();
    };
    Session session = open(false);
    session.mount_os();
    Error error = error_of([&] { session.read_file("/x", [&](auto) { session.stat("/y"); }); });
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
}

TEST_F(SessionTest, IsOverWhenTheApplianceBreaksTheProtocol) {
    on_request_ = [](FakeChannel& self, uint32_t, const proto::Request&) {
        self.reply(77, proto::Response());
        return proto::Response();
    };
    Session session = open(false);
    Error error = error_of([&] { session.ping(); });
    EXPECT_EQ(error.kind(), ErrorKind::kEngine);
    EXPECT_THAT(error.message(), HasSubstr("last words"));
    error = error_of([&] { session.ping(); });
    EXPECT_EQ(error.kind(), ErrorKind::kEngine);
    EXPECT_THAT(error.message(), HasSubstr("the session is over"));
    EXPECT_EQ(starts_, 1);
}

TEST_F(SessionTest, AnAnswerWithoutItsPartIsRefused) {
    Session session = open(false);
    session.mount_os();
    EXPECT_EQ(error_of([&] { session.stat("/x"); }).kind(), ErrorKind::kEngine);
    EXPECT_EQ(error_of([&] { session.filesystems(); }).kind(), ErrorKind::kEngine);
}

TEST_F(SessionTest, InterruptEndsIt) {
    Session session = open(false);
    session.ping();
    pollfd descriptor{engine_.interrupt_fd, POLLIN, 0};
    EXPECT_EQ(poll(&descriptor, 1, 0), 0);
    session.interrupt();
    EXPECT_EQ(poll(&descriptor, 1, 0), 1);
    EXPECT_EQ(error_of([&] { session.ping(); }).kind(), ErrorKind::kCancelled);
}

TEST(MountSpec, Parses) {
    MountSpec spec = MountSpec::parse("/dev/sda1");
    EXPECT_EQ(spec.device, "/dev/sda1");
    EXPECT_EQ(spec.mountpoint, "/");
    spec = MountSpec::parse("/dev/sdb:/mnt:ro,noatime:ext4");
    EXPECT_EQ(spec.device, "/dev/sdb");
    EXPECT_EQ(spec.mountpoint, "/mnt");
    EXPECT_EQ(spec.options, "ro,noatime");
    EXPECT_EQ(spec.fstype, "ext4");
    spec = MountSpec::parse("/dev/sdb:/mnt::ext4");
    EXPECT_EQ(spec.options, "");
    EXPECT_EQ(spec.fstype, "ext4");
    for (const char* bad : {"", ":/mnt", "/dev/sda1:mnt"}) EXPECT_THROW(MountSpec::parse(bad), Error) << bad;
}

}  // namespace
}  // namespace inspect
