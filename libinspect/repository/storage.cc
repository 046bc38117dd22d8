// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/storage.h"

#include <inspect/error.h>

#include "repository/local_storage.h"
#include "repository/rest_storage.h"

namespace inspect::repository {

std::string_view directory_name(FileKind kind) {
    switch (kind) {
        case FileKind::kConfig:
            return "config";
        case FileKind::kKey:
            return "keys";
        case FileKind::kLock:
            return "locks";
        case FileKind::kSnapshot:
            return "snapshots";
        case FileKind::kIndex:
            return "index";
        case FileKind::kPack:
            return "data";
    }
    return "";
}

std::string describe(FileKind kind, const ObjectId& id) {
    switch (kind) {
        case FileKind::kConfig:
            return "the config file";
        case FileKind::kKey:
            return "the key file " + id.hex();
        case FileKind::kLock:
            return "the lock " + id.hex();
        case FileKind::kSnapshot:
            return "the snapshot " + id.hex();
        case FileKind::kIndex:
            return "the index " + id.hex();
        case FileKind::kPack:
            return "the pack file " + id.hex();
    }
    return "";
}

std::unique_ptr<Storage> open_storage(const std::string& location) {
    if (location.empty() || location == "local:")
        throw Error(ErrorKind::kUsage,
                    "no repository was named: give --repo, or set RESTIC_REPOSITORY in the environment");
    if (location.starts_with("local:")) return std::make_unique<LocalStorage>(location.substr(6));
    if (location.starts_with("rest:")) {
        if (!location.starts_with("rest:http://") && !location.starts_with("rest:https://"))
            throw Error(
                ErrorKind::kUsage,
                "a repository on a server is named rest:http://HOST:PORT/PATH/, not '" + location + "'");
        return std::make_unique<RestStorage>(location.substr(5));
    }
    for (const char* scheme : {"s3:", "sftp:", "b2:", "azure:", "gs:", "swift:", "rclone:"}) {
        if (location.starts_with(scheme))
            throw Error(ErrorKind::kUnsupported,
                        "a repository at '" + location +
                            "' can't be opened directly; 'rclone serve restic REMOTE:PATH' makes it one at "
                            "rest:http://localhost:8080/");
    }
    return std::make_unique<LocalStorage>(location);
}

}  // namespace inspect::repository
