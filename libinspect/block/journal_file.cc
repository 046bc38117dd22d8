// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/journal_file.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <inspect/error.h>

#include "base/host_paths.h"

namespace inspect {

namespace {

std::string state_directory() {
    if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && state[0] == '/') return state;
    if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/') {
        return std::string(home) + "/.local/state";
    }
    throw Error(ErrorKind::kUsage,
                "there is no place for the journal of a block device; set HOME or XDG_STATE_HOME");
}

std::string journal_directory(bool create) {
    const std::string directory = state_directory() + "/libinspect";
    if (create) make_directories(directory, "a journal");
    return directory;
}

}  // namespace

PosixJournalFile::PosixJournalFile(std::string path, uid_t image_owner, gid_t image_group)
    : path_(std::move(path)), image_owner_(image_owner), image_group_(image_group) {}

PosixJournalFile::PosixJournalFile(Fd fd) : path_("the journal"), fd_(std::move(fd)) {}

bool PosixJournalFile::open() {
    fd_.reset(::open(path_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd_) {
        if (errno == ENOENT || errno == ENOTDIR) return false;
        throw Error::from_errno("the image has a journal, '" + path_ + "', that cannot be opened", errno);
    }
    struct stat st;
    if (::fstat(fd_.get(), &st) < 0) throw Error::from_errno("cannot examine '" + path_ + "'", errno);
    const bool trusted = st.st_uid == image_owner_ || st.st_uid == ::geteuid() || st.st_uid == 0;
    if (!S_ISREG(st.st_mode) || st.st_nlink > 1 || !trusted || (st.st_mode & 022) != 0) {
        fd_.reset();
        throw Error(
            ErrorKind::kDenied,
            "'" + path_ +
                "' has the name of the image's journal but is no regular file of the image's owner that "
                "others may not write; remove it if it isn't yours");
    }
    return true;
}

void PosixJournalFile::create() {
    fd_.reset(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd_) {
        if (errno == EEXIST) {
            throw Error(ErrorKind::kBusy,
                        "'" + path_ + "' is there already; another program is changing the image");
        }
        throw Error::from_errno(
            "cannot create the journal '" + path_ + "', without which the image can't be changed safely",
            errno);
    }
    // What root leaves unfinished the image's owner may finish. Failing is no harm: root can.
    if (::geteuid() == 0) [[maybe_unused]]
        int ignored = ::fchown(fd_.get(), image_owner_, image_group_);
}

uint64_t PosixJournalFile::size() {
    struct stat st;
    if (::fstat(fd_.get(), &st) < 0) throw Error::from_errno("cannot examine '" + path_ + "'", errno);
    return static_cast<uint64_t>(st.st_size);
}

void PosixJournalFile::read(uint64_t offset, std::span<std::byte> out) {
    if (pread_full(fd_.get(), out, offset, "cannot read the journal") < out.size()) {
        throw Error(ErrorKind::kCorrupt, "the journal '" + path_ + "' is shorter than it says");
    }
}

void PosixJournalFile::write(uint64_t offset, std::span<const std::byte> in) {
    pwrite_full(fd_.get(), in, offset, ("cannot write the journal '" + path_ + "'").c_str());
}

void PosixJournalFile::sync() {
    while (::fdatasync(fd_.get()) < 0) {
        if (errno != EINTR) throw Error::from_errno("cannot flush the journal '" + path_ + "'", errno);
    }
}

void PosixJournalFile::remove() {
    fd_.reset();
    if (::unlink(path_.c_str()) < 0 && errno != ENOENT) {
        throw Error::from_errno("cannot remove the journal '" + path_ + "'", errno);
    }
}

void PosixJournalFile::sync_name() {
    const std::string directory = directory_of(path_);
    Fd fd = open_file(directory, O_RDONLY | O_DIRECTORY);
    while (::fsync(fd.get()) < 0) {
        if (errno == EINVAL || errno == ENOTSUP) return;  // a file system that has no such thing
        if (errno != EINTR) throw Error::from_errno("cannot flush the directory '" + directory + "'", errno);
    }
}

std::string lasting_device_name(dev_t device, const std::string& sysfs) {
    const std::string number = std::to_string(major(device)) + ":" + std::to_string(minor(device));
    std::ifstream file(sysfs + "/" + number + "/dm/uuid");
    std::string name;
    constexpr size_t kMaxName = 200;
    for (char c; name.size() < kMaxName && file.get(c) && c != '\n';)
        name += std::isalnum(static_cast<unsigned char>(c)) || c == '-' ? c : '_';
    if (!name.empty()) return name;
    return std::to_string(major(device)) + "-" + std::to_string(minor(device));
}

std::string journal_path(const std::string& image_path, std::optional<dev_t> block_device,
                         bool create_directory) {
    if (!block_device) return image_path + ".insp-journal";
    return journal_directory(create_directory) + "/journal-" + lasting_device_name(*block_device);
}

std::string remote_journal_path(std::string_view location, bool create_directory) {
    uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (unsigned char c : location) hash = (hash ^ c) * 0x100000001b3;
    char name[32];
    std::snprintf(name, sizeof name, "/journal-%016llx", static_cast<unsigned long long>(hash));
    return journal_directory(create_directory) + name;
}

}  // namespace inspect
