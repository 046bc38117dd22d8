// SPDX-License-Identifier: GPL-2.0-or-later
//
// The whole way between the library and the agent, without a virtual machine: a Session whose appliance is
// the agent's code in a thread, on a directory of the host. Everything that is not mounting is as it is for
// real.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include <inspect/session.h>

#include "agent_machine.h"
#include "guest/session_impl.h"
#include "host_files.h"

namespace inspect {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class SessionAgentTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "insp-e2e-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        base_ = pattern;
        for (const char* name : {"guest", "host", "out"}) fs::create_directory(base_ / name);
        std::ofstream(base_ / "disk.img") << std::string(4096, '\0');
        SessionOptions options;
        options.disks.push_back({.path = (base_ / "disk.img").string(), .format = "raw"});
        options.writable = true;
        session_.emplace(std::make_unique<Session::Impl>(
            options, SessionSeams{.start =
                                      [this](const EngineOptions&) {
                                          return std::make_unique<AgentMachine>((base_ / "guest").string());
                                      },
                                  .connection = {.silence = std::chrono::seconds(10)}}));
        session_->mount_os();
    }
    void TearDown() override {
        session_.reset();
        fs::remove_all(base_);
    }

    fs::path guest(const std::string& path) const { return base_ / "guest" / path; }
    static std::string noise(size_t size) {
        std::string text(size, '\0');
        uint32_t state = 1;
        for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
        return text;
    }
    std::string read(const std::string& path, uint64_t offset = 0, uint64_t length = 0) {
        std::string text;
        session_->read_file(
            path,
            [&](std::span<const std::byte> bytes) {
                text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            },
            offset, length);
        return text;
    }
    void write(const std::string& path, const std::string& text, const WriteOptions& options = {}) {
        size_t done = 0;
        session_->write_file(
            path,
            [&](std::span<std::byte> out) {
                size_t count = std::min(out.size(), text.size() - done);
                std::copy_n(text.data() + done, count, reinterpret_cast<char*>(out.data()));
                done += count;
                return count;
            },
            options);
    }
    std::vector<std::string> list(const std::string& path, bool recursive = false) {
        std::vector<std::string> names;
        session_->list_directory(path, recursive, false,
                                 [&](const DirectoryEntry& entry) { names.push_back(entry.path); });
        return names;
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

    // A tree with everything in it.
    static void make_tree(const fs::path& top) {
        fs::create_directories(top / "sub/empty");
        put(top / "plain", "text");
        put(top / "sub/big", noise(3'000'000));
        put(top / "nothing", "");
        put(top / "odd\n\xff name", "odd");
        fs::create_symlink("plain", top / "link");
        fs::create_symlink("/nowhere/at all", top / "sub/dangling");
        fs::create_hard_link(top / "plain", top / "sub/twin");
        Fd sparse = open_file((top / "sparse").string(), O_RDWR | O_CREAT);
        pwrite_full(sparse.get(), std::as_bytes(std::span("a", 1)), 5 << 20, "write");
        pwrite_full(sparse.get(), std::as_bytes(std::span("b", 1)), 20 << 20, "write");
        ASSERT_EQ(ftruncate(sparse.get(), 40 << 20), 0);
        fs::permissions(top / "sub", fs::perms(0711));
        fs::permissions(top / "plain", fs::perms(0640));
        setxattr((top / "plain").c_str(), "user.note", "kept", 4, 0);  // where there are any
        for (const auto& entry : fs::recursive_directory_iterator(top)) {
            timespec times[] = {{1'500'000'000, 5}, {1'400'000'000, 123'456'789}};
            utimensat(AT_FDCWD, entry.path().c_str(), times, AT_SYMLINK_NOFOLLOW);
        }
    }
    // What a tree is, entry by entry.
    static std::map<std::string, std::string> describe(const fs::path& top) {
        std::map<std::string, std::string> result;
        std::map<ino_t, std::string> first;
        std::vector<fs::path> paths;
        for (const auto& entry : fs::recursive_directory_iterator(top)) paths.push_back(entry.path());
        std::ranges::sort(paths);
        for (const fs::path& path : paths) {
            struct stat stat = status_of(path);
            std::string name = path.lexically_relative(top).string();
            std::string& line = result[name];
            line = std::to_string(stat.st_mode) + " " + std::to_string(stat.st_uid) + " " +
                   std::to_string(stat.st_mtim.tv_sec) + "." + std::to_string(stat.st_mtim.tv_nsec);
            if (S_ISLNK(stat.st_mode)) line += " -> " + fs::read_symlink(path).string();
            if (!S_ISREG(stat.st_mode)) continue;
            line += " same as " + first.try_emplace(stat.st_ino, name).first->second;
            line += " " + std::to_string(std::hash<std::string>()(get(path)));
            line += stat.st_blocks < 2048 && stat.st_size > (8 << 20) ? " sparse" : " ";
            char value[16];
            ssize_t length = lgetxattr(path.c_str(), "user.note", value, sizeof value);
            if (length > 0) line += std::string(value, static_cast<size_t>(length));
        }
        return result;
    }

    fs::path base_;
    std::optional<Session> session_;
};

