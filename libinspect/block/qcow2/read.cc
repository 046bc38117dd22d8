// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Opening a qcow2 image and reading it.
#include <algorithm>
#include <cstring>
#include <string>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/log.h"
#include "block/iovec.h"
#include "block/qcow2/compression.h"
#include "block/qcow2/qcow2.h"

namespace inspect {

using namespace qcow2_format;

namespace {

void fill_zeros(std::span<const iovec> pieces) {
    for (const iovec& piece : pieces) {
        if (piece.iov_len > 0) std::memset(piece.iov_base, 0, piece.iov_len);
    }
}

}  // namespace

Qcow2Device::Qcow2Device(Qcow2Header header, Qcow2Files files, const Qcow2Options& options)
    : header_(std::move(header)),
      file_(std::move(files.file)),
      backing_(std::move(files.backing)),
      data_file_(std::move(files.data_file)),
      read_only_(options.read_only || options.snapshot || file_->read_only()),
      size_(header_.size),
      backing_size_(backing_ ? backing_->size() : 0) {
    if (header_.backing_name.has_value() != (backing_ != nullptr)) {
        throw Error(ErrorKind::kUsage, backing_ ? "a backing file was given for a qcow2 image that has none"
                                                : "the qcow2 image has a backing file, which was not opened");
    }
    if (header_.external_data() != (data_file_ != nullptr)) {
        throw Error(ErrorKind::kUsage, data_file_ ? "a data file was given for a qcow2 image that has none"
                                                  : "the qcow2 image has a data file, which was not opened");
    }
    header_.require_intact(!read_only_);
    if (!read_only_ && data_file_ && data_file_->read_only()) {
        throw Error(ErrorKind::kDenied, "the qcow2 image can't be written: its data file is read-only");
    }
    uint64_t l1_offset = header_.l1_offset;
    uint32_t l1_entries = header_.l1_entries;
    if (options.snapshot) {
        const std::vector<Qcow2Snapshot> all = snapshots();
        const Qcow2Snapshot& snapshot = find_snapshot(all, *options.snapshot);
        l1_offset = snapshot.l1_offset;
        l1_entries = snapshot.l1_entries;
        size_ = snapshot.disk_size;
    }
    map_ = std::make_unique<Qcow2ClusterMap>(*file_, header_, l1_offset, l1_entries);
}

Qcow2Device::~Qcow2Device() {
    if (!refcounts_ || failed_) return;
    try {
        if (map_->dirty() || refcounts_->changed()) sync();
    } catch (const std::exception& error) {
        log(LogLevel::kVerbose, std::string("the qcow2 image was closed unflushed: ") + error.what());
    } catch (...) {  // a test's power cut
    }
}

void Qcow2Device::read(uint64_t offset, std::span<std::byte> out) {
    const iovec piece = to_iovec(out);
    readv(offset, {&piece, 1});
}

void Qcow2Device::readv(uint64_t offset, std::span<const iovec> out) {
    const uint64_t total = iovec_bytes(out);
    require_range(offset, total);
    if (total == 0) return;
    const uint64_t end = offset + total;
    Run run = map_->find(offset, end);
    if (run.length == total) {  // as it mostly is
        read_run(run, offset, 0, out);
        return;
    }
    IovecCursor cursor(out);
    while (true) {
        for (uint64_t done = 0; done < run.length;) {
            uint64_t taken;
            const std::span<const iovec> part = cursor.take(run.length - done, taken);
            read_run(run, offset + done, done, part);
            done += taken;
        }
        offset += run.length;
        if (offset == end) return;
        run = map_->find(offset, end);
    }
}

// Reads a part of a run, from `skip` bytes behind its start, which are at `offset` of the disk.
void Qcow2Device::read_run(const Run& run, uint64_t offset, uint64_t skip, std::span<const iovec> out) {
    switch (run.kind) {
        case Kind::kData:
            read_data(run.host + skip, out);
            break;
        case Kind::kZero:
            fill_zeros(out);
            break;
        case Kind::kUnallocated:
            read_backing(offset, out);
            break;
        case Kind::kCompressed: {
            const auto cluster = decompressed(run);
            const std::byte* from = cluster->data() + (offset & (header_.cluster_size() - 1));
            for (const iovec& piece : out) {
                if (piece.iov_len > 0) std::memcpy(piece.iov_base, from, piece.iov_len);
                from += piece.iov_len;
            }
            break;
        }
    }
}

void Qcow2Device::read_data(uint64_t host, std::span<const iovec> out) {
    const uint64_t length = iovec_bytes(out);
    const uint64_t file_size = data().size();
    if (range_fits(host, length, file_size)) {
        data().readv(host, out);
        return;
    }
    // A data file may be shorter than the disk, as a raw image may be than its backing chain's top.
    if (!data_file_) {
        throw Error(ErrorKind::kCorrupt, "the qcow2 image is cut short or damaged: its file ends at " +
                                             std::to_string(file_size) + ", but data is said to be at " +
                                             std::to_string(host) + " to " + std::to_string(host + length));
    }
    IovecCursor cursor(out);
    uint64_t present = host < file_size ? file_size - host : 0;
    for (uint64_t done = 0; done < length;) {
        uint64_t taken;
        const auto part = cursor.take(present > 0 ? present : length - done, taken);
        if (present > 0) {
            data().readv(host + done, part);
            present -= taken;
        } else {
            fill_zeros(part);
        }
        done += taken;
    }
}

void Qcow2Device::read_backing(uint64_t offset, std::span<const iovec> out) {
    const uint64_t length = iovec_bytes(out);
    if (offset >= backing_size_) {
        fill_zeros(out);
    } else if (length <= backing_size_ - offset) {
        backing_->readv(offset, out);
    } else {
        IovecCursor cursor(out);
        uint64_t taken;
        for (uint64_t left = backing_size_ - offset; left > 0; left -= taken, offset += taken) {
            backing_->readv(offset, cursor.take(left, taken));
        }
        for (auto part = cursor.take(length, taken); taken > 0; part = cursor.take(length, taken)) {
            fill_zeros(part);
        }
    }
}

std::shared_ptr<const std::vector<std::byte>> Qcow2Device::decompressed(const Run& run) {
    {
        const std::lock_guard lock(decompressed_mutex_);
        if (decompressed_host_ == run.host) return decompressed_;
    }
    // The last sector that is said to be used may lie beyond the file's end: only whole sectors can be said.
    const uint64_t file_size = file_->size();
    if (run.host >= file_size) {
        throw Error(ErrorKind::kCorrupt, "the qcow2 image is cut short or damaged: its file ends at " +
                                             std::to_string(file_size) + ", but a compressed cluster is at " +
                                             std::to_string(run.host));
    }
    std::vector<std::byte> in(std::min<uint64_t>(run.compressed_bytes, file_size - run.host));
    file_->read(run.host, in);
    auto out = std::make_shared<std::vector<std::byte>>(header_.cluster_size());
    decompress_cluster(header_.compression, in, *out);
    const std::lock_guard lock(decompressed_mutex_);
    decompressed_host_ = run.host;
    decompressed_ = out;
    return out;
}

// Known to be zeros without reading anything.
bool Qcow2Device::reads_as_zeros(const Run& run, uint64_t offset) const noexcept {
    return run.kind == Kind::kZero || (run.kind == Kind::kUnallocated && offset >= backing_size_);
}

std::vector<Extent> Qcow2Device::extents(uint64_t offset, uint64_t length) {
    require_range(offset, length);
    std::vector<Extent> result;
    const auto add = [&](uint64_t at, uint64_t bytes, ExtentKind kind) {
        if (!result.empty() && result.back().kind == kind) {
            result.back().length += bytes;
        } else {
            result.push_back({at, bytes, kind});
        }
    };
    const uint64_t end = offset + length;
    while (offset < end) {
        const Run run = map_->find(offset, end);
        if (run.kind == Kind::kZero) {
            add(offset, run.length, ExtentKind::kZero);
        } else if (run.kind != Kind::kUnallocated) {
            add(offset, run.length, ExtentKind::kData);
        } else {
            const uint64_t below = offset < backing_size_ ? std::min(run.length, backing_size_ - offset) : 0;
            if (below > 0) {
                for (const Extent& extent : backing_->extents(offset, below)) {
                    add(extent.offset, extent.length, extent.kind);
                }
            }
            if (below < run.length) add(offset + below, run.length - below, ExtentKind::kHole);
        }
        offset += run.length;
    }
    return result;
}

void Qcow2Device::for_each_own_cluster(uint64_t offset, uint64_t length,
                                       const std::function<void(uint64_t offset, uint64_t length)>& visit) {
    require_range(offset, length);
    const uint64_t size = header_.cluster_size();
    const uint64_t end = (offset + length) >> header_.cluster_bits;
    uint64_t cluster = (offset + size - 1) >> header_.cluster_bits;
    while (cluster < end) {
        const uint64_t l1_index = map_->l1_index(cluster);
        if (l1_index >= map_->l1().size() || Qcow2ClusterMap::table_offset(map_->l1()[l1_index]) == 0) {
            cluster = (l1_index + 1) * map_->l2_entries();
            continue;
        }
        const L2Entry entry = map_->entry(cluster++);
        if (entry.writable()) visit(entry.host, size);
    }
}

}  // namespace inspect
