// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/local_storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/fd.h"
#include "repository/compression.h"
#include "repository/crypto.h"

namespace inspect::repository {

namespace {

// As restic has them: nobody else may look, and files are never written again.
constexpr mode_t kDirectoryMode = 0700, kFileMode = 0400;
// A file that is being written has this in its name, which makes it no id for anybody.
constexpr const char kAsideSuffix[] = "-tmp-insp-";
// Nobody writes a file for longer.
constexpr time_t kLeftoverAge = 24 * 60 * 60;

void make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), kDirectoryMode) != 0 && errno != EEXIST)
        throw Error::from_errno("can't make the directory '" + path + "' of the repository", errno);
}

void sync_directory(const std::string& path) {
    const Fd fd = open_file(path, O_RDONLY | O_DIRECTORY);
    // EINVAL: a file system that has nothing to synchronise here.
    if (::fsync(fd.get()) != 0 && errno != EINVAL)
        throw Error::from_errno("can't make a new file in '" + path + "' durable", errno);
}

// Calls `found(name, type)` for what is in the directory.
template <typename Found>
void for_each_name(const std::string& path, Found found) {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
    if (!directory) {
        if (errno == ENOENT) return;
        throw Error::from_errno("can't list '" + path + "' of the repository", errno);
    }
    while (true) {
        errno = 0;
        const dirent* entry = ::readdir(directory.get());
        if (entry == nullptr) break;
        found(::dirfd(directory.get()), entry->d_name);
    }
    if (errno != 0) throw Error::from_errno("can't list '" + path + "' of the repository", errno);
}

}  // namespace

LocalStorage::LocalStorage(std::string path)
    : location_(std::move(path)), path_(std::filesystem::absolute(location_)) {}

std::string LocalStorage::directory(FileKind kind, const ObjectId& id) const {
    if (kind == FileKind::kConfig) return path_;
    std::string result = path_ + "/" + std::string(directory_name(kind));
    if (kind == FileKind::kPack) result += "/" + id.hex().substr(0, 2);
    return result;
}

std::string LocalStorage::path(FileKind kind, const ObjectId& id) const {
    return directory(kind, id) + "/" + (kind == FileKind::kConfig ? "config" : id.hex());
}

std::string LocalStorage::what(const char* verb, FileKind kind, const ObjectId& id) const {
    return std::string("can't ") + verb + " " + describe(kind, id) + " in the repository '" + location_ + "'";
}