TEST_F(SessionAgentTest, Reads) {
    std::string big = noise(20'000'000);
    put(guest("small"), "hello");
    put(guest("empty"), "");
    put(guest("big"), big);
    EXPECT_EQ(read("/small"), "hello");
    EXPECT_EQ(read("/small", 1, 3), "ell");
    EXPECT_EQ(read("/small", 100), "");
    EXPECT_EQ(read("/empty"), "");
    EXPECT_EQ(read("/big"), big);
    EXPECT_EQ(session_->stat("/small").size, 5u);
    EXPECT_EQ(error_of([&] { read("/none"); }).kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error_of([&] { read("/no\nne"); }).message(), HasSubstr("no\\nne"));
    EXPECT_NE(error_of([&] { read("/"); }).kind(), ErrorKind::kEngine);
}

TEST_F(SessionAgentTest, Lists) {
    make_tree(guest("t"));
    EXPECT_THAT(list("/t"), ElementsAre("link", "nothing", "odd\n\xff name", "plain", "sparse", "sub"));
    EXPECT_THAT(list("/t/sub", true), ElementsAre("big", "dangling", "empty", "twin"));
    std::vector<std::string> all = list("/t", true);
    EXPECT_EQ(all.size(), 10u);
    EXPECT_EQ(all.back(), "sub/twin");
    EXPECT_EQ(session_->stat("/t/link").link_target, "plain");
    EXPECT_EQ(session_->stat("/t/link", true).size, 4u);
}

TEST_F(SessionAgentTest, Writes) {
    std::string big = noise(20'000'000);
    write("/new", "one");
    write("/new", " two", {.mode = WriteOptions::Mode::kAppend});
    write("/big", big);
    EXPECT_EQ(get(guest("new")), "one two");
    EXPECT_EQ(get(guest("big")), big);
    write("/new", "three", {.permissions = 0600});
    EXPECT_EQ(get(guest("new")), "three");
    EXPECT_EQ(status_of(guest("new")).st_mode & 07777u, 0600u);
    EXPECT_THAT(error_of([&] { write("/new", "x", {.mode = WriteOptions::Mode::kCreate}); }).message(),
                HasSubstr("exist"));
    write("/new", "four", {.mode = WriteOptions::Mode::kEdit, .backup_suffix = ".old"});
    EXPECT_EQ(get(guest("new")), "four");
    EXPECT_EQ(get(guest("new.old")), "three");
    EXPECT_EQ(status_of(guest("new")).st_mode & 07777u, 0600u);
}

