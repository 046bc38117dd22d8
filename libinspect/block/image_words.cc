// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The words that users give cache modes and formats.
#include <inspect/error.h>

#include "block/image.h"
#include "block/qsd.h"

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

}  // namespace inspect
