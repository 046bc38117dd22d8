// SPDX-License-Identifier: LGPL-2.1-or-later
#include "backup/unchanged.h"

#include <algorithm>

#include <inspect/error.h>

#include "block/qcow2/qcow2.h"

namespace inspect {

namespace {

uint64_t nanoseconds(const timespec& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

bool same_but_for_paths(std::span<const repository::SourceFile> a,
                        std::span<const repository::SourceFile> b) {
    return std::ranges::equal(a, b, [](repository::SourceFile x, const repository::SourceFile& y) {
        x.path = y.path;
        return x == y;
    });
}

// What the topmost image of a chain says nothing about.
RangeSet not_in_overlay(const DiskNode& node) {
    Qcow2Files files;
    files.file = node.file->open();
    Qcow2Header header = Qcow2Header::parse(*files.file);
    header.backing_name.reset();
    if (node.data_file) files.data_file = node.data_file->open();
    Qcow2Device top(std::move(header), std::move(files), {.read_only = true, .snapshot = {}});
    RangeSet holes;
    for (uint64_t at = 0; at < top.size(); at += BlockDevice::kExtentStep)
        for (const Extent& extent : top.extents(at, std::min(BlockDevice::kExtentStep, top.size() - at)))
            if (extent.kind == ExtentKind::kHole) holes.add(extent.offset, extent.length);
    return holes;
}

RangeSet clean_in_bitmap(const Image& image, const std::string& name) {
    if (image.node().kind != DiskNode::Kind::kQcow2)
        throw Error(ErrorKind::kUsage, "'" + image.path() + "' is no qcow2 image: it has no bitmaps");
    const auto file = image.node().file->open();
    const Qcow2Header header = Qcow2Header::parse(*file);
    const std::vector<Qcow2Bitmap> bitmaps = read_bitmaps(*file, header);
    const auto found = std::ranges::find(bitmaps, name, &Qcow2Bitmap::name);
    if (found == bitmaps.end() || !found->usable || !found->enabled)
        throw Error(ErrorKind::kNotFound, "'" + image.path() + "' has no bitmap '" + name +
                                              "' that can be relied on; 'insp info' shows its bitmaps");
    RangeSet clean;
    uint64_t at = 0;
    for_each_dirty_range(*file, header, *found, [&](uint64_t offset, uint64_t length) {
        clean.add(at, offset - at);
        at = offset + length;
    });
    clean.add(at, image.size() - at);
    return clean;
}

}  // namespace

std::vector<repository::SourceFile> source_files(const Image& image) {
    std::vector<repository::SourceFile> files;
    for (const auto& file : image.files()) {
        const struct stat& status = file->status();
        if (!S_ISREG(status.st_mode)) return {};
        files.push_back({file->resolved_path(), status.st_dev, status.st_ino,
                         static_cast<uint64_t>(status.st_size), nanoseconds(status.st_mtim),
                         nanoseconds(status.st_ctim)});
    }
    return files;
}

std::optional<RangeSet> unchanged_since(const Image& image, const std::vector<repository::SourceFile>& files,
                                        const repository::DiskRecord& before,
                                        const UnchangedOptions& options) {
    if (!options.bitmap.empty()) return clean_in_bitmap(image, options.bitmap);
    if (files.empty() || before.files.empty()) return std::nullopt;
    if (options.trust_mtime && same_but_for_paths(files, before.files)) {
        RangeSet all;
        all.add(0, image.size());
        return all;
    }
    // A base must not change while something stands on it, so its times are believed here.
    if (files.size() == before.files.size() + 1 && image.node().kind == DiskNode::Kind::kQcow2 &&
        image.node().backing && !image.node().snapshot &&
        same_but_for_paths(std::span(files).subspan(1), before.files))
        return not_in_overlay(image.node());
    return std::nullopt;
}

}  // namespace inspect
