// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A repository on a server that speaks restic's REST protocol (restic's documentation, "REST Backend"), such
// as rest-server or `rclone serve restic`. HTTP is libcurl's, in programs of their own, insp-rest, because a
// static program can't have libcurl; as many as there are requests at once.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/subprocess.h"
#include "repository/rest_protocol.h"
#include "repository/storage.h"

namespace inspect::repository {

class RestStorage final : public Storage {
  public:
    // `url`: http://HOST[:PORT]/[PATH], user and password may be in it; else RESTIC_REST_USERNAME and
    // RESTIC_REST_PASSWORD count. Throws Error(kNotFound) when insp-rest isn't installed.
    explicit RestStorage(const std::string& url);
    ~RestStorage() override;

    const std::string& location() const noexcept override { return shown_; }
    bool is_remote() const noexcept override { return true; }
    Bytes read(FileKind kind, const ObjectId& id) override;
    Bytes read_range(FileKind kind, const ObjectId& id, uint64_t offset, size_t length) override;
    void write(FileKind kind, const ObjectId& id, std::span<const std::byte> content) override;
    void remove(FileKind kind, const ObjectId& id) override;
    bool has_config() override;
    std::vector<StoredFile> list(FileKind kind) override;
    void create() override;

  private:
    struct Helper {
        Fd socket;
        std::unique_ptr<Subprocess> program;
    };
    struct Result {
        uint32_t status = 0;
        Bytes body;
    };
    class Lease;

    Result request(rest::Method method, const std::string& path, std::span<const std::byte> body = {},
                   bool list = false, uint64_t offset = 0, uint64_t length = 0);
    static Result exchange(Helper& helper, const rest::Request& request, const std::string& url,
                           std::span<const std::byte> body);
    std::unique_ptr<Helper> start_helper() const;
    std::string path_of(FileKind kind, const ObjectId& id) const;
    [[noreturn]] void fail(const char* verb, const std::string& what, const Result& result) const;

    std::string url_;    // ends in '/'
    std::string shown_;  // without a password
    std::mutex mutex_;
    std::condition_variable free_;
    std::vector<std::unique_ptr<Helper>> idle_;
    unsigned helpers_ = 0;
};

}  // namespace inspect::repository
