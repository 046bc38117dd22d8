// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TreeServer between a kernel and an agent that are both played here, so that what happens between a request
// and its answer can be said exactly. libfuse's functions that it replies by are defined below.
#include "fuse/tree_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "guest/fake_agent_for_test.h"

using inspect::fuse::TreeServer;

// A request of the kernel's.
struct fuse_req {
    TreeServer* server = nullptr;
    int replies = 0;
    int error = 0;
    fuse_entry_param entry = {};
    std::string data = {};
    std::vector<std::pair<std::string, fuse_entry_param>> entries = {};
};

namespace {
std::vector<uint64_t> invalidated;

int answer(fuse_req_t req, int error = 0) {
    ++req->replies;
    req->error = error;
    return 0;
}
}  // namespace

extern "C" {

void* fuse_req_userdata(fuse_req_t req) { return req->server; }
const fuse_ctx* fuse_req_ctx(fuse_req_t) {
    static const fuse_ctx context{.uid = 0, .gid = 0, .pid = 1, .umask = 022};
    return &context;
}
int fuse_reply_err(fuse_req_t req, int error) { return answer(req, error); }
void fuse_reply_none(fuse_req_t req) { answer(req); }
int fuse_reply_entry(fuse_req_t req, const fuse_entry_param* entry) {
    req->entry = *entry;
    return answer(req);
}
int fuse_reply_create(fuse_req_t req, const fuse_entry_param* entry, const fuse_file_info*) {
    req->entry = *entry;
    return answer(req);
}
int fuse_reply_attr(fuse_req_t req, const struct stat* st, double) {
    req->entry.attr = *st;
    return answer(req);
}
int fuse_reply_readlink(fuse_req_t req, const char* target) {
    req->data = target;
    return answer(req);
}
int fuse_reply_open(fuse_req_t req, const fuse_file_info*) { return answer(req); }
int fuse_reply_write(fuse_req_t req, size_t) { return answer(req); }
int fuse_reply_buf(fuse_req_t req, const char* bytes, size_t size) {
    req->data.assign(bytes, size);
    return answer(req);
}
int fuse_reply_iov(fuse_req_t req, const iovec* pieces, int count) {
    for (int i = 0; i < count; ++i)
        req->data.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
    return answer(req);
}
int fuse_reply_statfs(fuse_req_t req, const struct statvfs*) { return answer(req); }
int fuse_reply_xattr(fuse_req_t req, size_t) { return answer(req); }
int fuse_reply_lseek(fuse_req_t req, off_t) { return answer(req); }
size_t fuse_add_direntry(fuse_req_t req, char* buffer, size_t, const char* name, const struct stat* st,
                         off_t) {
    if (!buffer) return 100;  // what it would take
    fuse_entry_param entry{};
    entry.attr = *st;
    req->entries.emplace_back(name, entry);
    return 100;
}
size_t fuse_add_direntry_plus(fuse_req_t req, char* buffer, size_t, const char* name,
                              const fuse_entry_param* entry, off_t) {
    if (buffer) req->entries.push_back({name, *entry});
    return 100;
}
int fuse_lowlevel_notify_inval_inode(fuse_session*, fuse_ino_t node, off_t offset, off_t) {
    EXPECT_LT(offset, 0) << "pages would be waited for";
    invalidated.push_back(node);
    return 0;
}

}  // extern "C"

namespace inspect::fuse {
namespace {

using testing::ElementsAre;

constexpr uint64_t kDevice = 1;
constexpr uint64_t kCaseless = 2;

NodeStat directory_stat() {
    NodeStat stat;
    stat.device = kDevice;
    stat.inode = 2;
    stat.attributes.st_mode = S_IFDIR | 0755;
    return stat;
}

proto::FileStat wire_stat(uint64_t inode, uint32_t mode = S_IFREG | 0644, uint32_t links = 1,
                          uint64_t size = 0) {
    proto::FileStat stat;
    stat.set_device(kDevice);
    stat.set_inode(inode);
    stat.set_mode(mode);
    stat.set_links(links);
    stat.set_size(size);
    return stat;
}

proto::Response failure(int errnum, proto::ErrorKind kind = proto::NOT_FOUND) {
    proto::Response response;
    response.mutable_failure()->set_kind(kind);
    response.mutable_failure()->set_errnum(static_cast<uint32_t>(errnum));
    return response;
}

class TreeServerTest : public testing::Test {
  protected:
    TreeServerTest() { invalidated.clear(); }
    ~TreeServerTest() override { pipeline_.break_off(); }

