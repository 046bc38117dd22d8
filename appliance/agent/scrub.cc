// SPDX-License-Identifier: GPL-2.0-or-later
//
// Scrub: a file's blocks are overwritten before they are free.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "base/fd.h"
#include "base/uuid.h"
#include "operations.h"

namespace inspect::agent {

namespace {

constexpr size_t kScrubbed = 64 << 10;

std::string draw_noise() {
    std::string noise(kScrubbed, '\0');
    draw_random(std::as_writable_bytes(std::span(noise)));
    return noise;
}

// What has blocks, up to the end of the last one, whose slack may hold something, too. The random bytes are
// drawn once: it matters what was there, not what is there now.
void overwrite(const Context& context, int fd, const struct stat& status, const std::string& path) {
    const std::string noise = draw_noise();
    const std::string what = "cannot overwrite " + path;
    const off_t block = std::max<off_t>(status.st_blksize, 1);
    for (off_t at = 0; (at = ::lseek(fd, at, SEEK_DATA)) >= 0;) {
        off_t end = ::lseek(fd, at, SEEK_HOLE);
        if (end < 0) fail_errno("cannot overwrite", path);
        if (end >= status.st_size) end = (status.st_size + block - 1) / block * block;
        while (at < end) {
            context.connection.check_cancelled();
            const size_t wanted = std::min<size_t>(noise.size(), static_cast<size_t>(end - at));
            pwrite_full(fd, std::as_bytes(std::span(noise).first(wanted)), static_cast<uint64_t>(at),
                        what.c_str());
            at += static_cast<off_t>(wanted);
        }
    }
    // ENXIO: there are no more data.
    if (errno != ENXIO || ::fsync(fd) < 0) fail_errno("cannot overwrite", path);
}

}  // namespace

void scrub(const Context& context, const proto::Scrub& request) {
    const std::string& path = request.path();
    GuestTree::Place place = context.tree.place(path, "cannot scrub");
    const char* name = place.name.c_str();
    struct stat status {};
    Fd file(::openat(place.directory.get(), name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!file || ::fstat(file.get(), &status) < 0) fail_errno("cannot scrub", path);
    if (!S_ISREG(status.st_mode))
        throw Failure(proto::USAGE, "cannot scrub " + path + ": it is " + type_name(status.st_mode), EINVAL);
    if (status.st_nlink > 1)
        context.warn(path + " had other names as well, which have the overwritten contents now");
    const Fd writing(::open(FdPath(file.get()).c_str(), O_WRONLY | O_CLOEXEC));
    if (!writing) fail_errno("cannot scrub", path);
    overwrite(context, writing.get(), status, path);
    if (::unlinkat(place.directory.get(), name, 0) < 0) fail_errno("cannot remove", path);
}

}  // namespace inspect::agent
