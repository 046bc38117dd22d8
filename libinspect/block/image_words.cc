// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The words that users give cache modes and formats, and what can be wrong with a DiskSpec by itself.
#include <nlohmann/json.hpp>

#include <inspect/error.h>

#include "block/backup_open.h"
#include "block/image.h"
#include "block/nbd_uri.h"
#include "block/qsd.h"
#include "block/qsd_location.h"

namespace inspect {

CacheMode parse_cache_mode(std::string_view name) {
    for (CacheMode mode : {CacheMode::kWriteback, CacheMode::kNone, CacheMode::kWritethrough,
                           CacheMode::kDirectsync, CacheMode::kUnsafe}) {
        if (cache_mode_name(mode) == name) return mode;
    }
    throw Error(ErrorKind::kUsage, "there is no cache mode '" + std::string(name) +
                                       "'; there are writeback, none, writethrough, directsync and unsafe");
}

std::string_view cache_mode_name(CacheMode mode) noexcept {
    switch (mode) {
        case CacheMode::kWriteback:
            return "writeback";
        case CacheMode::kNone:
            return "none";
        case CacheMode::kWritethrough:
            return "writethrough";
        case CacheMode::kDirectsync:
            return "directsync";
        case CacheMode::kUnsafe:
            return "unsafe";
    }
    return "";
}

ImageFormat parse_image_format(std::string_view name) {
    if (name == "raw") return ImageFormat::kRaw;
    if (name == "qcow2") return ImageFormat::kQcow2;
    if (qsd_knows_format(name)) return ImageFormat::kOther;
    throw Error(ErrorKind::kUsage,
                "there is no image format '" + std::string(name) +
                    "'; there are raw and qcow2, and by qemu-storage-daemon vmdk, vdi, vhdx, "
                    "vpc, qcow, qed, parallels, dmg and luks");
}

void require_valid(const DiskSpec& disk) {
    if (!disk.format.empty()) parse_image_format(disk.format);
    if (disk.sector_size != 512 && disk.sector_size != 4096)
        throw Error(ErrorKind::kUsage, "a sector size of " + std::to_string(disk.sector_size) +
                                           " bytes for '" + disk.path + "': it is 512 or 4096");
    if (NbdUri::looks_like(disk.path)) {
        NbdUri::parse(disk.path);
    } else if (qsd_is_remote(disk.path)) {
        qsd_location(disk.path);
    } else if (BackupLocation::looks_like(disk.path) && !disk.format.empty() && disk.format != "raw") {
        throw Error(ErrorKind::kUsage, "what is in a backup is the disk itself: its format is raw");
    }
}

}  // namespace inspect