Bytes LocalStorage::read(FileKind kind, const ObjectId& id) {
    const Fd fd(::open(path(kind, id).c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) throw Error::from_errno(what("read", kind, id), errno);
    if (!S_ISREG(status.st_mode) || status.st_size < 0 ||
        static_cast<uint64_t>(status.st_size) > kMaxObjectSize)
        throw Error(ErrorKind::kCorrupt, what("read", kind, id) + ": it is no file of a sensible size");
    Bytes content(static_cast<size_t>(status.st_size));
    content.resize(pread_full(fd.get(), content, 0, what("read", kind, id).c_str()));
    return content;
}

Bytes LocalStorage::read_range(FileKind kind, const ObjectId& id, uint64_t offset, size_t length) {
    const Fd fd(::open(path(kind, id).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) throw Error::from_errno(what("read", kind, id), errno);
    Bytes content(length);
    if (pread_full(fd.get(), content, offset, what("read", kind, id).c_str()) != length)
        throw Error(ErrorKind::kCorrupt, what("read", kind, id) + ": it is shorter than it should be");
    return content;
}

void LocalStorage::write_aside(const std::string& directory, const std::string& aside,
                               std::span<const std::byte> content) {
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    Fd fd(::open(aside.c_str(), flags, kFileMode));
    if (!fd && errno == ENOENT) {
        make_directory(directory);
        fd.reset(::open(aside.c_str(), flags, kFileMode));
    }
    if (!fd) throw Error::from_errno("can't make a file in '" + directory + "' of the repository", errno);
    const std::string what = "can't write a file in '" + directory + "' of the repository";
    try {
        write_full(fd.get(), content, what.c_str());
        if (::fsync(fd.get()) != 0) throw Error::from_errno(what, errno);
    } catch (...) {
        ::unlink(aside.c_str());
        throw;
    }
}

void LocalStorage::write(FileKind kind, const ObjectId& id, std::span<const std::byte> content) {
    const std::string target = path(kind, id);
    if (kind != FileKind::kConfig && ::access(target.c_str(), F_OK) == 0) return;
    ObjectId unique;
    fill_random(unique.bytes);
    const std::string aside = target + kAsideSuffix + unique.short_hex();
    write_aside(directory(kind, id), aside, content);
    // A link rather than a renaming: of two who write the config file at once only one may succeed. Where the
    // file system has no links, renaming has to do.
    int error = ::link(aside.c_str(), target.c_str()) == 0 ? 0 : errno;
    if (error == EPERM || error == EOPNOTSUPP || error == ENOSYS) {
        error = ::rename(aside.c_str(), target.c_str()) == 0 ? 0 : errno;
    } else {
        ::unlink(aside.c_str());
    }
    if (error == EEXIST && kind == FileKind::kConfig)
        throw Error(ErrorKind::kUsage, "there is a repository at '" + location_ + "' already");
    if (error != 0 && error != EEXIST) throw Error::from_errno(what("write", kind, id), error);
    sync_directory(directory(kind, id));
}

void LocalStorage::remove(FileKind kind, const ObjectId& id) {
    if (::unlink(path(kind, id).c_str()) != 0 && errno != ENOENT)
        throw Error::from_errno(what("remove", kind, id), errno);
}

bool LocalStorage::has_config() {
    if (::access((path_ + "/config").c_str(), F_OK) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    throw Error::from_errno("can't look into the repository '" + location_ + "'", errno);
}

std::vector<StoredFile> LocalStorage::list(FileKind kind) {
    std::vector<StoredFile> files;
    const std::string top = path_ + "/" + std::string(directory_name(kind));
    auto add = [&files](int directory, const char* name) {
        const auto id = ObjectId::parse(name);
        struct stat status {};
        if (!id || ::fstatat(directory, name, &status, 0) != 0 || !S_ISREG(status.st_mode)) return;
        files.push_back({*id, static_cast<uint64_t>(status.st_size)});
    };
    if (kind != FileKind::kPack) {
        for_each_name(top, add);
        return files;
    }
    for_each_name(top, [&](int, const std::string& name) {
        if (name.size() == 2 && name[0] != '.') for_each_name(top + "/" + name, add);
    });
    return files;
}

void LocalStorage::create() {
    make_directory(path_);
    for (FileKind kind : kNamedKinds) make_directory(path_ + "/" + std::string(directory_name(kind)));
    constexpr char kDigits[] = "0123456789abcdef";
    for (char high : std::string_view(kDigits))
        for (char low : std::string_view(kDigits)) make_directory(path_ + "/data/" + high + low);
    sync_directory(path_ + "/data");
    sync_directory(path_);
}

void LocalStorage::tidy() {
    const time_t yesterday = ::time(nullptr) - kLeftoverAge;
    auto remove_old = [yesterday](int directory, const char* name) {
        struct stat status {};
        if (std::string_view(name).find(kAsideSuffix) != std::string_view::npos &&
            ::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode) &&
            status.st_mtime < yesterday)
            ::unlinkat(directory, name, 0);
    };
    for (FileKind kind : kNamedKinds) {
        const std::string top = path_ + "/" + std::string(directory_name(kind));
        for_each_name(top, [&](int directory, const std::string& name) {
            if (kind != FileKind::kPack) {
                remove_old(directory, name.c_str());
            } else if (name.size() == 2 && name[0] != '.') {
                for_each_name(top + "/" + name, remove_old);
            }
        });
    }
}

}  // namespace inspect::repository