TEST_F(SessionAgentTest, GoesOnAfterFailuresAndCancellations) {
    std::string big = noise(20'000'000);
    put(guest("big"), big);
    EXPECT_EQ(error_of([&] { write("/none/x", big); }).kind(), ErrorKind::kNotFound);
    struct Enough {};
    EXPECT_THROW(session_->read_file("/big", [](std::span<const std::byte>) { throw Enough(); }), Enough);
    int chunks = 0;
    EXPECT_THROW(session_->write_file("/half",
                                      [&](std::span<std::byte> out) -> size_t {
                                          if (++chunks == 30) throw Enough();
                                          return out.size();
                                      }),
                 Enough);
    EXPECT_FALSE(fs::exists(guest("half")));
    int entries = 0;
    fs::create_directories(guest("many"));
    for (int i = 0; i < 300; ++i) put(guest("many/" + std::to_string(i)), "");
    EXPECT_THROW(session_->list_directory("/many", false, true,
                                          [&](const DirectoryEntry&) {
                                              if (++entries == 10) throw Enough();
                                          }),
                 Enough);
    EXPECT_EQ(read("/big"), big);
    EXPECT_THAT(list("/"), ElementsAre("big", "many"));
}

TEST_F(SessionAgentTest, Changes) {
    session_->make_directory("/a/b/c", true, 0750);
    EXPECT_EQ(status_of(guest("a/b/c")).st_mode & 07777u, 0750u);
    put(guest("a/f"), "1");
    session_->rename("/a/f", "/a/b");
    EXPECT_EQ(get(guest("a/b/f")), "1");
    session_->chmod("/a/b", "u=rwx,go=", true);
    EXPECT_EQ(status_of(guest("a/b/f")).st_mode & 07777u, 0700u);
    if (geteuid() == 0) {
        session_->chown("/a/b/f", "12:34");
        EXPECT_EQ(status_of(guest("a/b/f")).st_gid, 34u);
    }
    session_->link("b/f", "/a/s", true);
    EXPECT_EQ(fs::read_symlink(guest("a/s")), "b/f");
    session_->link("/a/b/f", "/a/h");
    EXPECT_EQ(status_of(guest("a/h")).st_nlink, 2u);
    session_->touch("/a/t", {.time_ns = 1'000'000'000'000'000'007});
    EXPECT_EQ(status_of(guest("a/t")).st_mtim.tv_nsec, 7);
    session_->remove("/a", true);
    EXPECT_FALSE(fs::exists(guest("a")));
    session_->remove("/a", false, true);
    EXPECT_EQ(error_of([&] { session_->remove("/a"); }).kind(), ErrorKind::kNotFound);
}

TEST_F(SessionAgentTest, StaysInsideTheGuest) {
    put(base_ / "secret", "secret");
    fs::create_symlink(base_ / "secret", guest("link"));
    fs::create_symlink("../secret", guest("up"));
    EXPECT_EQ(error_of([&] { read("/link"); }).kind(), ErrorKind::kNotFound);
    EXPECT_EQ(error_of([&] { read("/up"); }).kind(), ErrorKind::kNotFound);
    EXPECT_EQ(error_of([&] { read("/../secret"); }).kind(), ErrorKind::kNotFound);
}

TEST_F(SessionAgentTest, CopiesTreesOut) {
    make_tree(guest("t"));
    std::vector<std::string> warnings;
    CopyOptions options;
    options.preserve_owner = geteuid() == 0;
    options.on_warning = [&](const std::string& message) { warnings.push_back(message); };
    session_->copy_out("/t", (base_ / "out").string(), options);
    EXPECT_EQ(describe(base_ / "out/t"), describe(guest("t")));
    EXPECT_TRUE(warnings.empty());
    // And again, over what is there.
    session_->copy_out("/t/", (base_ / "out").string(), options);
    EXPECT_EQ(describe(base_ / "out/t"), describe(guest("t")));
    session_->copy_out("/t/plain", (base_ / "out").string());
    EXPECT_EQ(get(base_ / "out/plain"), "text");
    session_->copy_out("/t/link", (base_ / "out").string());
    EXPECT_EQ(fs::read_symlink(base_ / "out/link"), "plain");
    EXPECT_EQ(error_of([&] { session_->copy_out("/none", (base_ / "out").string()); }).kind(),
              ErrorKind::kNotFound);
    EXPECT_EQ(error_of([&] { session_->copy_out("/t", (base_ / "none").string()); }).kind(),
              ErrorKind::kNotFound);
}

