// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/new_host_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include <inspect/error.h>

#include "base/host_paths.h"
#include "base/uuid.h"

namespace inspect {

namespace {

[[noreturn]] void refuse_existing(const std::string& target) {
    throw Error(ErrorKind::kDenied, "'" + target + "' is there already");
}

}  // namespace

void require_unused(const std::string& target) {
    struct stat status {};
    if (::lstat(target.c_str(), &status) == 0) refuse_existing(target);
}

std::string temporary_name(const std::string& target) {
    uint32_t number = 0;
    draw_random(std::as_writable_bytes(std::span(&number, 1)));
    std::array<char, 16> text;
    ::snprintf(text.data(), text.size(), ".insp-%08x", number);
    return target + text.data();
}

NewHostFile::NewHostFile(std::string target, mode_t mode)
    : target_(std::move(target)), path_(temporary_name(target_)) {
    const Fd fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!fd) throw Error::from_errno("cannot make '" + target_ + "'", errno);
}

NewHostFile::NewHostFile(NewHostFile&& other) noexcept
    : target_(std::move(other.target_)),
      path_(std::exchange(other.path_, {})),
      published_(std::exchange(other.published_, false)) {}

NewHostFile::~NewHostFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
}

Fd NewHostFile::open() const { return open_file(path_, O_RDWR); }

void NewHostFile::publish(bool replace) {
    if (::fsync(open().get()) != 0) throw Error::from_errno("cannot write '" + target_ + "'", errno);
    const unsigned flags = replace ? 0 : RENAME_NOREPLACE;
    int result = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target_.c_str(), flags);
    // A file system that knows no flags. A link is refused as well when the name is taken.
    if (result != 0 && errno == EINVAL) {
        result = ::link(path_.c_str(), target_.c_str());
        if (result == 0) ::unlink(path_.c_str());
    }
    if (result != 0) {
        if (errno == EEXIST) refuse_existing(target_);
        throw Error::from_errno("cannot give a new file its name '" + target_ + "'", errno);
    }
    path_.clear();
    published_ = true;
    // It has its name: a directory that may not be read is no reason to fail.
    const Fd directory(::open(directory_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory) ::fsync(directory.get());
}

void NewHostFile::retract() noexcept {
    if (std::exchange(published_, false)) ::unlink(target_.c_str());
}

}  // namespace inspect
