// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/backup.h: writing a disk back. A new image appears under its name when it is complete and durable;
// an image that exists gets what differs.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "backup/repository_impl.h"
#include "backup/workers.h"
#include "base/checked.h"
#include "base/fd.h"
#include "base/new_host_file.h"
#include "block/format_image.h"
#include "block/image.h"
#include "repository/disk_contents.h"

namespace inspect {

using repository::BlobType;
using repository::Bytes;
using repository::DiskChunk;
using repository::DiskContents;

namespace {

// What is compared, and written, at once.
constexpr uint64_t kBlock = 4096;
// A qcow2 image is a multiple of that long.
constexpr uint64_t kSector = 512;

class Restoration {
  public:
    Restoration(repository::Repository& repository, const DiskContents& contents, BlockDevice& target,
                bool compare, const RestoreOptions& options)
        : repository_(repository),
          contents_(contents),
          target_(target),
          compare_(compare),
          options_(options) {}

    uint64_t run() {
        // Neighbours lie in the same pack, so the same thread takes several.
        const size_t groups = (contents_.count() + kGroup - 1) / kGroup;
        work_in_parallel(
            groups, useful_threads(),
            [this](size_t group) {
                const size_t end = std::min(contents_.count(), (group + 1) * kGroup);
                for (size_t i = group * kGroup; i < end; ++i) restore(contents_.chunk(i));
            },
            [this] {
                if (options_.on_progress) options_.on_progress({done_, contents_.size(), done_, written_});
            });
        target_.flush();
        return written_;
    }

  private:
    static constexpr size_t kGroup = 8;

    void restore(const DiskChunk& chunk) {
        if (chunk.zero) {
            if (compare_) make_zero(chunk.offset, chunk.length);
        } else {
            const Bytes wanted = repository_.read_blob(BlobType::kData, chunk.id);
            if (wanted.size() != chunk.length)
                throw Error(ErrorKind::kCorrupt, "a chunk has another size than the index says");
            write_differences(chunk.offset, wanted);
        }
        done_ += chunk.length;
    }

    // Writes the runs of blocks that differ from what is there: in a new image, those that aren't zeros.
    void write_differences(uint64_t offset, const Bytes& wanted) {
        Bytes present(compare_ ? wanted.size() : kBlock);
        if (compare_) {
            const std::lock_guard guard(mutex_);
            target_.read(offset, present);
        }
        auto same = [&](size_t at) {
            const size_t length = std::min<size_t>(kBlock, wanted.size() - at);
            return std::memcmp(wanted.data() + at, present.data() + (compare_ ? at : 0), length) == 0;
        };
        for (size_t at = 0; at < wanted.size();) {
            if (same(at)) {
                at += kBlock;
                continue;
            }
            size_t end = at;
            while (end < wanted.size() && !same(end)) end += kBlock;
            end = std::min(end, wanted.size());
            const std::lock_guard guard(mutex_);
            target_.write(offset + at, std::span(wanted).subspan(at, end - at));
            written_ += end - at;
            at = end;
        }
    }

    void make_zero(uint64_t offset, uint64_t length) {
        const std::lock_guard guard(mutex_);
        for (const Extent& extent : target_.extents(offset, length)) {
            if (extent.kind != ExtentKind::kData) continue;
            target_.write_zeroes(extent.offset, extent.length, true);
            written_ += extent.length;
        }
    }

    repository::Repository& repository_;
    const DiskContents& contents_;
    BlockDevice& target_;
    const bool compare_;
    const RestoreOptions& options_;
    std::mutex mutex_;  // of target_
    std::atomic<uint64_t> done_{0}, written_{0};
};

uint64_t write_image(repository::Repository& repository, const DiskContents& contents, const DiskSpec& spec,
                     bool compare, const RestoreOptions& options) {
    const auto image = Image::open(spec, {.writable = true, .write_mode = WriteMode::kDirect});
    if (image->size() < contents.size())
        throw Error(ErrorKind::kNoSpace, "'" + spec.path + "' is too small: it has " +
                                             std::to_string(image->size()) + " bytes, the disk " +
                                             std::to_string(contents.size()));
    const bool block_device = !image->files().empty() && image->files()[0]->is_block_device();
    if (image->size() > align_up(contents.size(), kSector) && !block_device)
        throw Error(ErrorKind::kUsage, "'" + spec.path + "' is larger than the disk (" +
                                           std::to_string(image->size()) + " bytes, the disk has " +
                                           std::to_string(contents.size()) + ")");
    const auto device = image->node().open();
    return Restoration(repository, contents, *device, compare, options).run();
}

}  // namespace

RestoreResult BackupRepository::restore(const std::string& name, const std::string& disk,
                                        const std::string& target, const RestoreOptions& options) {
    if (options.format != "raw" && options.format != "qcow2")
        throw Error(ErrorKind::kUsage,
                    "an image is restored as 'raw' or 'qcow2', not '" + options.format + "'");
    impl_->lock_shared();
    const repository::GuestBackup backup = impl_->find(name);
    const size_t number = find_disk(backup, disk);
    const DiskContents contents(*impl_->repository(), backup.disks[number], zero_lengths(backup, number));
    if (contents.size() == 0) throw Error(ErrorKind::kUnsupported, "an empty file is no disk");
    RestoreResult result{.size = contents.size(), .written = 0};
    struct stat status {};
    if (::stat(target.c_str(), &status) != 0) {
        if (errno != ENOENT) throw Error::from_errno("can't restore to '" + target + "'", errno);
        NewHostFile image(target);
        format_image(image.open(), target, options.format, contents.size());
        const DiskSpec spec{.path = image.path(), .format = options.format};
        result.written = write_image(*impl_->repository(), contents, spec, false, options);
        image.publish();
        return result;
    }
    if (!S_ISBLK(status.st_mode) && !options.overwrite)
        throw Error(ErrorKind::kDenied,
                    "'" + target + "' exists; give --overwrite to make it what the backup is");
    DiskSpec spec{.path = target};
    if (S_ISBLK(status.st_mode)) spec.format = "raw";
    result.written = write_image(*impl_->repository(), contents, spec, true, options);
    return result;
}

}  // namespace inspect