TEST_F(SessionAgentTest, CopiesTreesIn) {
    make_tree(base_ / "host/t");
    std::vector<std::string> warnings;
    CopyOptions options;
    options.on_warning = [&](const std::string& message) { warnings.push_back(message); };
    fs::create_directory(guest("into"));
    session_->copy_in((base_ / "host/t").string(), "/into", options);
    EXPECT_EQ(describe(guest("into/t")), describe(base_ / "host/t"));
    EXPECT_TRUE(warnings.empty());
    session_->copy_in((base_ / "host/t/../t/plain").string(), "/into");
    EXPECT_EQ(get(guest("into/plain")), "text");
    session_->copy_in((base_ / "host/t/sub/.").string(), "/into");
    EXPECT_TRUE(fs::is_directory(guest("into/sub/empty")));
    EXPECT_EQ(error_of([&] { session_->copy_in((base_ / "none").string(), "/into"); }).kind(),
              ErrorKind::kNotFound);
    EXPECT_EQ(error_of([&] { session_->copy_in((base_ / "host/t").string(), "/none"); }).kind(),
              ErrorKind::kNotFound);
    EXPECT_EQ(error_of([&] { session_->copy_in("/", "/into"); }).kind(), ErrorKind::kUsage);
}

TEST_F(SessionAgentTest, LeavesSocketsOutOfACopy) {
    fs::create_directory(base_ / "host/t");
    Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string path = (base_ / "host/t/socket").string();
    ASSERT_LT(path.size(), sizeof address.sun_path);
    std::copy(path.begin(), path.end(), address.sun_path);
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    put(base_ / "host/t/z", "1");
    session_->copy_in((base_ / "host/t").string(), "/");
    EXPECT_THAT(list("/t"), ElementsAre("z"));
    EXPECT_THAT(session_->take_warnings(), ElementsAre(HasSubstr("socket")));
}

TEST_F(SessionAgentTest, NamesTheHostsFileThatCannotBeRead) {
    if (geteuid() == 0) GTEST_SKIP() << "root can read everything";
    fs::create_directory(base_ / "host/t");
    put(base_ / "host/t/mine", "1");
    fs::permissions(base_ / "host/t/mine", fs::perms(0));
    Error error = error_of([&] { session_->copy_in((base_ / "host/t").string(), "/"); });
    EXPECT_EQ(error.kind(), ErrorKind::kDenied);
    EXPECT_THAT(error.message(), HasSubstr("host/t/mine"));
}

TEST_F(SessionAgentTest, KeepsTheFilesThatChangeUnderACopyWhole) {
    // A file that shrinks while it is being read is an error and not half a file in the guest.
    fs::create_directory(base_ / "host/t");
    put(base_ / "host/t/shrinks", noise(30'000'000));
    fs::path path = base_ / "host/t/shrinks";
    CopyOptions options;
    std::jthread shrinker;
    options.on_entry = [&](const std::string& entry) {
        if (entry != "t") return;
        shrinker = std::jthread([path] {
            std::this_thread::sleep_for(std::chrono::milliseconds(3));
            fs::resize_file(path, 10);
        });
    };
    try {
        session_->copy_in((base_ / "host/t").string(), "/", options);
        EXPECT_EQ(fs::file_size(guest("t/shrinks")), fs::file_size(path));
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kBusy);
        EXPECT_THAT(error.message(), HasSubstr("shrinks"));
        EXPECT_FALSE(fs::exists(guest("t/shrinks")));
    }
}

TEST_F(SessionAgentTest, DrawsRandomBytes) {
    EXPECT_EQ(session_->random_bytes(16).size(), 16u);
    EXPECT_NE(session_->random_bytes(16), session_->random_bytes(16));
    session_->ping();
    EXPECT_FALSE(session_->commit());
}

// ---- programs, run on this host

struct Ran {
    RunResult result;
    std::string output;
    std::string errors;
};

