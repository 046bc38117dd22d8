// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Sparsifying: what there is on the disks (asked of the agent), one request for each volume, and what
// becomes of the images then.
#include <algorithm>
#include <bit>
#include <set>

#include <inspect/sparsify.h>

#include "block/sparse_copy.h"
#include "guest/printable.h"
#include "guest/session_impl.h"

namespace inspect {

namespace {

constexpr char kGroupType[] = "volume group";

SparsifyResult::Way to_way(proto::Sparsified::Way way) {
    switch (way) {
        case proto::Sparsified::DISCARDED:
            return SparsifyResult::Way::kDiscarded;
        case proto::Sparsified::FILLED:
            return SparsifyResult::Way::kFilled;
        case proto::Sparsified::CLEARED:
            return SparsifyResult::Way::kCleared;
        case proto::Sparsified::ZEROED:
            return SparsifyResult::Way::kZeroed;
        default:
            return SparsifyResult::Way::kSkipped;
    }
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

// Formats that are never written, so that nothing in them is free.
bool is_read_only_format(const std::string& type) {
    return type == "iso9660" || type == "squashfs" || type == "erofs";
}

bool is_locked(const FilesystemInfo& volume, const FilesystemReport& report) {
    if (volume.type != "crypto_LUKS" && volume.type != "BitLocker") return false;
    return std::none_of(report.filesystems.begin(), report.filesystems.end(),
                        [&](const FilesystemInfo& other) { return contains(other.parts, volume.device); });
}

// Wishes for what isn't there are mistakes, and better found before anything is done.
void require_known(const SparsifyWishes& wishes, const FilesystemReport& report) {
    auto is_device = [&](const std::string& name) {
        return std::any_of(report.filesystems.begin(), report.filesystems.end(),
                           [&](const FilesystemInfo& filesystem) { return filesystem.device == name; });
    };
    auto is_group = [&](const std::string& name) {
        return std::any_of(report.volume_groups.begin(), report.volume_groups.end(),
                           [&](const VolumeGroupInfo& group) { return group.name == name; });
    };
    for (const std::string& name : wishes.ignore)
        if (!is_device(name) && !is_group(name))
            throw Error(ErrorKind::kNotFound,
                        "there is no device or volume group " + printable(name) + " that could be ignored");
    for (const std::string& name : wishes.zero)
        if (!is_device(name))
            throw Error(ErrorKind::kNotFound, "there is no device " + printable(name) + " to be zeroed");
}

Qcow2Compression compression_of(const std::string& name) {
    if (name == "zlib") return Qcow2Compression::kZlib;
    if (name == "zstd") return Qcow2Compression::kZstd;
    throw Error(ErrorKind::kUsage,
                "an image is compressed by 'zlib' or 'zstd', not '" + printable(name) + "'");
}

// A guest that wakes up knows its file systems as they were. One that is to lose what it would wake up from
// starts afresh.
void refuse_hibernated(const SparsifyWishes& wishes, const FilesystemReport& report) {
    if (wishes.read_only) return;
    for (const FilesystemInfo& volume : report.filesystems) {
        if (volume.type != "swsuspend" || contains(wishes.zero, volume.device)) continue;
        throw Error(ErrorKind::kUnsupported,
                    "the guest hibernates: it is suspended to " + printable(volume.device) +
                        ", and would find its file systems changed; start it and shut it down");
    }
}

}  // namespace

// `must`: the user asked for just this, so that it can't be skipped.
SparsifyResult Session::Impl::sparsify_one(SparsifyResult target, proto::Request request, bool must) {
    const bool read_only = request.sparsify_volume().read_only();
    try {
        const proto::Response answer = call(std::move(request));
        if (!answer.has_sparsified())
            throw Error(ErrorKind::kInternal, "the appliance didn't say what it did about " + target.device);
        target.way = to_way(answer.sparsified().way());
        target.free_bytes = answer.sparsified().bytes();
        target.reason = printable(answer.sparsified().reason());
    } catch (const Error& error) {
        // What can't be written is left as it is. One that is damaged might be written to already.
        const bool harmless = error.kind() == ErrorKind::kDenied || error.kind() == ErrorKind::kUnsupported;
        if (must) throw;
        if (error.kind() != ErrorKind::kCorrupt && !harmless) throw;
        if (!harmless && !read_only)
            throw Error(error.kind(), error.message() +
                                          "; nothing was changed; repair it (insp fsck --repair) or "
                                          "leave it out (--ignore " +
                                          printable(target.device) + ")");
        target.reason = error.message();
    }
    return target;
}

std::vector<SparsifyResult> Session::sparsify(const SparsifyWishes& wishes,
                                              const std::function<void(const SparsifyResult&)>& on_result) {
    const FilesystemReport report = filesystems();
    require_known(wishes, report);
    refuse_hibernated(wishes, report);
    return impl_->sparsify(wishes, report, on_result);
}

std::vector<SparsifyResult> Session::Impl::sparsify(
    const SparsifyWishes& wishes, const FilesystemReport& report,
    const std::function<void(const SparsifyResult&)>& on_result) {
    check_usable();
    require_writable();
    std::vector<SparsifyResult> results;
    auto add = [&](SparsifyResult result) {
        if (on_result) on_result(result);
        results.push_back(std::move(result));
    };
    std::set<std::string> seen;  // file systems on several devices, by their UUID
    for (const FilesystemInfo& filesystem : report.filesystems) {
        const bool zero = contains(wishes.zero, filesystem.device);
        const bool swap = filesystem.type == "swap";
        if (contains(wishes.ignore, filesystem.device)) continue;
        SparsifyResult target;
        target.device = filesystem.device;
        target.type = filesystem.type;
        if (!zero && is_locked(filesystem, report)) {
            target.reason = "it is encrypted, and was not unlocked (--key)";
            add(std::move(target));
            continue;
        }
        if (!zero && !swap && (!filesystem.mountable || is_read_only_format(filesystem.type))) continue;
        if (!zero && filesystem.type == "btrfs" && !seen.insert(filesystem.uuid).second) continue;
        proto::Request request;
        request.mutable_sparsify_volume()->set_device(filesystem.device);
        request.mutable_sparsify_volume()->set_zero(zero);
        request.mutable_sparsify_volume()->set_read_only(wishes.read_only);
        // Zeros are found in an overlay.
        request.mutable_sparsify_volume()->set_no_filling(!options.scratch &&
                                                          options.write_mode == WriteMode::kDirect);
        add(sparsify_one(std::move(target), std::move(request), zero));
    }
    for (const VolumeGroupInfo& group : report.volume_groups) {
        if (contains(wishes.ignore, group.name) || group.free_bytes == 0) continue;
        proto::Request request;
        request.mutable_sparsify_group()->set_group(group.name);
        SparsifyResult target;
        target.device = group.name;
        target.type = kGroupType;
        add(sparsify_one(std::move(target), std::move(request), false));
    }
    find_zeros_ = true;
    return results;
}

void Session::write_copy(const SparseCopy& copy) { impl_->write_copy(copy); }

void Session::Impl::write_copy(const SparseCopy& copy) {
    SparseCopyOptions wanted;
    if (!copy.compression.empty()) wanted.compression = compression_of(copy.compression);
    if (!std::has_single_bit(copy.cluster_size))
        throw Error(ErrorKind::kUsage, "a cluster's size is a power of two");
    wanted.cluster_bits = static_cast<uint32_t>(std::countr_zero(copy.cluster_size));
    check_usable();
    wanted.format = copy.format.empty() ? disks_->image(0).format() : copy.format;
    finish();
    const auto contents = disks_->image(0).contents();
    sparse_copy(*contents, copy.path, wanted, [&](uint64_t done) {
        require_not_interrupted();
        if (copy.on_progress) copy.on_progress(done, contents->size());
    });
    disks_.reset();
}

}  // namespace inspect
