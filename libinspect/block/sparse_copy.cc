// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/sparse_copy.h"

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/new_host_file.h"
#include "base/zeros.h"
#include "block/qcow2/create.h"
#include "block/qcow2/qcow2.h"
#include "block/raw.h"

namespace inspect {

namespace {

constexpr uint64_t kSector = 512;
constexpr uint64_t kRawUnit = 4096;
constexpr uint64_t kStep = 2 << 20;  // at least a cluster of any size

// Copies units of the device that aren't zeros: runs of them at once, or, compressed, one by one.
class Copier {
  public:
    Copier(BlockDevice& from, uint64_t unit) : from_(from), unit_(unit), buffer_(kStep) {}

    template <typename Write>
    void copy(bool one_by_one, const std::function<void(uint64_t)>& progress, Write write) {
        for (uint64_t at = 0; at < from_.size(); at += kStep) {
            const uint64_t length = std::min(kStep, from_.size() - at);
            if (has_data(at, length)) {
                const auto bytes = std::span(buffer_).first(length);
                from_.read(at, bytes);
                copy_step(at, bytes, one_by_one, write);
            }
            if (progress) progress(at + length);
        }
    }

  private:
    bool has_data(uint64_t offset, uint64_t length) {
        const std::vector<Extent> extents = from_.extents(offset, length);
        return std::any_of(extents.begin(), extents.end(),
                           [](const Extent& extent) { return extent.kind == ExtentKind::kData; });
    }

    template <typename Write>
    void copy_step(uint64_t offset, std::span<const std::byte> bytes, bool one_by_one, Write write) {
        auto is_zeros = [&](uint64_t at) {
            return is_all_zeros(bytes.subspan(at, std::min(unit_, bytes.size() - at)));
        };
        for (uint64_t at = 0; at < bytes.size();) {
            uint64_t end = std::min<uint64_t>(at + unit_, bytes.size());
            if (!is_zeros(at)) {
                while (!one_by_one && end < bytes.size() && !is_zeros(end))
                    end = std::min<uint64_t>(end + unit_, bytes.size());
                write(offset + at, bytes.subspan(at, end - at));
            }
            at = end;
        }
    }

    BlockDevice& from_;
    const uint64_t unit_;
    std::vector<std::byte> buffer_;
};

void copy_to_qcow2(BlockDevice& from, std::unique_ptr<RawDevice> file, const SparseCopyOptions& options,
                   const std::function<void(uint64_t)>& progress) {
    Qcow2CreateOptions create;
    // Such an image has whole sectors; the rest of the last one is zeros.
    create.size = align_up(from.size(), kSector);
    create.cluster_bits = options.cluster_bits;
    if (options.compression) create.compression = *options.compression;
    create_qcow2(*file, create);
    const Qcow2Header header = Qcow2Header::parse(*file);
    Qcow2Device image(header, {std::move(file), nullptr, nullptr}, {.read_only = false, .snapshot = {}});
    Copier copier(from, header.cluster_size());
    std::vector<std::byte> whole;
    copier.copy(options.compression.has_value(), progress,
                [&](uint64_t offset, std::span<const std::byte> bytes) {
                    if (!options.compression) return image.write(offset, bytes);
                    // The last cluster is whole but for what is behind the disk's end.
                    const uint64_t wanted = std::min(header.cluster_size(), image.size() - offset);
                    if (bytes.size() == wanted) return image.write_compressed(offset, bytes);
                    whole.assign(wanted, std::byte{0});
                    std::copy(bytes.begin(), bytes.end(), whole.begin());
                    image.write_compressed(offset, whole);
                });
    image.flush();
}

}  // namespace

void sparse_copy(BlockDevice& from, const std::string& path, const SparseCopyOptions& options,
                 const std::function<void(uint64_t done)>& progress) {
    if (options.format != "raw" && options.format != "qcow2")
        throw Error(ErrorKind::kUnsupported,
                    "an image in the format '" + options.format + "' can't be made: raw and qcow2 can");
    if (options.format == "raw" && options.compression)
        throw Error(ErrorKind::kUsage, "a raw image can't be compressed");
    require_unused(path);
    NewHostFile file(path);
    const auto device = [&] { return std::make_unique<RawDevice>(file.open(), false, path); };
    if (options.format == "qcow2") {
        copy_to_qcow2(from, device(), options, progress);
    } else {
        const auto image = device();
        image->resize(from.size());
        Copier(from, kRawUnit).copy(false, progress, [&](uint64_t offset, std::span<const std::byte> bytes) {
            image->write(offset, bytes);
        });
        image->flush();
    }
    file.publish();
}

}  // namespace inspect
