// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/rest_storage.h"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include <inspect/error.h>

#include "base/log.h"
#include "repository/json.h"

namespace inspect::repository {

namespace {

using rest::Method;

constexpr unsigned kMaxHelpers = 6;
// A server that doesn't answer, or has trouble, is asked again, the pauses doubling: some 15 seconds in all.
constexpr int kTries = 6;
constexpr std::chrono::milliseconds kFirstPause{500};

constexpr uint32_t kOk = 200, kNotFound = 404, kUnauthorized = 401, kForbidden = 403, kServerTrouble = 500,
                   kTooMany = 429, kNoSpace = 507;

class ListVisitor final : public JsonVisitor {
  public:
    std::vector<StoredFile> take() { return std::move(files_); }

  private:
    void begin_object(std::string_view path) override {
        if (path == "[]") current_ = {};
    }
    void text(std::string_view path, std::string& value) override {
        if (path == "[].name") id_ = ObjectId::parse(value);
        if (path == "[]")
            throw Error(
                ErrorKind::kUnsupported,
                "the server lists files without their sizes: it speaks an old version of the protocol");
    }
    void number(std::string_view path, uint64_t value) override {
        if (path == "[].size") current_.size = value;
    }
    void end_object(std::string_view path) override {
        if (path != "[]" || !id_) return;
        current_.id = *id_;
        files_.push_back(current_);
    }

