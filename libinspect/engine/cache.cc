// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/cache.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include <inspect/error.h>

#include "base/host_paths.h"
#include "base/log.h"
#include "block/crc32c.h"

namespace inspect {

namespace fs = std::filesystem;

namespace {

bool is_ours(const struct stat& st) { return st.st_uid == ::geteuid() && (st.st_mode & 077) == 0; }

std::optional<std::string> read_small_file(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat st;
    if (!fd || ::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode) || !is_ours(st) || st.st_size > 65536)
        return std::nullopt;
    std::string text(static_cast<size_t>(st.st_size), '\0');
    try {
        text.resize(read_full(fd.get(), std::as_writable_bytes(std::span(text)), "read the cache"));
    } catch (const Error&) {
        return std::nullopt;
    }
    return text;
}

uint64_t allocated_bytes(const std::string& path) {
    struct stat st;
    return ::stat(path.c_str(), &st) == 0 ? static_cast<uint64_t>(st.st_blocks) * 512 : 0;
}

Fd create_file(const std::string& path) {
    return open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
}

void sync_fd(int fd) {
    if (::fsync(fd) != 0) throw Error::from_errno("write the snapshot to stable storage", errno);
}

// Of a whole file, in hex; the descriptor's position stays.
std::string sum_of(int fd) {
    std::vector<std::byte> buffer(64 << 10);
    uint32_t sum = 0;
    for (uint64_t at = 0;;) {
        const size_t count = pread_full(fd, buffer, at, "read the snapshot");
        sum = crc32c(std::span(buffer).first(count), sum);
        if (count < buffer.size()) break;
        at += count;
    }
    char hex[9];
    std::snprintf(hex, sizeof hex, "%08x", sum);
    return hex;
}

void remove_tree(const std::string& path) noexcept {
    std::error_code ignored;
    fs::remove_all(path, ignored);
}

}  // namespace

std::string key_hash(const std::string& text) {
    uint64_t halves[2] = {0xcbf29ce484222325ull, 0x84222325cbf29ce4ull};
    for (unsigned char c : text) {
        for (unsigned i = 0; i < 2; ++i) {
            halves[i] ^= static_cast<uint64_t>(c) + i;
            halves[i] *= 0x100000001b3ull;
        }
    }
    char hex[33];
    std::snprintf(hex, sizeof hex, "%016llx%016llx", static_cast<unsigned long long>(halves[0]),
                  static_cast<unsigned long long>(halves[1]));
    return hex;
}

std::string Cache::directory(const std::string& given) {
    if (!given.empty()) return fs::absolute(given).string();
    if (std::string named = environment("INSP_CACHE_DIR"); !named.empty())
        return fs::absolute(named).string();
    if (std::string xdg = environment("XDG_CACHE_HOME"); xdg.starts_with('/')) return xdg + "/libinspect";
    if (std::string home = environment("HOME"); home.starts_with('/')) return home + "/.cache/libinspect";
    if (::geteuid() == 0) return "/var/cache/libinspect";
    throw Error(ErrorKind::kUsage,
                "no place for the cache is known: HOME is not set; name one in INSP_CACHE_DIR");
}

Cache::Cache(std::string directory) : directory_(std::move(directory)) {
    std::string snapshots = directory_ + "/snapshots";
    struct stat st;
    if (::stat(snapshots.c_str(), &st) != 0) {
        make_directories(snapshots, "the cache");
        if (::stat(snapshots.c_str(), &st) != 0)
            throw Error::from_errno("cannot create the cache directory '" + snapshots + "'", errno,
                                    ErrorKind::kDenied);
    }
    if (!S_ISDIR(st.st_mode) || !is_ours(st)) {
        throw Error(ErrorKind::kDenied,
                    "the cache directory '" + snapshots +
                        "' is not this user's alone (mode 0700 is needed); remove it, or name "
                        "another one in INSP_CACHE_DIR");
    }
}

std::string Cache::snapshot_path(const std::string& key) const {
    return directory_ + "/snapshots/" + key_hash(key);
}

