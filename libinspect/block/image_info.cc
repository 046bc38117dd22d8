// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/image.h: what is to be said about an image.
#include <inspect/image.h>

#include "block/copy_data.h"
#include "block/image.h"
#include "block/qcow2/qcow2.h"

namespace inspect {

namespace {

// The node of the file that a node's own bytes are in.
const DiskNode& file_node(const DiskNode& node) {
    return node.kind == DiskNode::Kind::kQcow2 || node.kind == DiskNode::Kind::kOverlay
               ? file_node(*node.file)
               : node;
}

const ImageFile* file_of(const Image& image, const DiskNode& node) {
    const int fd = file_node(node).fd;
    for (const auto& file : image.files())
        if (file->read_fd() == fd) return file.get();
    return nullptr;
}

uint64_t allocated(const ImageFile& file) {
    return file.is_block_device() ? file.size() : static_cast<uint64_t>(file.status().st_blocks) * 512;
}

void add_to_chain(const Image& image, const DiskNode& node, std::vector<ImageFileInfo>& chain) {
    ImageFileInfo info;
    info.path = node.name;
    info.format = node.kind == DiskNode::Kind::kQcow2 ? "qcow2" : "raw";
    info.virtual_size = node.open()->size();
    if (const ImageFile* file = file_of(image, node)) {
        info.file_size = file->size();
        info.allocated_size = allocated(*file);
    }
    chain.push_back(std::move(info));
}

void add_qcow2(const DiskNode& node, ImageInfo& info) {
    auto file = node.file->open();
    const Qcow2Header header = Qcow2Header::parse(*file);
    info.version = header.version;
    info.cluster_size = header.cluster_size();
    info.refcount_bits = header.refcount_bits();
    info.compression = header.compression == Qcow2Compression::kZstd ? "zstd" : "zlib";
    info.extended_l2 = header.extended_l2();
    info.lazy_refcounts = header.lazy_refcounts();
    info.dirty = header.dirty();
    for (const Qcow2Snapshot& snapshot : read_snapshots(*file, header)) {
        const auto time = static_cast<int64_t>(snapshot.seconds) * 1'000'000'000 + snapshot.nanoseconds;
        info.snapshots.push_back({snapshot.id, snapshot.name, time, snapshot.vm_clock, snapshot.vm_state_size,
                                  snapshot.disk_size});
    }
    for (const Qcow2Bitmap& bitmap : read_bitmaps(*file, header))
        info.bitmaps.push_back({bitmap.name, bitmap.granularity, bitmap.enabled, bitmap.usable});
}

}  // namespace

ImageInfo image_info(const DiskSpec& disk) {
    auto image = Image::open(disk, {});
    ImageInfo info;
    info.path = disk.path;
    info.format = image->format();
    info.format_was_detected = image->format_was_detected();
    info.virtual_size = image->size();
    info.encrypted = image->encrypted();
    const DiskNode& node = image->node();
    if (const ImageFile* file = file_of(*image, node)) {
        info.file_size = file->size();
        info.allocated_size = allocated(*file);
        if (file->pending() != nullptr) info.recovery = "pending";
        if (file->recovery() == Recovery::kDiscarded) info.recovery = "discarded";
        if (file->recovery() == Recovery::kFinished) info.recovery = "finished";
    }
    info.data_size = disk_data_size(*node.open());
    if (node.kind == DiskNode::Kind::kQcow2) add_qcow2(node, info);
    if (node.data_file) add_to_chain(*image, *node.data_file, info.chain);
    for (const DiskNode* below = node.backing.get(); below != nullptr; below = below->backing.get())
        add_to_chain(*image, *below, info.chain);
    return info;
}

RecoveryResult recover_image(const std::string& path) {
    ImageFile file(path, {.writable = true, .journalled = true, .force_share = false, .direct_io = false});
    switch (file.recovery()) {
        case Recovery::kNothing:
            return RecoveryResult::kNothing;
        case Recovery::kDiscarded:
            return RecoveryResult::kDiscarded;
        case Recovery::kFinished:
            return RecoveryResult::kFinished;
    }
    throw Error(ErrorKind::kInternal, "an unknown result of a recovery");
}

}  // namespace inspect
