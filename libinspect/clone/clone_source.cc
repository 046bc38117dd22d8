// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The ways to make one disk of another. A copy is of the image's file, byte for byte, where that says
// everything: then nothing is lost that only the format knows (internal snapshots, bitmaps). Where the file
// doesn't stand alone, or is to be of another format, what the disk holds is copied.
#include "clone/clone_source.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "block/memory_device.h"
#include "block/qcow2/qcow2.h"

namespace inspect {

namespace {

// What the metadata of a new image takes at most, unless it has data.
constexpr uint64_t kMetadata = uint64_t{1} << 20;
constexpr uint64_t kExtentStep = uint64_t{64} << 30;  // of a disk at once: bounds the list of extents

std::string canonical(const std::string& path) {
    std::error_code error;
    const auto result = std::filesystem::weakly_canonical(path, error);
    return error ? path : result.string();
}

// Of a node that is a qcow2 image.
Qcow2Header header_of(const DiskNode& node) { return Qcow2Header::parse(*node.file->open()); }

}  // namespace

CloneSource::CloneSource(const DiskSpec& spec, const CloneOptions& options) : spec_(spec), options_(options) {
    image_ = Image::open(spec, {});
    const bool known = image_->format() == "raw" || image_->format() == "qcow2";
    format_ = options.method == CloneMethod::kOverlay ? "qcow2"
              : !options.format.empty()               ? options.format
              : known                                 ? image_->format()
                                                      : "qcow2";
    if (format_ != "raw" && format_ != "qcow2")
        throw Error(ErrorKind::kUnsupported,
                    "a clone in the format '" + format_ + "' can't be made: raw and qcow2 can");
    if (options.method == CloneMethod::kOverlay) {
        if (!options.format.empty() && options.format != "qcow2")
            throw Error(ErrorKind::kUsage, "an overlay is a qcow2 image, not " + options.format);
        overlay_backing();  // or it is refused
    }
    if (options.keep_chain && format_ == "raw" && image_->node().kind == DiskNode::Kind::kQcow2)
        throw Error(ErrorKind::kUsage, "a raw image can't stand on another one: qcow2 can");
}

Error CloneSource::refused(const std::string& why) const {
    return Error(ErrorKind::kUnsupported, "'" + path() + "' can't be cloned like that: " + why);
}

mode_t CloneSource::mode() const {
    constexpr mode_t kAll = 0666, kOwner = 0600;
    if (image_->files().empty() || image_->files()[0]->is_block_device()) return kOwner;
    return (image_->files()[0]->status().st_mode & kAll) | kOwner;
}

bool CloneSource::is_at(const std::string& target) const {
    struct stat status {};
    if (::stat(target.c_str(), &status) != 0) return false;
    for (const auto& file : image_->files()) {
        const struct stat& own = file->status();
        if (own.st_dev == status.st_dev && own.st_ino == status.st_ino) return true;
    }
    return false;
}

// What a copy that keeps the chain stands on, by its full name.
std::optional<NewBacking> CloneSource::kept_backing() const {
    const DiskNode& node = image_->node();
    if (!options_.keep_chain || node.kind != DiskNode::Kind::kQcow2 || !node.backing) return std::nullopt;
    const Qcow2Header header = header_of(node);
    const ResolvedImageName name = resolve_image_name(spec_.path, *header.backing_name);
    const char* seen = node.backing->kind == DiskNode::Kind::kQcow2 ? "qcow2" : "raw";
    return NewBacking{name.is_path ? canonical(name.name) : name.name, header.backing_format.value_or(seen)};
}

// The file whose bytes are all of a clone at `target`; null where there is no such.
const ImageFile* CloneSource::whole_file(const std::string& target) const {
    const DiskNode& node = image_->node();
    if (format_ != image_->format() || node.snapshot || image_->files().empty()) return nullptr;
    const ImageFile& file = *image_->files()[0];
    if (file.is_block_device()) return nullptr;
    const DiskNode& bytes = node.kind == DiskNode::Kind::kQcow2 ? *node.file : node;
    if (bytes.kind != DiskNode::Kind::kRaw || bytes.fd != file.read_fd() || node.data_file) return nullptr;
    if (!node.backing) return &file;
    const auto kept = kept_backing();
    if (!kept) return nullptr;
    // A name without a directory means another file from elsewhere.
    const ResolvedImageName there = resolve_image_name(target, *header_of(node).backing_name);
    return (there.is_path ? canonical(there.name) : there.name) == kept->name ? &file : nullptr;
}

NewBacking CloneSource::overlay_backing() const {
    if (image_->node().snapshot)
        throw refused("an image can't stand on an internal snapshot; --method=copy copies what it has");
    if (!image_->files().empty()) {
        if (image_->files()[0]->pending() != nullptr)
            throw Error(ErrorKind::kBusy, "a change to '" + path() +
                                              "' was cut short, and must be finished first (insp recover)");
        return {image_->files()[0]->resolved_path(), image_->format()};
    }
    if (spec_.path.starts_with("backup:"))
        throw refused("an image can't stand on a backup; --method=copy restores it");
    const ResolvedImageName name = resolve_image_name("./", spec_.path);
    return {name.is_path ? canonical(name.name) : name.name, image_->format()};
}

const HostVolume& CloneSource::logical_volume() {
    if (!volume_) {
        const bool device = !image_->files().empty() && image_->files()[0]->is_block_device();
        if (device) volume_ = find_host_volume(image_->files()[0]->status().st_rdev, path());
        if (!volume_) throw refused("it is no logical volume of this host's");
        if (image_->format() != "raw")
            throw refused("the volume holds a " + image_->format() +
                          " image; --method=copy copies what it has");
    }
    return *volume_;
}

// A copy is of what the disk holds, and what was encrypted would be there for everybody to read. So would be
// what is written to an overlay.
void CloneSource::require_no_secrets(const char* clone) const {
    if (image_->encrypted() && options_.format.empty())
        throw refused("it is encrypted, and " + std::string(clone) +
                      " would not be; --output-format (raw, qcow2) makes one that isn't, cp copies the file "
                      "as it is");
}

CloneMethod CloneSource::method_for(const std::string& target) {
    switch (options_.method) {
        case CloneMethod::kLvmSnapshot:
            logical_volume();
            return CloneMethod::kLvmSnapshot;
        case CloneMethod::kOverlay:
            return require_no_secrets("what an overlay on it has"), CloneMethod::kOverlay;
        case CloneMethod::kCopy:
            return require_no_secrets("a copy"), CloneMethod::kCopy;
        case CloneMethod::kReflink:
        case CloneMethod::kAuto:
            break;
    }
    const bool automatic = options_.method == CloneMethod::kAuto;
    if (automatic && target.starts_with("/dev/")) {
        logical_volume();
        return CloneMethod::kLvmSnapshot;
    }
    const ImageFile* file = whole_file(target);
    if (file == nullptr || file->pending() != nullptr) {
        if (automatic) return require_no_secrets("a copy"), CloneMethod::kCopy;
        throw refused(
            "only an image that is a file of its own, in the same format, can share its blocks; "
            "--method=copy copies what it has, --keep-chain what only this image has");
    }
    const NewHostFile attempt(target, mode());
    if (share_file_blocks(file->read_fd(), attempt.open().get(), target)) return CloneMethod::kReflink;
    if (automatic) return CloneMethod::kCopy;
    throw refused("its file system and that of '" + target +
                  "' can't share blocks (Btrfs and XFS can, within one file system)");
}

uint64_t CloneSource::room_for(CloneMethod method) const {
    if (method != CloneMethod::kCopy) return kMetadata;
    if (const ImageFile* file = whole_file(path()))
        return static_cast<uint64_t>(file->status().st_blocks) * 512 + kMetadata;
    const auto device = image_->node().open();
    return disk_data_size(*device) + kMetadata;
}

ClonedDisk CloneSource::fill(const NewHostFile& file, CloneMethod method,
                             const CopyProgress& progress) const {
    ClonedDisk disk{path(), file.target(), format_, method, size(), {}};
    if (method == CloneMethod::kReflink) {
        const ImageFile* whole = whole_file(file.target());
        if (whole == nullptr || !share_file_blocks(whole->read_fd(), file.open().get(), file.target()))
            throw refused("its blocks can't be shared with '" + file.target() + "'");
    } else if (method == CloneMethod::kOverlay) {
        const NewBacking backing = overlay_backing();
        format_image(file.open(), file.target(), format_, size(), backing);
        disk.backing = backing.name;
    } else {
        copy(file, progress);
    }
    if (const auto kept = kept_backing(); kept && method != CloneMethod::kOverlay) disk.backing = kept->name;
    for (const auto& part : image_->files()) part->check_not_changed();
    return disk;
}

void CloneSource::copy(const NewHostFile& file, const CopyProgress& progress) const {
    const ImageFile* whole = whole_file(file.target());
    if (whole != nullptr && whole->pending() == nullptr)
        return copy_file_bytes(whole->read_fd(), file.open().get(), whole->size(), file.target(), progress);
    const std::optional<NewBacking> backing = kept_backing();
    format_image(file.open(), file.target(), format_, size(), backing);
    const auto image = Image::open({.path = file.path(), .format = format_},
                                   {.writable = true, .write_mode = WriteMode::kDirect});
    const auto target = image->node().open();
    if (backing) {
        copy_layer(*target, progress);
    } else {
        const auto source = image_->node().open();
        copy_disk(*source, *target, progress);
    }
    target->flush();
}

// What the topmost image of the chain has itself.
void CloneSource::copy_layer(BlockDevice& target, const CopyProgress& progress) const {
    const DiskNode& node = image_->node();
    const Qcow2Header header = header_of(node);
    Qcow2Files files{node.file->open(), std::make_unique<MemoryDevice>(0),
                     node.data_file ? node.data_file->open() : nullptr};
    Qcow2Device layer(header, std::move(files), {.read_only = true, .snapshot = node.snapshot});
    std::vector<std::byte> buffer(1 << 20);
    for (uint64_t at = 0; at < layer.size();) {
        const uint64_t step = std::min(kExtentStep, layer.size() - at);
        for (const Extent& extent : layer.extents(at, step)) {
            if (extent.kind == ExtentKind::kZero) target.write_zeroes(extent.offset, extent.length, true);
            if (extent.kind != ExtentKind::kData) continue;
            for (uint64_t done = 0; done < extent.length;) {
                const uint64_t length = std::min<uint64_t>(buffer.size(), extent.length - done);
                const auto piece = std::span(buffer).first(length);
                layer.read(extent.offset + done, piece);
                target.write(extent.offset + done, piece);
                done += length;
                if (progress) progress(length);
            }
        }
        at += step;
    }
}

NewSnapshot CloneSource::snapshot(const std::string& target) {
    const HostVolume& volume = logical_volume();
    const std::string directory = "/dev/" + volume.group + "/";
    const std::string name = target.starts_with(directory) ? target.substr(directory.size()) : target;
    if (name.empty() || name.find('/') != name.npos || name[0] == '-')
        throw Error(ErrorKind::kUsage, "a snapshot of " + volume.full_name() +
                                           " lies in the same volume group: call it " + directory +
                                           "NAME, not '" + target + "'");
    return NewSnapshot(volume, name);
}

ClonedDisk CloneSource::describe(const NewSnapshot& snapshot) const {
    return {path(), snapshot.target(), "raw", CloneMethod::kLvmSnapshot, size(), {}};
}

}  // namespace inspect