class SessionRunTest : public SessionAgentTest {
  protected:
    Ran run_with(RunOptions options) {
        Ran ran;
        auto append = [](std::string& text) {
            return [&text](std::span<const std::byte> bytes) {
                text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            };
        };
        options.on_output = append(ran.output);
        options.on_error_output = append(ran.errors);
        ran.result = session_->run(options);
        return ran;
    }
    Ran run(std::vector<std::string> arguments) { return run_with({.arguments = std::move(arguments)}); }
    // An input that gives this text.
    static std::function<std::optional<size_t>(std::span<std::byte>)> text_input(std::string text) {
        return [text, at = size_t{0}](std::span<std::byte> buffer) mutable -> std::optional<size_t> {
            size_t count = std::min(buffer.size(), text.size() - at);
            std::memcpy(buffer.data(), text.data() + at, count);
            at += count;
            return count;
        };
    }
};

TEST_F(SessionRunTest, KeepsOutputAndErrorsApart) {
    Ran ran = run({"sh", "-c", "echo one; echo two >&2; echo three; exit 3"});
    EXPECT_EQ(ran.output, "one\nthree\n");
    EXPECT_EQ(ran.errors, "two\n");
    EXPECT_EQ(ran.result.exit_status, 3);
    EXPECT_FALSE(ran.result.succeeded());
    EXPECT_EQ(ran.result.signal, 0);
    EXPECT_TRUE(run({"true"}).result.succeeded());
    EXPECT_EQ(run({"sh", "-c", "kill -USR1 $$"}).result.signal, SIGUSR1);
    EXPECT_EQ(run({"cat"}).output, "") << "without an input there is none";
}

TEST_F(SessionRunTest, GivesEnvironmentAndDirectory) {
    Ran ran = run_with({.arguments = {"sh", "-c", "echo \"$INSP_TEST $PWD\""},
                        .environment = {"INSP_TEST=first", "INSP_TEST=a b"},
                        .directory = "/proc"});
    EXPECT_EQ(ran.output, "a b /proc\n");
    EXPECT_THROW(run_with({.arguments = {"true"}, .environment = {"nothing"}}), Error);
    EXPECT_THROW(run_with({.arguments = {}}), Error);
    EXPECT_THROW(run_with({.arguments = {std::string("a\0b", 3)}}), Error);
}

TEST_F(SessionRunTest, SaysWhatCannotBeStarted) {
    Ran missing = run({"insp-there-is-no-such-program"});
    EXPECT_EQ(missing.result.exit_status, 127);
    EXPECT_THAT(missing.result.not_started, HasSubstr("insp-there-is-no-such-program"));
    Ran directory = run({"/proc"});
    EXPECT_EQ(directory.result.exit_status, 126);
    EXPECT_THAT(directory.result.not_started, HasSubstr("/proc"));
    Ran nowhere = run_with({.arguments = {"true"}, .directory = "/nowhere"});
    EXPECT_THAT(nowhere.result.not_started, HasSubstr("/nowhere"));
    session_->ping();
}

TEST_F(SessionRunTest, PassesInputAndOutputAtTheSameTime) {
    // More than all buffers and credits between us and the program together.
    const std::string text = noise(20'000'000);
    Ran ran = run_with({.arguments = {"cat"}, .input = text_input(text)});
    EXPECT_TRUE(ran.output == text);
    EXPECT_TRUE(ran.result.succeeded());
}

TEST_F(SessionRunTest, DropsInputThatNobodyReads) {
    Ran ran =
        run_with({.arguments = {"sh", "-c", "exec <&-; echo closed"}, .input = text_input(noise(9'000'000))});
    EXPECT_EQ(ran.output, "closed\n");
    EXPECT_EQ(run_with({.arguments = {"true"}, .input = text_input(noise(9'000'000))}).result.exit_status, 0);
    session_->ping();
}

// A port of 127.0.0.1 where nobody listens.
uint16_t free_port() {
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    return ntohs(address.sin_port);
}

