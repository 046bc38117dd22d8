// SPDX-License-Identifier: LGPL-2.1-or-later
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include <inspect/image.h>

#include "base/new_host_file.h"
#include "block/copy_data.h"
#include "block/format.h"
#include "block/format_image.h"
#include "block/image_file.h"
#include "block/json_name.h"
#include "block/qcow2/qcow2.h"
#include "block/raw.h"

namespace inspect {

namespace {

bool is_qcow2(const ImageFile& file, const std::string& format) {
    if (!format.empty()) return format == "qcow2";
    std::array<std::byte, kFormatSector> sector{};
    const size_t size = pread_full(file.read_fd(), sector, 0, "cannot read the image to be copied");
    return foreign_format(std::span(sector).first(size)) == "qcow2";
}

bool is_same_file(const std::string& a, const std::string& b) {
    struct stat one {
    }, other{};
    return ::stat(a.c_str(), &one) == 0 && ::stat(b.c_str(), &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

// What a qcow2 image stands on must be the same for its copy, and not be changed with it.
void require_copyable(const ImageFile& file, const std::string& to) {
    RawDevice device(dup_fd(file.read_fd()), true, file.path());
    const Qcow2Header header = Qcow2Header::parse(device);
    const std::string what = "'" + file.path() + "' can't be copied: ";
    if (header.external_data())
        throw Error(ErrorKind::kUnsupported,
                    what +
                        "its data are in a file of their own, which the copy would share and change; "
                        "'qemu-img convert' makes a copy that has them");
    if (!header.backing_name) return;
    const std::string name = is_json_name(*header.backing_name) ? parse_json_name(*header.backing_name).name
                                                                : *header.backing_name;
    const ResolvedImageName here = resolve_image_name(file.path(), name);
    const ResolvedImageName there = resolve_image_name(to, name);
    if (!here.is_path || here.name == there.name || is_same_file(here.name, there.name)) return;
    throw Error(ErrorKind::kUnsupported,
                what + "it stands on '" + name +
                    "', which is another file, or none, where the copy is to be; give the copy a name in the "
                    "same directory");
}

}  // namespace

struct NewImage::Impl {
    Impl(const std::string& name, bool to_replace) : replace(to_replace), file(name) {}
    const bool replace;
    NewHostFile file;
};

NewImage::NewImage(const std::string& name, bool replace) {
    if (!replace) require_unused(name);
    impl_ = std::make_unique<Impl>(name, replace);
}

NewImage::~NewImage() = default;

const std::string& NewImage::path() const noexcept { return impl_->file.path(); }

void NewImage::create(const std::string& format, uint64_t size) {
    constexpr uint64_t kSector = 512;
    if (size == 0 || size % kSector != 0 || size > INT64_MAX)
        throw Error(ErrorKind::kUsage, "a disk of " + std::to_string(size) + " bytes can't be made");
    Fd fd = impl_->file.open();
    if (::ftruncate(fd.get(), 0) < 0)
        throw Error::from_errno("cannot write '" + impl_->file.target() + "'", errno);
    format_image(std::move(fd), impl_->file.target(), format, size);
}

void NewImage::copy(const DiskSpec& from, const std::function<void(uint64_t done, uint64_t size)>& progress) {
    const std::string& name = impl_->file.target();
    const ImageFile source(from.path, {});
    if (source.is_block_device())
        throw Error(ErrorKind::kUnsupported, "'" + from.path + "' is a block device: only files are copied");
    if (source.pending())
        throw Error(ErrorKind::kBusy,
                    "a change to '" + from.path + "' was cut short, and must be finished first");
    if (is_qcow2(source, from.format)) require_copyable(source, name);
    const Fd target = impl_->file.open();
    // No more may read it than may read the image.
    struct stat status {};
    if (::fstat(target.get(), &status) < 0 ||
        ::fchmod(target.get(), status.st_mode & source.status().st_mode & 0777) < 0)
        throw Error::from_errno("cannot write '" + name + "'", errno);
    uint64_t done = 0;
    const auto step = [&](uint64_t bytes) {
        done += bytes;
        if (progress) progress(done, source.size());
    };
    if (!share_file_blocks(source.read_fd(), target.get(), name))
        copy_file_bytes(source.read_fd(), target.get(), source.size(), name, step);
    source.check_not_changed();
}

void NewImage::publish() { impl_->file.publish(impl_->replace); }

void create_image(const std::string& path, const std::string& format, uint64_t size) {
    NewImage image(path);
    image.create(format, size);
    image.publish();
}

}  // namespace inspect