    const fuse_lowlevel_ops& ops = TreeServer::operations();

    fuse_req& request() { return requests_.emplace_back(fuse_req{.server = &server}); }
    void send() {
        server.tidy_up();
        pipeline_.send();
    }
    // The oldest request that the agent has and has not answered yet.
    const proto::Request& asked() {
        send();
        skip_closes();
        static const proto::Request none;
        return asked_.empty() ? none : asked_.front().second;
    }
    void reply(const proto::Response& response, const std::string& data = "") {
        asked();
        ASSERT_FALSE(asked_.empty());
        if (!data.empty()) channel_.reply(protocol::FrameType::kData, asked_.front().first, data);
        channel_.reply(asked_.front().first, response);
        asked_.pop_front();
        pipeline_.receive();
        send();
    }
    void reply(const proto::FileStat& stat) {
        proto::Response response;
        *response.mutable_stat() = stat;
        reply(response);
    }
    void reply_list(const std::vector<std::pair<std::string, proto::FileStat>>& entries) {
        asked();
        ASSERT_TRUE(asked_.front().second.has_tree_list());
        proto::Item item;
        int64_t next = 0;
        for (const auto& [name, stat] : entries) {
            proto::TreeNode& node = *item.mutable_tree_nodes()->add_nodes();
            node.set_name(name);
            node.set_next(++next);
            *node.mutable_stat() = stat;
        }
        channel_.reply(asked_.front().first, item);
        proto::Response response;
        response.set_at_end(true);
        reply(response);
    }
    // The node id.
    uint64_t look_up(const std::string& name, const proto::FileStat& stat, uint64_t parent = kRootId) {
        fuse_req& req = request();
        ops.lookup(&req, parent, name.c_str());
        reply(stat);
        EXPECT_EQ(req.error, 0);
        return req.entry.ino;
    }
    int open(uint64_t node) {
        fuse_req& req = request();
        fuse_file_info info{};
        info.flags = O_RDWR;
        ops.open(&req, node, &info);
        EXPECT_EQ(req.replies, 1);
        return req.error;
    }
    fuse_req& read_directory(fuse_file_info& info, size_t size, off_t offset = 0) {
        if (info.fh == 0) ops.opendir(&request(), kRootId, &info);
        fuse_req& req = request();
        ops.readdirplus(&req, kRootId, size, offset, &info);
        return req;
    }

  private:
    void skip_closes() {
        while (!asked_.empty() && asked_.front().second.has_tree_close()) {
            channel_.reply(asked_.front().first, proto::Response());
            asked_.pop_front();
            pipeline_.receive();
            send();
        }
    }

    std::deque<std::pair<uint32_t, proto::Request>> asked_;
    std::deque<fuse_req> requests_;
    FakeChannel channel_{[this](FakeChannel&, const protocol::Frame& frame) {
        proto::Request request;
        ASSERT_TRUE(request.ParseFromArray(frame.payload.data(), static_cast<int>(frame.payload.size())));
        asked_.emplace_back(frame.stream, std::move(request));
    }};
    Pipeline pipeline_{channel_, 1};