TEST_F(SessionRunTest, ForwardsConnectionsToAService) {
    // Gives back what it gets.
    std::vector<std::thread> services;
    const auto connect = [&] {
        auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
        services.emplace_back([socket = std::move(ours)] {
            std::vector<char> buffer(100'000);
            for (ssize_t n; (n = ::recv(socket.get(), buffer.data(), buffer.size(), 0)) > 0;)
                write_full(socket.get(), std::as_bytes(std::span(buffer)).first(static_cast<size_t>(n)),
                           "echo");
            ::shutdown(socket.get(), SHUT_WR);
        });
        return theirs.release();
    };
    const uint16_t port = free_port();
    const std::string client = "c() { exec 3<>/dev/tcp/127.0.0.1/" + std::to_string(port) +
                               "; head -c $1 /dev/zero >&3 & head -c $1 <&3 | wc -c; }; "
                               "c 3000000 & c 5 & c 1000000 & wait; echo done >&2";
    Ran ran =
        run_with({.arguments = {"bash", "-c", client}, .service_port = port, .connect_service = connect});
    for (std::thread& service : services) service.join();
    EXPECT_EQ(services.size(), 3U);
    for (const char* count : {"3000000\n", "1000000\n", "5\n"}) EXPECT_THAT(ran.output, HasSubstr(count));
    EXPECT_EQ(ran.errors, "done\n");
    Ran again = run_with(
        {.arguments = {"bash", "-c",
                       "exec 3<>/dev/tcp/127.0.0.1/" + std::to_string(port) + "; cat <&3; echo ended"},
         .service_port = port,
         .connect_service = [] { return -1; }});
    EXPECT_THAT(again.output, HasSubstr("ended"));
    EXPECT_THROW(run_with({.arguments = {"true"}, .service_port = port}), Error);
    EXPECT_THROW(
        run_with(
            {.arguments = {"true"}, .input = text_input(""), .service_port = 1, .connect_service = connect}),
        Error);
    session_->ping();
}

TEST_F(SessionRunTest, DoesNotWaitForInputWhenTheProgramIsOver) {
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    Fd read_end(fds[0]), write_end(fds[1]);
    auto never = [](std::span<std::byte>) -> std::optional<size_t> {
        ADD_FAILURE() << "nothing is there to read";
        return 0;
    };
    Ran ran = run_with({.arguments = {"echo", "done"}, .input = never, .input_ready_fd = read_end.get()});
    EXPECT_EQ(ran.output, "done\n");
}

TEST_F(SessionRunTest, EndsWhatAHandlerGivesUp) {
    RunOptions options{.arguments = {"sh", "-c", "echo x; exec sleep 1000"}};
    options.on_output = [](std::span<const std::byte>) { throw Error(ErrorKind::kNoSpace, "no room"); };
    EXPECT_THAT(error_of([&] { session_->run(options); }).message(), HasSubstr("no room"));
    EXPECT_EQ(run({"echo", "still here"}).output, "still here\n");
}

TEST_F(SessionRunTest, GivesATerminal) {
    TerminalSize size{30, 100};
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    Fd read_end(fds[0]), write_end(fds[1]);
    std::string output;
    const RunResult result = session_->run(
        {.arguments = {"sh", "-c", "stty size; read a; stty size; test -t 2 && echo tty; exit 5"},
         .input = [&](std::span<std::byte> buffer) -> std::optional<size_t> {
             return static_cast<size_t>(::read(read_end.get(), buffer.data(), 3));
         },
         .input_ready_fd = read_end.get(),
         .on_output =
             [&](std::span<const std::byte> bytes) {
                 output.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                 // The window grows, and something is typed.
                 if (size.rows == 40 || output.find("30 100\r\n") == std::string::npos) return;
                 size = {40, 120};
                 EXPECT_EQ(::write(write_end.get(), "go\n", 3), 3);
             },
         .terminal = [&] { return size; }});
    EXPECT_THAT(output, AllOf(HasSubstr("30 100\r\n"), HasSubstr("40 120\r\n"), HasSubstr("tty\r\n")));
    EXPECT_EQ(result.exit_status, 5);
}

}  // namespace
}  // namespace inspect
