// SPDX-License-Identifier: GPL-2.0-or-later
#include "failure.h"

#include <cerrno>
#include <cstring>

namespace inspect::agent {

std::string errno_text(int errnum) {
    switch (errnum) {
        case EUCLEAN:  // EFSCORRUPTED
        case EBADMSG:  // EFSBADCRC
            return "the file system is damaged";
        case EIO:
            return "input/output error: the file system or the image is damaged";
        case ENOMEM:
            return "not enough memory in the appliance";
        case EXDEV:
            return "it is on another file system";
        default:
            break;
    }
    const char* text = strerrordesc_np(errnum);
    return text ? text : "error " + std::to_string(errnum);
}

proto::ErrorKind errno_kind(int errnum) {
    switch (errnum) {
        case ENOENT:
        case ENOTDIR:
        case ENODEV:
        case ENXIO:
        case ENODATA:
            return proto::NOT_FOUND;
        case EOPNOTSUPP:
        case ENOSYS:
        case ENOTTY:
            return proto::UNSUPPORTED;
        case EUCLEAN:
        case EBADMSG:
        case EIO:
            return proto::CORRUPT;
        case EBUSY:
        case ETXTBSY:
            return proto::BUSY;
        case EACCES:
        case EPERM:
        case EROFS:
            return proto::DENIED;
        case ENOSPC:
        case EDQUOT:
        case EMLINK:
            return proto::NO_SPACE;
        case EINVAL:
        case EEXIST:
        case EISDIR:
        case ENOTEMPTY:
        case ENAMETOOLONG:
        case ELOOP:
        case EXDEV:
        case EFBIG:
        case ERANGE:
        case EOVERFLOW:
            return proto::USAGE;
        default:
            return proto::INTERNAL;
    }
}

Failure Failure::from_errno(std::string what, int errnum) {
    return Failure(errno_kind(errnum), std::move(what) + ": " + errno_text(errnum), errnum);
}

void fail_errno(std::string_view verb, std::string_view path) {
    int saved = errno;
    throw Failure::from_errno(std::string(verb) + " " + std::string(path), saved);
}

void must(int result, const char* what) {
    if (result < 0) throw Failure::from_errno(what, errno);
}

}  // namespace inspect::agent
