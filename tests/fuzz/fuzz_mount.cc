// SPDX-License-Identifier: GPL-2.0-or-later
//
// The appliance against a mount: the input is what the host's kernel asks and what the agent answers.
// Whatever that is, each request of the kernel is replied to once, and with nothing that its FUSE would not
// take. libfuse's side is played here: the functions that TreeServer replies by are defined below.
#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>
#include <fuzzer/FuzzedDataProvider.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "fuse/tree_server.h"
#include "guest/fake_agent_for_test.h"

using inspect::fuse::NodeStat;
using inspect::fuse::TreeServer;
using inspect::fuse::TreeServerOptions;

#define REQUIRE(condition) \
    if (!(condition)) std::abort()

// A request of the kernel's.
struct fuse_req {
    TreeServer* server;
    unsigned replies = 0;
    std::vector<uint64_t>* known;  // nodes that were told, for later requests
    std::vector<fuse_file_info>* open;
};

namespace {

int answer(fuse_req_t req) {
    ++req->replies;
    REQUIRE(req->replies == 1);
    return 0;
}

void require_sane(const struct stat& st) {
    constexpr unsigned kFormats[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR, S_IFBLK, S_IFSOCK};
    bool known = false;
    for (unsigned format : kFormats) known = known || (st.st_mode & S_IFMT) == format;
    REQUIRE(known);
    REQUIRE(st.st_size >= 0);
    REQUIRE(st.st_atim.tv_nsec >= 0 && st.st_atim.tv_nsec < 1'000'000'000);
    REQUIRE(st.st_mtim.tv_nsec >= 0 && st.st_mtim.tv_nsec < 1'000'000'000);
    REQUIRE(st.st_ctim.tv_nsec >= 0 && st.st_ctim.tv_nsec < 1'000'000'000);
}

void learn(fuse_req_t req, const fuse_entry_param& entry) {
    if (entry.ino == 0) return;  // there is no such name
    require_sane(entry.attr);
    req->known->push_back(entry.ino);
}

}  // namespace

extern "C" {

void* fuse_req_userdata(fuse_req_t req) { return req->server; }
const fuse_ctx* fuse_req_ctx(fuse_req_t) {
    static const fuse_ctx context{.uid = 1000, .gid = 1000, .pid = 1, .umask = 022};
    return &context;
}
int fuse_reply_err(fuse_req_t req, int error) {
    REQUIRE(error >= 0 && error < 4096);
    return answer(req);
}
void fuse_reply_none(fuse_req_t req) { answer(req); }
int fuse_reply_entry(fuse_req_t req, const fuse_entry_param* entry) {
    learn(req, *entry);
    return answer(req);
}
int fuse_reply_create(fuse_req_t req, const fuse_entry_param* entry, const fuse_file_info* info) {
    learn(req, *entry);
    req->open->push_back(*info);
    return answer(req);
}
int fuse_reply_attr(fuse_req_t req, const struct stat* st, double) {
    require_sane(*st);
    return answer(req);
}
int fuse_reply_readlink(fuse_req_t req, const char* target) {
    REQUIRE(std::strlen(target) < 4096);
    return answer(req);
}
int fuse_reply_open(fuse_req_t req, const fuse_file_info* info) {
    req->open->push_back(*info);
    return answer(req);
}
int fuse_reply_write(fuse_req_t req, size_t) { return answer(req); }
int fuse_reply_buf(fuse_req_t req, const char* bytes, size_t size) {
    REQUIRE(size <= 1 << 20);
    unsigned char sum = 0;  // all of it can be read
    for (size_t i = 0; i < size; ++i)
        sum = static_cast<unsigned char>(sum ^ static_cast<unsigned char>(bytes[i]));
    [[maybe_unused]] volatile unsigned char kept = sum;
    return answer(req);
}
int fuse_reply_iov(fuse_req_t req, const iovec* pieces, int count) {
    size_t size = 0;
    for (int i = 0; i < count; ++i) size += pieces[i].iov_len;
    REQUIRE(size <= 1 << 20);
    return answer(req);
}
int fuse_reply_statfs(fuse_req_t req, const struct statvfs*) { return answer(req); }
int fuse_reply_xattr(fuse_req_t req, size_t) { return answer(req); }
int fuse_reply_lseek(fuse_req_t req, off_t offset) {
    REQUIRE(offset >= 0);
    return answer(req);
}
int fuse_lowlevel_notify_inval_inode(fuse_session*, fuse_ino_t, off_t, off_t) { return 0; }
// What libfuse does: the size that is needed, and the entry where there is room for it.
static size_t add_entry(char* buffer, size_t room, const char* name, size_t fixed) {
    const size_t length = std::strlen(name);
    REQUIRE(length > 0 && length <= 1024 && !std::memchr(name, '/', length));
    const size_t size = (fixed + length + 7) & ~size_t{7};
    if (size <= room && buffer) std::memset(buffer, 0, size);
    return size;
}
size_t fuse_add_direntry(fuse_req_t, char* buffer, size_t room, const char* name, const struct stat*, off_t) {
    return add_entry(buffer, room, name, 24);
}
size_t fuse_add_direntry_plus(fuse_req_t req, char* buffer, size_t room, const char* name,
                              const fuse_entry_param* entry, off_t) {
    const size_t size = add_entry(buffer, room, name, 152);
    if (size <= room && std::strcmp(name, ".") != 0 && std::strcmp(name, "..") != 0) learn(req, *entry);
    return size;
}

}  // extern "C"

namespace {

class Player {
  public:
    Player(const uint8_t* data, size_t size) : input_(data, size) {}

    void play() {
        inspect::FakeChannel channel(
            [this](inspect::FakeChannel& self, const inspect::protocol::Frame& frame) {
                answer_as_agent(self, frame);
            });
        inspect::Pipeline pipeline(channel, 3);
        NodeStat root;
        root.device = root.inode = 1;
        root.attributes.st_mode = S_IFDIR | 0755;
        const uint8_t kind = input_.ConsumeIntegral<uint8_t>();
        TreeServer server(pipeline,
                          TreeServerOptions{.writable = (kind & 1) != 0,
                                            .durable = (kind & 2) != 0,
                                            .check_permissions = (kind & 4) != 0},
                          root);
        fuse_conn_info connection{};
        connection.capable = kind & 8 ? ~0U : 0U;
        TreeServer::operations().init(&server, &connection);
        for (int i = 0; i < 200 && input_.remaining_bytes() > 0; ++i) {
            ask(server);
            if (input_.ConsumeIntegral<uint8_t>() % 4 != 0) exchange(server, pipeline, channel);
        }
        while (!pipeline.idle() && !pipeline.is_broken()) exchange(server, pipeline, channel);
        // What was asked on the way to the end.
        for (int i = 0; i < 100 && !pipeline.idle(); ++i) pipeline.break_off();
        // The kernel releases a directory when nothing of it is under way.
        for (fuse_file_info& info : open_) {
            if (info.fh != 0) TreeServer::operations().releasedir(request(server), 1, &info);
        }
        for (const fuse_req& request : requests_) REQUIRE(request.replies == 1);
    }

  private:
    void exchange(TreeServer& server, inspect::Pipeline& pipeline, inspect::FakeChannel& channel) {
        try {
            server.tidy_up();
            pipeline.send();
            while (channel.readable()) pipeline.receive();
            if (!pipeline.idle() && input_.remaining_bytes() == 0) pipeline.break_off();
        } catch (const inspect::Error&) {
            pipeline.break_off();  // as MountLoop does
        }
    }

    uint64_t node() {
        const uint8_t which = input_.ConsumeIntegral<uint8_t>();
        return which == 0 || known_.empty() ? 1 : known_[which % known_.size()];
    }
    std::string name() {
        static constexpr const char* kNames[] = {"a", "b", "dir", "file", "link", "long name"};
        return kNames[input_.ConsumeIntegral<uint8_t>() % std::size(kNames)];
    }
    fuse_file_info* file() {
        static fuse_file_info none{};
        if (open_.empty()) return &none;
        return &open_[input_.ConsumeIntegral<uint8_t>() % open_.size()];
    }
    fuse_req_t request(TreeServer& server) {
        requests_.push_back({&server, 0, &known_, &open_});
        return &requests_.back();
    }

    void ask(TreeServer& server) {
        const fuse_lowlevel_ops& ops = TreeServer::operations();
        const std::string one = name();
        const std::string other = name();
        fuse_file_info info{};
        info.flags = input_.ConsumeBool() ? O_RDWR : O_RDONLY;
        struct stat st {};
        st.st_size = input_.ConsumeIntegral<uint16_t>();
        const size_t size = input_.ConsumeIntegral<uint16_t>();
        const off_t offset = input_.ConsumeIntegral<uint32_t>();
        const fuse_req_t req = request(server);
        switch (input_.ConsumeIntegral<uint8_t>() % 24) {
            case 0:
                return ops.lookup(req, node(), one.c_str());
            case 1:
                return ops.getattr(req, node(), nullptr);
            case 2:
                return ops.setattr(req, node(), &st, FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MODE, nullptr);
            case 3:
                return ops.readlink(req, node());
            case 4:
                return ops.mknod(req, node(), one.c_str(), S_IFREG | 0644, 0);
            case 5:
                return ops.mkdir(req, node(), one.c_str(), 0755);
            case 6:
                return ops.unlink(req, node(), one.c_str());
            case 7:
                return ops.rmdir(req, node(), one.c_str());
            case 8:
                return ops.symlink(req, "target", node(), one.c_str());
            case 9:
                return ops.rename(req, node(), one.c_str(), node(), other.c_str(),
                                  input_.ConsumeIntegralInRange(0, 2));
            case 10:
                return ops.link(req, node(), node(), one.c_str());
            case 11:
                return ops.open(req, node(), &info);
            case 12:
                return ops.read(req, node(), size, offset, file());
            case 13: {
                const std::string data(size, 'd');
                return ops.write(req, node(), data.data(), data.size(), offset, file());
            }
            case 14:
                return ops.opendir(req, node(), &info);
            case 15:
            case 16: {
                fuse_file_info* directory = file();
                // The kernel reads a directory that is open once at a time.
                fuse_req_t& last = reading_[directory->fh];
                if (directory->fh == 0 || (last && last->replies == 0)) return ops.statfs(req, node());
                last = req;
                return (input_.ConsumeBool() ? ops.readdir : ops.readdirplus)(req, node(), size, offset % 64,
                                                                              directory);
            }
            case 17:
                return ops.statfs(req, node());
            case 18:
                return ops.getxattr(req, node(), "user.x", size);
            case 19:
                return ops.listxattr(req, node(), size);
            case 20:
                return ops.create(req, node(), one.c_str(), 0644, &info);
            case 21:
                return ops.fsync(req, node(), 1, file());
            case 22:
                return ops.lseek(req, node(), offset, SEEK_HOLE, file());
            default: {
                // As often as it was told, and no oftener.
                if (known_.empty()) return ops.statfs(req, 1);
                const size_t which = input_.ConsumeIntegral<uint8_t>() % known_.size();
                const uint64_t forgotten = known_[which];
                known_.erase(known_.begin() + static_cast<std::ptrdiff_t>(which));
                return ops.forget(req, forgotten, 1);
            }
        }
    }

    void fill(inspect::proto::FileStat& stat) {
        static constexpr uint32_t kModes[] = {S_IFREG | 0644, S_IFDIR | 0755, S_IFLNK | 0777, S_IFIFO | 0600,
                                              0};
        stat.set_mode(kModes[input_.ConsumeIntegral<uint8_t>() % std::size(kModes)]);
        stat.set_inode(input_.ConsumeIntegral<uint8_t>());
        stat.set_device(input_.ConsumeIntegral<uint8_t>() % 3);
        stat.set_links(input_.ConsumeIntegral<uint8_t>());
        stat.set_size(input_.ConsumeBool() ? input_.ConsumeIntegral<uint64_t>()
                                           : input_.ConsumeIntegral<uint16_t>());
        if (input_.ConsumeBool()) stat.set_mtime_ns(input_.ConsumeIntegral<int64_t>());
        if (S_ISLNK(stat.mode())) stat.set_link_target(input_.ConsumeRandomLengthString(16));
    }

    // One answer, well-formed mostly.
    void answer_as_agent(inspect::FakeChannel& self, const inspect::protocol::Frame& frame) {
        const uint8_t how = input_.ConsumeIntegral<uint8_t>();
        if (how == 255) {
            const std::vector<uint8_t> bytes = input_.ConsumeBytes<uint8_t>(64);
            return self.reply_raw(std::as_bytes(std::span(bytes)));
        }
        inspect::proto::Response response;
        if (how & 1) {
            const std::string data = input_.ConsumeRandomLengthString(4096);
            if (!data.empty()) self.reply(inspect::protocol::FrameType::kData, frame.stream, data);
        }
        if (how & 2) {
            inspect::proto::Item item;
            const int count = input_.ConsumeIntegralInRange(0, 8);
            for (int i = 0; i < count; ++i) {
                inspect::proto::TreeNode& node = *item.mutable_tree_nodes()->add_nodes();
                node.set_name(input_.ConsumeBool() ? name() : input_.ConsumeRandomLengthString(20));
                node.set_next(input_.ConsumeBool() ? i + 1 : input_.ConsumeIntegral<int64_t>());
                if (input_.ConsumeBool()) fill(*node.mutable_stat());
            }
            self.reply(frame.stream, item);
        }
        if (how & 4) fill(*response.mutable_stat());
        if (how & 8) response.set_at_end(true);
        if (how & 16) response.set_number(input_.ConsumeIntegral<uint64_t>());
        if (how & 32) response.set_value(input_.ConsumeRandomLengthString(64));
        if (how & 64) {
            response.mutable_failure()->set_kind(inspect::proto::NOT_FOUND);
            response.mutable_failure()->set_errnum(input_.ConsumeIntegral<uint32_t>());
        }
        self.reply(frame.stream, response);
    }

    FuzzedDataProvider input_;
    std::deque<fuse_req> requests_;
    std::vector<uint64_t> known_;
    std::vector<fuse_file_info> open_;
    std::map<uint64_t, fuse_req_t> reading_;  // the last request for a directory that is open
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Player(data, size).play();
    return 0;
}