std::optional<SnapshotFiles> Cache::find_snapshot(const std::string& key) const {
    SnapshotFiles files;
    files.path = snapshot_path(key);
    struct stat st;
    if (::lstat(files.path.c_str(), &st) != 0 || !S_ISDIR(st.st_mode) || !is_ours(st)) return std::nullopt;
    if (read_small_file(files.path + "/key") != key) return std::nullopt;
    for (auto [fd, name] : {std::pair(&files.state, "/state"), std::pair(&files.memory, "/memory")}) {
        fd->reset(::open((files.path + name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        if (!*fd || ::fstat(fd->get(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != ::geteuid())
            return std::nullopt;
    }
    try {
        if (read_small_file(files.path + "/sum") != sum_of(files.state.get())) return std::nullopt;
    } catch (const Error&) {
        return std::nullopt;
    }
    return files;
}

void Cache::remove_snapshot(const std::string& key) const { remove_tree(snapshot_path(key)); }

Fd Cache::lock_snapshot(const std::string& key, int interrupt_fd) const {
    static constexpr int kRetryMs = 50;  // flock(2) can't be waited for together with a descriptor
    Fd fd = open_file(snapshot_path(key) + ".lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EINTR && errno != EWOULDBLOCK) throw Error::from_errno("lock the snapshot cache", errno);
        struct pollfd pfd = {interrupt_fd, POLLIN, 0};
        if (::poll(&pfd, 1, kRetryMs) > 0) throw Error(ErrorKind::kCancelled, "interrupted");
    }
    return fd;
}

Cache::Draft::Draft(const Cache& cache, std::string key)
    : key_(std::move(key)), final_path_(cache.snapshot_path(key_)), path_(final_path_ + ".XXXXXX") {
    if (!::mkdtemp(path_.data())) throw Error::from_errno("cannot create '" + path_ + "'", errno);
    try {
        state_ = create_file(path_ + "/state");
        memory_ = create_file(path_ + "/memory");
    } catch (...) {
        remove_tree(path_);
        throw;
    }
}

Cache::Draft::~Draft() {
    if (!published_) remove_tree(path_);
}

void Cache::Draft::publish() {
    Fd key_file = create_file(path_ + "/key");
    write_full(key_file.get(), std::as_bytes(std::span(key_)), "write the snapshot's key");
    Fd sum_file = create_file(path_ + "/sum");
    const std::string sum = sum_of(state_.get());
    write_full(sum_file.get(), std::as_bytes(std::span(sum)), "write the snapshot's sum");
    for (const Fd* fd : {&state_, &memory_, &key_file, &sum_file}) sync_fd(fd->get());
    sync_fd(open_file(path_, O_RDONLY | O_DIRECTORY).get());
    remove_tree(final_path_);  // one that did not fit
    if (::rename(path_.c_str(), final_path_.c_str()) != 0)
        throw Error::from_errno("cannot rename '" + path_ + "' to '" + final_path_ + "'", errno);
    published_ = true;
}

std::vector<Cache::Listed> Cache::list_snapshots() const {
    std::vector<Listed> found;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory_ + "/snapshots", error)) {
        std::string path = entry.path().string();
        if (!entry.is_directory(error)) continue;
        Listed listed{path, read_small_file(path + "/key").value_or(""), 0};
        for (const char* name : {"/key", "/state", "/sum", "/memory"})
            listed.size_bytes += allocated_bytes(path + name);
        found.push_back(std::move(listed));
    }
    return found;
}

uint64_t Cache::clear() const {
    uint64_t freed = 0;
    for (const Listed& listed : list_snapshots()) {
        freed += listed.size_bytes;
        remove_tree(listed.path);
    }
    std::error_code error;
    std::vector<fs::path> facts;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory_, error))
        if (entry.path().filename().string().starts_with("host-")) facts.push_back(entry.path());
    for (const fs::path& fact : facts) fs::remove(fact, error);
    return freed;
}

std::optional<std::string> Cache::read_fact(const std::string& name) const {
    return read_small_file(directory_ + "/host-" + name);
}

void Cache::write_fact(const std::string& name, const std::string& value) const {
    std::string path = directory_ + "/host-" + name;
    std::string draft = path + ".XXXXXX";
    Fd fd(::mkostemp(draft.data(), O_CLOEXEC));
    if (!fd) throw Error::from_errno("cannot create '" + draft + "'", errno);
    write_full(fd.get(), std::as_bytes(std::span(value)), "write the cache");
    if (::rename(draft.c_str(), path.c_str()) != 0) {
        int saved = errno;
        ::unlink(draft.c_str());
        throw Error::from_errno("cannot rename '" + draft + "'", saved);
    }
}

std::optional<Cache> open_cache(const std::string& given_directory) {
    try {
        return Cache(Cache::directory(given_directory));
    } catch (const Error& error) {
        log(LogLevel::kVerbose, std::string("no cache, so no warm start: ") + error.what());
        return std::nullopt;
    }
}

}  // namespace inspect