    std::vector<StoredFile> files_;
    StoredFile current_;
    std::optional<ObjectId> id_;
};

}  // namespace

// A helper for one request; it goes back when it is still usable.
class RestStorage::Lease {
  public:
    explicit Lease(RestStorage& storage) : storage_(storage) {
        std::unique_lock lock(storage.mutex_);
        storage.free_.wait(lock, [&] { return !storage.idle_.empty() || storage.helpers_ < kMaxHelpers; });
        if (!storage.idle_.empty()) {
            helper_ = std::move(storage.idle_.back());
            storage.idle_.pop_back();
            return;
        }
        helper_ = storage.start_helper();
        ++storage.helpers_;
    }
    ~Lease() {
        const std::lock_guard lock(storage_.mutex_);
        if (usable_) {
            storage_.idle_.push_back(std::move(helper_));
        } else {
            --storage_.helpers_;
        }
        storage_.free_.notify_one();
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    Helper& helper() { return *helper_; }
    void keep() { usable_ = true; }

  private:
    RestStorage& storage_;
    std::unique_ptr<Helper> helper_;
    bool usable_ = false;
};

RestStorage::RestStorage(const std::string& url) : url_(url) {
    if (!url_.ends_with('/')) url_ += '/';
    shown_ = url_;
    const size_t host = shown_.find("://") + 3, at = shown_.find('@', host);
    if (at != std::string::npos && at < shown_.find('/', host)) shown_.erase(host, at + 1 - host);
    shown_.insert(0, "rest:");
    idle_.push_back(start_helper());
    helpers_ = 1;
}

RestStorage::~RestStorage() = default;

std::unique_ptr<RestStorage::Helper> RestStorage::start_helper() const {
    const std::string program = find_helper_program("insp-rest", "INSP_REST");
    if (program.empty())
        throw Error(
            ErrorKind::kNotFound,
            "repositories on a server need libinspect's program insp-rest, which is not installed; it is "
            "built where libcurl4-openssl-dev is");
    auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
    if (theirs.get() < 3) theirs = theirs.dup();
    auto helper = std::make_unique<Helper>();
    helper->program =
        std::make_unique<Subprocess>(SubprocessOptions{.arguments = {program, std::to_string(theirs.get())},
                                                       .inherited = {theirs.get()},
                                                       // It has no need to know.
                                                       .environment = {"RESTIC_PASSWORD="}});
    helper->socket = std::move(ours);
    return helper;
}

RestStorage::Result RestStorage::exchange(Helper& helper, const rest::Request& request,
                                          const std::string& url, std::span<const std::byte> body) {
    const char* what = "talk to insp-rest";
    write_full(helper.socket.get(), std::as_bytes(std::span(&request, 1)), what);
    write_full(helper.socket.get(), as_bytes(url), what);
    write_full(helper.socket.get(), body, what);
    rest::Answer answer{};
    if (read_full(helper.socket.get(), std::as_writable_bytes(std::span(&answer, 1)), what) !=
            sizeof answer ||
        answer.body_length > rest::kMaxBody)
        throw Error(ErrorKind::kInternal, "insp-rest has ended");
    Result result{answer.status, Bytes(answer.body_length)};
    if (read_full(helper.socket.get(), result.body, what) != result.body.size())
        throw Error(ErrorKind::kInternal, "insp-rest has ended");
    return result;
}

RestStorage::Result RestStorage::request(Method method, const std::string& path,
                                         std::span<const std::byte> body, bool list, uint64_t offset,
                                         uint64_t length) {
    const std::string url = url_ + path;
    if (url.size() > rest::kMaxUrl) throw Error(ErrorKind::kUsage, "the repository's URL is too long");
    rest::Request request{};
    request.method = method;
    request.list = list ? 1 : 0;
    request.url_length = static_cast<uint32_t>(url.size());
    request.body_length = body.size();
    request.range_offset = offset;
    request.range_length = length;
    auto pause = kFirstPause;
    for (int tried = 1;; ++tried) {
        Lease lease(*this);
        Result result = exchange(lease.helper(), request, url, body);
        lease.keep();
        const bool trouble = result.status == 0 || result.status == kTooMany ||
                             (result.status >= kServerTrouble && result.status != kNoSpace);
        if (!trouble || tried == kTries) return result;
        log(LogLevel::kVerbose, "'" + shown_ + "' is asked again: " +
                                    (result.status == 0 ? std::string(as_text(result.body))
                                                        : "HTTP status " + std::to_string(result.status)));
        std::this_thread::sleep_for(pause);
        pause *= 2;
    }
}

std::string RestStorage::path_of(FileKind kind, const ObjectId& id) const {
    const std::string directory(directory_name(kind));
    return kind == FileKind::kConfig ? directory : directory + "/" + id.hex();
}

void RestStorage::fail(const char* verb, const std::string& what, const Result& result) const {
    const std::string message =
        std::string("can't ") + verb + " " + what + " in the repository '" + shown_ + "'";
    switch (result.status) {
        case 0:
            throw Error(ErrorKind::kNotFound, message + ": " + std::string(as_text(result.body)));
        case kNotFound:
            throw Error(ErrorKind::kNotFound, message + ": it isn't there");
        case kUnauthorized:
        case kForbidden:
            throw Error(ErrorKind::kDenied, message + ": the server refuses it (HTTP status " +
                                                std::to_string(result.status) + ")");
        case kNoSpace:
            throw Error(ErrorKind::kNoSpace, message + ": the server has no room");
        default:
            throw Error(ErrorKind::kInternal,
                        message + ": the server answers with HTTP status " + std::to_string(result.status));
    }
}

Bytes RestStorage::read(FileKind kind, const ObjectId& id) {
    Result result = request(Method::kGet, path_of(kind, id));
    if (result.status != kOk) fail("read", describe(kind, id), result);
    return std::move(result.body);
}

Bytes RestStorage::read_range(FileKind kind, const ObjectId& id, uint64_t offset, size_t length) {
    if (length == 0) return {};
    Result result = request(Method::kGet, path_of(kind, id), {}, false, offset, length);
    constexpr uint32_t kPartial = 206, kNotSatisfiable = 416;
    if (result.status == kOk && result.body.size() > length) {  // a server that knows no ranges
        if (result.body.size() < offset + length) result.body.clear();
        result.body.erase(result.body.begin(),
                          result.body.begin() +
                              static_cast<std::ptrdiff_t>(std::min<uint64_t>(offset, result.body.size())));
        result.body.resize(std::min(result.body.size(), length));
    } else if (result.status != kOk && result.status != kPartial && result.status != kNotSatisfiable) {
        fail("read", describe(kind, id), result);
    }
    if (result.status == kNotSatisfiable || result.body.size() != length)
        throw Error(ErrorKind::kCorrupt, "can't read " + describe(kind, id) + " in the repository '" +
                                             shown_ + "': it is shorter than it should be");
    return std::move(result.body);
}

void RestStorage::write(FileKind kind, const ObjectId& id, std::span<const std::byte> content) {
    if (kind == FileKind::kConfig && has_config())
        throw Error(ErrorKind::kUsage, "there is a repository at '" + shown_ + "' already");
    const Result result = request(Method::kPost, path_of(kind, id), content);
    if (result.status != kOk && result.status != 201) fail("write", describe(kind, id), result);
}

void RestStorage::remove(FileKind kind, const ObjectId& id) {
    const Result result = request(Method::kDelete, path_of(kind, id));
    if (result.status != kOk && result.status != 204 && result.status != kNotFound)
        fail("remove", describe(kind, id), result);
}

bool RestStorage::has_config() {
    const Result result = request(Method::kHead, "config");
    if (result.status != kOk && result.status != kNotFound) fail("look for", "the config file", result);
    return result.status == kOk;
}

std::vector<StoredFile> RestStorage::list(FileKind kind) {
    const Result result = request(Method::kGet, std::string(directory_name(kind)) + "/", {}, true);
    if (result.status == kNotFound) return {};
    if (result.status != kOk) fail("list", std::string(directory_name(kind)), result);
    if (as_text(result.body).starts_with("null")) return {};
    ListVisitor visitor;
    try {
        parse_json(as_text(result.body), visitor);
    } catch (const Error& error) {
        throw error.with_context("the list of " + std::string(directory_name(kind)) + " in '" + shown_ + "'");
    }
    return visitor.take();
}

void RestStorage::create() {
    const Result result = request(Method::kPost, "?create=true");
    if (result.status != kOk && result.status != 201) fail("make", "the directories", result);
}

}  // namespace inspect::repository
