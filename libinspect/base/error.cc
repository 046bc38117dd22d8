// SPDX-License-Identifier: LGPL-2.1-or-later
#include <cerrno>
#include <cstring>
#include <system_error>

#include <inspect/error.h>

namespace inspect {

std::string_view error_kind_name(ErrorKind kind) noexcept {
    switch (kind) {
        case ErrorKind::kNotFound:
            return "not-found";
        case ErrorKind::kUnsupported:
            return "unsupported";
        case ErrorKind::kCorrupt:
            return "corrupt";
        case ErrorKind::kBusy:
            return "busy";
        case ErrorKind::kDenied:
            return "denied";
        case ErrorKind::kNoSpace:
            return "no-space";
        case ErrorKind::kEngine:
            return "engine";
        case ErrorKind::kUsage:
            return "usage";
        case ErrorKind::kCancelled:
            return "cancelled";
        case ErrorKind::kInternal:
            return "internal";
    }
    return "internal";
}

Error Error::from_errno(ErrorKind kind, std::string message, int errnum) {
    return Error(kind, std::move(message) + ": " + std::generic_category().message(errnum));
}

Error Error::from_errno(std::string message, int errnum, ErrorKind otherwise) {
    ErrorKind kind = otherwise;
    switch (errnum) {
        case ENOENT:
        case ENOTDIR:
            kind = ErrorKind::kNotFound;
            break;
        case EACCES:
        case EPERM:
        case EROFS:
            kind = ErrorKind::kDenied;
            break;
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            kind = ErrorKind::kNoSpace;
            break;
        case EBUSY:
        case ETXTBSY:
            kind = ErrorKind::kBusy;
            break;
        case EOPNOTSUPP:
        case ENOSYS:
            kind = ErrorKind::kUnsupported;
            break;
        default:
            break;
    }
    return from_errno(kind, std::move(message), errnum);
}

Error Error::with_context(std::string_view context) const {
    std::string message(context);
    message += ": ";
    message += message_;
    return Error(kind_, std::move(message));
}

}  // namespace inspect
