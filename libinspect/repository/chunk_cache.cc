// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/chunk_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include <inspect/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "repository/compression.h"

namespace inspect::repository {

namespace {

constexpr uint64_t kMaxBytes = 1ULL << 30;
constexpr int kLevel = 1;
// The first byte of what is sealed.
constexpr std::byte kPlain{0}, kCompressed{1};

std::string base_directory() {
    if (const char* given = std::getenv("INSP_CACHE_DIR"); given != nullptr && *given != '\0') return given;
    if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg == '/')
        return std::string(xdg) + "/libinspect";
    if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/')
        return std::string(home) + "/.cache/libinspect";
    return "";
}

}  // namespace

std::unique_ptr<ChunkCache> ChunkCache::open(const std::string& repository_id, const SealingKey& key) {
    const std::string base = base_directory();
    if (base.empty() || !ObjectId::parse(repository_id)) return nullptr;
    const std::string directory = base + "/chunks/" + repository_id;
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    std::filesystem::permissions(base + "/chunks", std::filesystem::perms::owner_all, error);
    struct stat status {};
    // What belongs to somebody else is not used.
    if (::stat(directory.c_str(), &status) != 0 || status.st_uid != ::geteuid()) return nullptr;
    std::unique_ptr<ChunkCache> cache(new ChunkCache(directory, key));
    cache->shrink();
    return cache;
}

std::string ChunkCache::path(const ObjectId& id) const { return directory_ + "/" + id.hex(); }

std::optional<Bytes> ChunkCache::find(const ObjectId& id) const {
    const Fd fd(::open(path(id).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0 || static_cast<uint64_t>(status.st_size) > kMaxObjectSize)
        return std::nullopt;
    try {
        Bytes sealed(static_cast<size_t>(status.st_size));
        sealed.resize(pread_full(fd.get(), sealed, 0, "read a cached chunk"));
        Bytes content = key_.open(sealed);
        if (content.empty()) return std::nullopt;
        Bytes plain = content[0] == kCompressed ? decompress_unknown_size(std::span(content).subspan(1))
                                                : Bytes(content.begin() + 1, content.end());
        if (ObjectId::of(plain) != id) return std::nullopt;
        ::futimens(fd.get(), nullptr);  // for shrink()
        return plain;
    } catch (const Error& error) {
        log(LogLevel::kVerbose, "a cached chunk is not used: " + error.message());
        ::unlink(path(id).c_str());
        return std::nullopt;
    }
}

void ChunkCache::add(const ObjectId& id, std::span<const std::byte> plain) const {
    Bytes content = compress(plain, kLevel);
    const bool compressed = !content.empty();
    if (!compressed) content.assign(plain.begin(), plain.end());
    content.insert(content.begin(), compressed ? kCompressed : kPlain);
    ObjectId unique;
    fill_random(unique.bytes);
    const std::string aside = path(id) + ".new-" + unique.short_hex();
    try {
        const Fd fd = open_file(aside, O_WRONLY | O_CREAT | O_EXCL);
        write_full(fd.get(), key_.seal(content), "write a cached chunk");
        if (::rename(aside.c_str(), path(id).c_str()) == 0) return;
    } catch (const Error& error) {
        log(LogLevel::kVerbose, "a chunk is not cached: " + error.message());
    }
    ::unlink(aside.c_str());
}

void ChunkCache::shrink() const {
    namespace fs = std::filesystem;
    struct File {
        fs::file_time_type used;
        uint64_t size;
        fs::path path;
    };
    std::vector<File> files;
    uint64_t total = 0;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory_, error)) {
        const uint64_t size = entry.file_size(error);
        if (error) continue;
        files.push_back({entry.last_write_time(error), size, entry.path()});
        total += size;
    }
    if (total <= kMaxBytes) return;
    std::ranges::sort(files, {}, &File::used);
    for (const File& file : files) {
        if (total <= kMaxBytes / 2) break;
        fs::remove(file.path, error);
        total -= file.size;
    }
}

}  // namespace inspect::repository
