// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/remote_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <inspect/error.h>

namespace inspect {

RemoteLock::RemoteLock(std::string path, const std::string& image) : path_(std::move(path)) {
    for (;;) {
        fd_ = open_file(path_, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
        if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EINTR) continue;
            if (errno == EWOULDBLOCK)
                throw Error(ErrorKind::kBusy,
                            "'" + image + "' is being changed by another session of this user");
            throw Error::from_errno("cannot lock '" + path_ + "'", errno);
        }
        // Its last holder may have removed the name between our open and our lock.
        struct stat ours, named;
        if (::fstat(fd_.get(), &ours) == 0 && ::stat(path_.c_str(), &named) == 0 &&
            ours.st_dev == named.st_dev && ours.st_ino == named.st_ino)
            return;
    }
}

RemoteLock::~RemoteLock() {
    if (fd_) ::unlink(path_.c_str());
}

}  // namespace inspect
