// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2/create.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/qcow2/format.h"
#include "block/qcow2/refcount_entry.h"

namespace inspect {

using namespace qcow2_format;

namespace {

constexpr uint64_t kFeatureNamesFrom = 4096;  // in smaller clusters there is no room for them

struct KnownFeature {
    uint8_t kind;
    uint8_t bit;
    std::string_view name;
};
constexpr KnownFeature kFeatures[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},          {2, 1, "raw external data"},
};

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorKind::kUsage, "no such qcow2 image can be made: " + what);
}

void check(const Qcow2CreateOptions& options) {
    if (options.size == 0 || options.size % 512 != 0 || options.size > uint64_t{INT64_MAX}) {
        refuse("its size must be a multiple of 512, not 0, and less than 2^63, but is " +
               std::to_string(options.size));
    }
    if (options.version != 2 && options.version != 3) refuse("there are versions 2 and 3");
    if (options.cluster_bits < kMinClusterBits || options.cluster_bits > kMaxClusterBits) {
        refuse("a cluster has 512 bytes to 2 MiB");
    }
    if (!std::has_single_bit(options.refcount_bits) || options.refcount_bits > 64) {
        refuse("a refcount has 1, 2, 4, 8, 16, 32 or 64 bits");
    }
    if (options.version == 2 &&
        (options.refcount_bits != 16 || options.compression != Qcow2Compression::kZlib ||
         options.extended_l2 || options.lazy_refcounts || options.data_file_name)) {
        refuse("version 2 has none of the options of version 3");
    }
    if (options.extended_l2 && options.cluster_bits < kMinExtendedClusterBits) {
        refuse("extended L2 entries want clusters of 16 KiB or more");
    }
    if (options.raw_data_file && (!options.data_file_name || options.backing_name)) {
        refuse("a raw data file needs a data file and can't be with a backing file");
    }
    if (options.data_file_name && options.data_file_name->size() > kMaxNameLength) {
        refuse("the data file's name is too long");
    }
    if (options.backing_name &&
        (options.backing_name->empty() || options.backing_name->size() > kMaxNameLength)) {
        refuse("the backing file's name must have 1 to 1023 bytes");
    }
    if (options.backing_format && options.backing_format->size() > kMaxNameLength) {
        refuse("the backing format's name is too long");
    }
}

class HeaderWriter {
  public:
    explicit HeaderWriter(uint64_t cluster_size) : cluster_(cluster_size) {}

    template <typename T>
    void put(const T& value, size_t length = sizeof(T)) {
        append(std::as_bytes(std::span(&value, 1)).first(length));
    }
    void extension(uint32_t type, std::span<const std::byte> data) {
        Extension header;
        header.type = type;
        header.length = static_cast<uint32_t>(data.size());
        put(header);
        append(data);
        at_ = align_up(at_, 8);
    }
    void append(std::span<const std::byte> data) {
        if (data.size() > cluster_.size() - std::min(at_, cluster_.size())) {
            refuse("the names don't fit into a cluster");
        }
        std::copy(data.begin(), data.end(), cluster_.begin() + static_cast<std::ptrdiff_t>(at_));
        at_ += data.size();
    }
    size_t position() const { return at_; }
    std::vector<std::byte>& bytes() { return cluster_; }

  private:
    std::vector<std::byte> cluster_;
    size_t at_ = 0;
};

std::span<const std::byte> text_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::vector<std::byte> header_cluster(Header header, const Qcow2CreateOptions& options) {
    HeaderWriter writer(uint64_t{1} << options.cluster_bits);
    const size_t length = options.version == 2 ? kHeaderLength2 : sizeof(Header);
    writer.put(header, length);
    if (options.backing_format)
        writer.extension(kExtensionBackingFormat, text_bytes(*options.backing_format));
    if (options.data_file_name) writer.extension(kExtensionDataFile, text_bytes(*options.data_file_name));
    if (options.version >= 3 && writer.bytes().size() >= kFeatureNamesFrom) {
        std::vector<FeatureName> names;
        for (const KnownFeature& feature : kFeatures) {
            FeatureName name{feature.kind, feature.bit, {}};
            std::copy(feature.name.begin(), feature.name.end(), name.name);
            names.push_back(name);
        }
        writer.extension(kExtensionFeatureNames, std::as_bytes(std::span(names)));
    }
    writer.extension(kExtensionEnd, {});
    if (options.backing_name) {
        header.backing_offset = writer.position();
        header.backing_length = static_cast<uint32_t>(options.backing_name->size());
        writer.append(text_bytes(*options.backing_name));
        std::memcpy(writer.bytes().data(), &header, length);
    }
    return std::move(writer.bytes());
}

