// SPDX-License-Identifier: GPL-2.0-or-later
#include "new_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "failure.h"

namespace inspect::agent {

NewFile::NewFile(const GuestTree::Place& place, std::string path)
    : place_(place), path_(std::move(path)), name_(temporary_name()) {
    constexpr mode_t kPrivate = 0600;
    int fd = ::openat(place.directory.get(), name_.c_str(),
                      O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kPrivate);
    if (fd < 0) fail_errno("cannot create a file beside", path_);
    fd_ = Fd(fd);
}

NewFile::~NewFile() {
    if (!name_.empty()) ::unlinkat(place_.directory.get(), name_.c_str(), 0);
}

void NewFile::write(std::span<const std::byte> bytes) { write_all(fd_.get(), bytes, path_); }

void NewFile::publish() {
    int directory = place_.directory.get();
    if (::renameat(directory, name_.c_str(), directory, place_.name.c_str()) < 0)
        fail_errno("cannot replace", path_);
    name_.clear();
}

void NewFile::publish_new() {
    int directory = place_.directory.get();
    if (rename_to_vacant(directory, name_.c_str(), directory, place_.name.c_str()) < 0)
        fail_errno("cannot create", path_);
    name_.clear();
}

int rename_to_vacant(int from_directory, const char* from, int to_directory, const char* to) {
    if (::renameat2(from_directory, from, to_directory, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL) return -1;
    struct stat status;
    if (::fstatat(to_directory, to, &status, AT_SYMLINK_NOFOLLOW) == 0) errno = EEXIST;
    return errno == ENOENT ? ::renameat(from_directory, from, to_directory, to) : -1;
}

void write_all(int fd, std::span<const std::byte> bytes, const std::string& path) {
    while (!bytes.empty()) {
        ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail_errno("cannot write", path);
        bytes = bytes.subspan(static_cast<size_t>(n));
    }
}

void receive_data(Connection& connection, const std::function<void(std::string_view)>& piece) {
    for (;;) {
        Connection::Upload upload = connection.receive();
        if (upload.type == protocol::FrameType::kEnd) return;
        if (upload.type != protocol::FrameType::kData)
            throw Failure(proto::USAGE, "an item where a file's contents belong", EINVAL);
        piece(upload.payload);
    }
}

}  // namespace inspect::agent