  protected:
    TreeServer server{pipeline_, {.writable = true, .caseless = {kCaseless}}, directory_stat()};
};

// A kernel that hears ESTALE looks the name up again, and that comes behind the removal.
TEST_F(TreeServerTest, WhatIsBeingRemovedIsNotOpened) {
    const uint64_t file = look_up("file", wire_stat(10));
    fuse_req& unlink = request();
    ops.unlink(&unlink, kRootId, "file");
    EXPECT_TRUE(asked().has_tree_remove());
    EXPECT_EQ(open(file), ESTALE);
    reply(failure(EPERM));
    EXPECT_EQ(unlink.error, EPERM);
    EXPECT_EQ(open(file), 0) << "it is still there";

    const uint64_t victim = look_up("victim", wire_stat(11));
    look_up("other", wire_stat(12));
    fuse_req& rename = request();
    ops.rename(&rename, kRootId, "other", kRootId, "victim", 0);
    EXPECT_TRUE(asked().has_tree_rename());
    EXPECT_EQ(open(victim), ESTALE);
    reply(proto::Response());
    EXPECT_EQ(rename.error, 0);
    EXPECT_EQ(open(victim), ESTALE);
}

TEST_F(TreeServerTest, AnOldListingSaysNothingOfWhatHasChangedSince) {
    const uint64_t file = look_up("file", wire_stat(10));
    fuse_file_info info{};
    fuse_req& first = read_directory(info, 100);
    reply_list({{"other", wire_stat(20)}, {"file", wire_stat(10)}, {"third", wire_stat(30)}});
    EXPECT_EQ(first.entries.size(), 1u);
    const uint64_t directory = look_up("directory", wire_stat(40, S_IFDIR | 0755, 2));
    ops.link(&request(), file, directory, "second-name");
    reply(wire_stat(10, S_IFREG | 0644, 2));
    // The rest of the listing says that the file has one name.
    fuse_req& rest = read_directory(info, 1000, 1);
    ASSERT_EQ(rest.entries.size(), 2u);
    EXPECT_EQ(rest.entries[0].second.ino, 0u);

    ops.unlink(&request(), directory, "second-name");
    EXPECT_TRUE(asked().has_tree_remove());
    reply(proto::Response());
    EXPECT_EQ(open(file), 0);
    fuse_req& read = request();
    ops.read(&read, file, 4096, 0, nullptr);
    EXPECT_EQ(asked().tree_read().place().path(), "file");
    reply(proto::Response(), "contents");
    EXPECT_EQ(read.data, "contents");
    ops.releasedir(&request(), kRootId, &info);
}

TEST_F(TreeServerTest, AnAclMayHaveChangedTheMode) {
    char session;
    server.set_session(reinterpret_cast<fuse_session*>(&session));
    const uint64_t file = look_up("file", wire_stat(10));
    fuse_req& other = request();
    ops.setxattr(&other, file, "user.key", "x", 1, 0);
    reply(proto::Response());
    EXPECT_EQ(other.replies, 1);
    EXPECT_THAT(invalidated, ElementsAre());
    fuse_req& set = request();
    ops.setxattr(&set, file, "system.posix_acl_access", "x", 1, 0);
    reply(proto::Response());
    EXPECT_EQ(set.replies, 1);
    EXPECT_THAT(invalidated, ElementsAre(file));
    ops.removexattr(&request(), file, "system.posix_acl_access");
    reply(proto::Response());
    EXPECT_THAT(invalidated, ElementsAre(file, file));
}

TEST_F(TreeServerTest, OneDamagedBlockIsOneErrorAndNoMore) {
    const uint64_t file = look_up("file", wire_stat(10, S_IFREG | 0644, 1, 1 << 20));
    fuse_req& good = request();
    ops.read(&good, file, 4096, 65536, nullptr);
    EXPECT_GT(asked().tree_read().length(), 4096u) << "what is around it comes along";
    reply(failure(EIO, proto::CORRUPT));
    EXPECT_EQ(good.replies, 0);
    EXPECT_EQ(asked().tree_read().offset(), 65536u);
    EXPECT_EQ(asked().tree_read().length(), 4096u);
    reply(proto::Response(), std::string(4096, 'x'));
    EXPECT_EQ(good.data, std::string(4096, 'x'));
    fuse_req& bad = request();
    ops.read(&bad, file, 4096, 69632, nullptr);
    reply(failure(EIO, proto::CORRUPT));
    reply(failure(EIO, proto::CORRUPT));
    EXPECT_EQ(bad.error, EIO);
}

TEST_F(TreeServerTest, TheErrorOfAnOpenIsThatOfWhatWasSentBehindIt) {
    const uint64_t directory = look_up("directory", wire_stat(10, S_IFDIR | 0755, 2));
    fuse_req& first = request();
    fuse_req& second = request();
    ops.lookup(&first, directory, "a");
    ops.lookup(&second, directory, "b");
    EXPECT_NE(asked().tree_lookup().directory().keep(), 0u);
    reply(failure(EIO, proto::CORRUPT));
    EXPECT_EQ(asked().tree_lookup().directory().path(), "");
    reply(failure(EBADF, proto::USAGE));
    EXPECT_EQ(first.error, EIO);
    EXPECT_EQ(second.error, EIO);
}

TEST_F(TreeServerTest, FileSystemsWithoutCase) {
    auto caseless = [](uint64_t inode, uint32_t mode = S_IFREG | 0644) {
        proto::FileStat stat = wire_stat(inode, mode);
        stat.set_device(kCaseless);
        return stat;
    };
    const uint64_t top = look_up("boot", caseless(1, S_IFDIR | 0755));
    // A missing name may be there a moment later, in another spelling.
    fuse_req& missing = request();
    ops.lookup(&missing, top, "FILE");
    reply(failure(ENOENT));
    EXPECT_EQ(missing.error, 0);
    EXPECT_EQ(missing.entry.ino, 0u);
    EXPECT_EQ(missing.entry.entry_timeout, 0);
    fuse_req& elsewhere = request();
    ops.lookup(&elsewhere, kRootId, "FILE");
    reply(failure(ENOENT));
    EXPECT_GT(elsewhere.entry.entry_timeout, 0);
    // Another inode number is no other file.
    const uint64_t file = look_up("file", caseless(10), top);
    EXPECT_EQ(look_up("file", caseless(11), top), file);
    // Unlinked by one of two spellings while it is open, it is kept.
    EXPECT_EQ(look_up("FILE", caseless(11), top), file);
    EXPECT_EQ(open(file), 0);
    ops.unlink(&request(), top, "file");
    EXPECT_NE(asked().tree_remove().keep(), 0u);
    reply(proto::Response());
    ops.getattr(&request(), file, nullptr);
    EXPECT_NE(asked().tree_stat().place().slot(), 0u);
    EXPECT_EQ(asked().tree_stat().place().path(), "");
}

TEST_F(TreeServerTest, SlotsAreLeftForWhatIsOnItsWay) {
    auto unlink_open = [&](size_t i) {
        const std::string name = "file" + std::to_string(i);
        EXPECT_EQ(open(look_up(name, wire_stat(100 + i))), 0);
        fuse_req& req = request();
        ops.unlink(&req, kRootId, name.c_str());
        if (asked().has_tree_remove()) reply(proto::Response());
        EXPECT_EQ(req.replies, 1);
        return req.error;
    };
    for (size_t i = 0; i < NodeTable::kMostPins; ++i) ASSERT_EQ(unlink_open(i), 0) << i;
    EXPECT_EQ(unlink_open(NodeTable::kMostPins), ENFILE);
}

TEST_F(TreeServerTest, DotsHaveTheNumbersOfTheirDirectories) {
    const uint64_t directory = look_up("directory", wire_stat(10, S_IFDIR | 0755, 2));
    fuse_file_info info{};
    ops.opendir(&request(), directory, &info);
    fuse_req& req = request();
    ops.readdir(&req, directory, 1000, 0, &info);
    proto::FileStat dot;  // as the agent tells them
    dot.set_inode(10);
    dot.set_mode(S_IFDIR);
    proto::FileStat above = dot;
    above.set_inode(77);
    reply_list({{".", dot}, {"..", above}});
    ASSERT_EQ(req.entries.size(), 2u);
    EXPECT_EQ(req.entries[0].second.attr.st_ino, 10u);
    EXPECT_EQ(req.entries[1].second.attr.st_ino, 2u);
    ops.releasedir(&request(), directory, &info);
}

TEST_F(TreeServerTest, AFileSystemWithoutBlocksIsNone) {
    fuse_req& req = request();
    ops.statfs(&req, kRootId);
    proto::Response response;
    response.mutable_filesystem_stat()->set_blocks(100);
    reply(response);
    EXPECT_EQ(req.error, EIO);
}

}  // namespace
}  // namespace inspect::fuse