// An empty file of this length, or, where that can't be had, zeros at the start of a device.
void make_empty(BlockDevice& file, uint64_t length) {
    try {
        file.resize(0);
        file.resize(length);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUnsupported) throw;
        if (file.size() < length) {
            throw Error(ErrorKind::kNoSpace, "the device is too small for a qcow2 image: it has " +
                                                 std::to_string(file.size()) + " bytes, " +
                                                 std::to_string(length) + " are needed to begin with");
        }
        file.write_zeroes(0, length, false);
    }
}

}  // namespace

void create_qcow2(BlockDevice& file, const Qcow2CreateOptions& options) {
    check(options);
    const uint64_t cluster_size = uint64_t{1} << options.cluster_bits;
    const auto clusters_for = [&](uint64_t bytes) { return (bytes + cluster_size - 1) / cluster_size; };

    Qcow2Header layout;  // for its arithmetic
    layout.cluster_bits = options.cluster_bits;
    if (options.extended_l2) layout.incompatible_features |= kIncompatibleExtendedL2;
    if (options.data_file_name) layout.incompatible_features |= kIncompatibleDataFile;
    if (options.compression != Qcow2Compression::kZlib) {
        layout.incompatible_features |= kIncompatibleCompression;
    }
    const uint64_t l1_entries = layout.l1_entries_for(options.size);
    if (l1_entries * 8 > kMaxL1Bytes) {
        refuse("a disk of " + std::to_string(options.size) + " bytes needs larger clusters than " +
               std::to_string(cluster_size) + " bytes");
    }

    // The header, the refcount table, its blocks, the L1 table; the blocks count all four.
    const uint64_t l1_clusters = clusters_for(l1_entries * 8);
    const uint64_t refcounts_in_block = cluster_size * 8 / options.refcount_bits;
    uint64_t blocks = 1, table_clusters = 1, used;
    while (true) {
        used = 1 + table_clusters + blocks + l1_clusters;
        const uint64_t blocks_needed = (used + refcounts_in_block - 1) / refcounts_in_block;
        const uint64_t table_needed = clusters_for(blocks_needed * 8);
        if (blocks_needed <= blocks && table_needed <= table_clusters) break;
        blocks = std::max(blocks, blocks_needed);
        table_clusters = std::max(table_clusters, table_needed);
    }

    Header header{};
    header.magic = kMagic;
    header.version = options.version;
    header.cluster_bits = options.cluster_bits;
    header.size = options.size;
    header.l1_entries = static_cast<uint32_t>(l1_entries);
    header.l1_offset = (1 + table_clusters + blocks) * cluster_size;
    header.refcount_table_offset = cluster_size;
    header.refcount_table_clusters = static_cast<uint32_t>(table_clusters);
    header.incompatible_features = layout.incompatible_features;
    header.compatible_features = options.lazy_refcounts ? kCompatibleLazyRefcounts : 0;
    header.autoclear_features = options.raw_data_file ? kAutoclearRawDataFile : 0;
    const uint32_t order = static_cast<uint32_t>(std::countr_zero(options.refcount_bits));
    header.refcount_order = order;
    header.header_length = sizeof(Header);
    header.compression_type = static_cast<uint8_t>(options.compression);
    const std::vector<std::byte> first_cluster = header_cluster(header, options);

    make_empty(file, used * cluster_size);
    const uint64_t first_block = 1 + table_clusters;
    std::vector<be64> table(table_clusters * cluster_size / 8, be64(0));
    std::vector<std::byte> block(cluster_size);
    for (uint64_t i = 0; i < blocks; ++i) {
        table[i] = (first_block + i) * cluster_size;
        std::fill(block.begin(), block.end(), std::byte{0});
        const uint64_t first = i * refcounts_in_block;
        for (uint64_t at = 0; at < refcounts_in_block && first + at < used; ++at) {
            store_refcount(block.data(), at, order, 1);
        }
        file.write((first_block + i) * cluster_size, block);
    }
    file.write(cluster_size, std::as_bytes(std::span(table)));
    file.flush();  // a file with this header is an image
    file.write(0, first_cluster);
    file.flush();
}

}  // namespace inspect
