// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/qcow2/header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <vector>

#include <inspect/error.h>

#include "base/checked.h"

namespace inspect {

using namespace qcow2_format;

namespace {

[[noreturn]] void corrupt_header(const std::string& what) {
    throw Error(ErrorKind::kCorrupt, "the qcow2 header makes no sense: " + what);
}

[[noreturn]] void unsupported(const std::string& what) {
    throw Error(ErrorKind::kUnsupported, "the qcow2 image " + what);
}

// Text of the image's own, as far as it can be shown.
std::string shown(std::string_view text) {
    std::string result(text.substr(0, text.find('\0')));
    for (char& c : result) {
        if (c < 0x20 || c > 0x7e) c = '?';
    }
    return result;
}

// The header's extensions, and what is between them and the end of the first cluster.
class ExtensionReader {
  public:
    ExtensionReader(Qcow2Header& header, std::span<const std::byte> cluster)
        : header_(header), cluster_(cluster) {}

    void read(uint64_t at, uint64_t end) {
        while (at + sizeof(Extension) <= end) {
            Extension extension;
            std::memcpy(&extension, cluster_.data() + at, sizeof extension);
            at += sizeof extension;
            if (extension.type == kExtensionEnd) return;
            if (extension.length > end - at) corrupt_header("an extension is longer than the header");
            take(extension.type, cluster_.subspan(at, extension.length));
            at += align_up(extension.length, 8);
        }
    }

    // The name in the feature name table, or "".
    std::string feature(uint8_t kind, unsigned bit) const {
        for (size_t at = 0; at + sizeof(FeatureName) <= features_.size(); at += sizeof(FeatureName)) {
            FeatureName entry;
            std::memcpy(&entry, features_.data() + at, sizeof entry);
            if (entry.kind == kind && entry.bit == bit) return shown({entry.name, sizeof entry.name});
        }
        return {};
    }

  private:
    void take(uint32_t type, std::span<const std::byte> data) {
        const std::string text(reinterpret_cast<const char*>(data.data()), data.size());
        switch (type) {
            case kExtensionBackingFormat:
                if (data.size() > kMaxNameLength) corrupt_header("the backing format's name is too long");
                header_.backing_format = text;
                break;
            case kExtensionDataFile:
                if (data.size() > kMaxNameLength) corrupt_header("the data file's name is too long");
                header_.data_file_name = text;
                break;
            case kExtensionFeatureNames:
                features_ = data;
                break;
            case kExtensionBitmaps: {
                BitmapsExtension bitmaps;
                if (data.size() != sizeof bitmaps) corrupt_header("the bitmaps extension has a wrong length");
                std::memcpy(&bitmaps, data.data(), sizeof bitmaps);
                header_.bitmap_count = bitmaps.count;
                header_.bitmap_directory_offset = bitmaps.directory_offset;
                header_.bitmap_directory_size = bitmaps.directory_size;
                break;
            }
            default:
                break;  // kept where it is, as all extensions are
        }
    }

    Qcow2Header& header_;
    std::span<const std::byte> cluster_;
    std::span<const std::byte> features_;
};

void check_features(const Qcow2Header& header, const ExtensionReader& extensions) {
    if (const uint64_t unknown = header.incompatible_features & ~kIncompatibleKnown; unknown != 0) {
        const unsigned bit = static_cast<unsigned>(std::countr_zero(unknown));
        const std::string name = extensions.feature(0, bit);
        unsupported("has a feature that this version does not know (" +
                    (name.empty() ? "" : "'" + name + "', ") + "incompatible feature bit " +
                    std::to_string(bit) + ")");
    }
}

// [offset, offset + length) is a table: on a cluster's boundary, behind the header, in the file.
void check_table(const char* what, const Qcow2Header& header, uint64_t offset, uint64_t length,
                 uint64_t file_size) {
    if (offset % header.cluster_size() != 0)
        corrupt_header(std::string(what) + " is not at a cluster's start");
    if (offset < header.cluster_size()) corrupt_header(std::string(what) + " overlaps the header");
    if (!range_fits(offset, length, file_size)) corrupt_header(std::string(what) + " is outside of the file");
}

void check_tables(const Qcow2Header& header, uint64_t file_size) {
    if (header.size == 0) corrupt_header("its virtual size is 0");
    if (header.size > uint64_t{INT64_MAX}) {
        corrupt_header("its virtual size is " + std::to_string(header.size) + " bytes");
    }
    const uint64_t l1_bytes = uint64_t{header.l1_entries} * 8;
    if (l1_bytes > kMaxL1Bytes) corrupt_header("its L1 table has " + std::to_string(l1_bytes) + " bytes");
    if (header.l1_entries < header.l1_entries_for(header.size)) {
        corrupt_header("its L1 table is too small for its virtual size of " + std::to_string(header.size) +
                       " bytes");
    }
    check_table("the L1 table", header, header.l1_offset, l1_bytes, file_size);

    const uint64_t table_bytes = uint64_t{header.refcount_table_clusters} << header.cluster_bits;
    if (header.refcount_table_clusters == 0) corrupt_header("it has no refcount table");
    if (table_bytes > kMaxRefcountTableBytes) corrupt_header("its refcount table is too large");
    check_table("the refcount table", header, header.refcount_table_offset, table_bytes,
                align_up(file_size, header.cluster_size()));
    const bool apart = header.l1_offset >= header.refcount_table_offset + table_bytes ||
                       header.refcount_table_offset >= header.l1_offset + l1_bytes;
    if (!apart) corrupt_header("the L1 table and the refcount table overlap");

    if (header.snapshot_count > kMaxSnapshots) corrupt_header("it has too many snapshots");
    if (header.snapshot_count > 0) {
        check_table("the snapshot table", header, header.snapshots_offset,
                    header.snapshot_count * sizeof(SnapshotEntry), file_size);
    }
    if (header.bitmap_count > 0) {
        if (header.bitmap_directory_size > kMaxBitmapDirectoryBytes || header.bitmap_count > kMaxBitmaps) {
            corrupt_header("its bitmap directory is too large");
        }
        check_table("the bitmap directory", header, header.bitmap_directory_offset,
                    header.bitmap_directory_size, file_size);
    }
}

}  // namespace

uint64_t Qcow2Header::l1_entries_for(uint64_t bytes) const noexcept {
    const uint64_t clusters = (bytes >> cluster_bits) + (bytes % cluster_size() != 0 ? 1 : 0);
    return clusters / l2_entries() + (clusters % l2_entries() != 0 ? 1 : 0);
}

void Qcow2Header::require_intact(bool for_writing) const {
    if (marked_corrupt()) {
        throw Error(ErrorKind::kCorrupt,
                    "the qcow2 image is marked corrupt: a program that wrote it found its metadata damaged; "
                    "--repair lets qemu-img repair it, as far as that can be done: keep a copy");
    }
    if (for_writing && dirty()) {
        throw Error(ErrorKind::kUnsupported,
                    "the qcow2 image was not closed properly by the program that wrote it last (it is marked "
                    "dirty), so its refcounts can't be relied on; it can be read, and --repair makes it "
                    "writable");
    }
}

bool Qcow2Header::is_luks(BlockDevice& file) {
    Header raw{};
    if (file.size() < kHeaderLength2) return false;
    file.read(0, std::as_writable_bytes(std::span(&raw, 1)).first(kHeaderLength2));
    return raw.magic == kMagic && (raw.version == 2 || raw.version == 3) && raw.crypt_method == kCryptLuks;
}

Qcow2Header Qcow2Header::parse(BlockDevice& file) {
    // All that images have in their first cluster is nearly always in its first 4 KiB.
    const uint64_t file_size = file.size();
    std::vector<std::byte> start(std::min<uint64_t>(file_size, 4096));
    file.read(0, start);
    Header raw{};
    if (start.size() >= kHeaderLength2) std::memcpy(&raw, start.data(), std::min(sizeof raw, start.size()));
    if (raw.magic != kMagic)
        throw Error(ErrorKind::kCorrupt, "it has no qcow2 header: this is not a qcow2 image");
    if (raw.version != 2 && raw.version != 3) {
        unsupported("has version " + std::to_string(raw.version) + ", of which nothing is known but 2 and 3");
    }

    Qcow2Header header;
    header.version = raw.version;
    header.cluster_bits = raw.cluster_bits;
    if (header.cluster_bits < kMinClusterBits || header.cluster_bits > kMaxClusterBits) {
        corrupt_header("its clusters have 2^" + std::to_string(header.cluster_bits) +
                       " bytes, where 2^9 to 2^21 is possible");
    }
    header.size = raw.size;
    header.l1_entries = raw.l1_entries;
    header.l1_offset = raw.l1_offset;
    header.refcount_table_offset = raw.refcount_table_offset;
    header.refcount_table_clusters = raw.refcount_table_clusters;
    header.snapshot_count = raw.snapshot_count;
    header.snapshots_offset = raw.snapshots_offset;
    uint32_t length = kHeaderLength2;
    if (header.version >= 3) {
        length = raw.header_length;
        if (length < kHeaderLength3 || length > header.cluster_size() || length > start.size()) {
            corrupt_header("its length is " + std::to_string(length) + " bytes");
        }
        header.incompatible_features = raw.incompatible_features;
        header.compatible_features = raw.compatible_features;
        header.autoclear_features = raw.autoclear_features;
        header.refcount_order = raw.refcount_order;
        if (header.refcount_order > 6) corrupt_header("its refcounts have more than 64 bits");
    }
    std::memcpy(header.sector.data(), start.data(), std::min<size_t>(start.size(), header.sector.size()));

    // The extensions end where the backing name begins; without one, with the cluster.
    uint64_t end = std::min(header.cluster_size(), file_size);
    uint32_t name_length = 0;
    if (raw.backing_offset != 0) {
        name_length = raw.backing_length;
        if (name_length > kMaxNameLength) corrupt_header("the backing file's name is too long");
        if (!range_fits(raw.backing_offset, name_length, end) || raw.backing_offset < length) {
            corrupt_header("the backing file's name is outside of the first cluster");
        }
        end = raw.backing_offset;
    }
    const uint64_t wanted = end + name_length;
    if (wanted > start.size()) {
        start.resize(wanted);
        file.read(0, start);
    }
    ExtensionReader extensions(header, start);
    extensions.read(length, end);
    if (name_length > 0) {
        header.backing_name.emplace(reinterpret_cast<const char*>(start.data() + end), name_length);
    }

    if (raw.crypt_method != 0) {
        unsupported("is encrypted (" + std::string(raw.crypt_method == kCryptLuks ? "LUKS" : "AES") +
                    "), which this driver can't open");
    }
    check_features(header, extensions);
    if (length > offsetof(Header, compression_type)) {
        if (raw.compression_type > 1) {
            unsupported("is compressed in a way that this version does not know (type " +
                        std::to_string(raw.compression_type) + ")");
        }
        header.compression = static_cast<Qcow2Compression>(raw.compression_type);
    }
    const bool compression_bit = (header.incompatible_features & kIncompatibleCompression) != 0;
    if (compression_bit != (header.compression != Qcow2Compression::kZlib)) {
        corrupt_header("its compression type and the feature bit for it contradict each other");
    }
    if (header.extended_l2() && header.cluster_bits < kMinExtendedClusterBits) {
        corrupt_header("its clusters are too small for extended L2 entries");
    }
    if (header.external_data() && header.snapshot_count > 0) {
        unsupported("has both an external data file and internal snapshots");
    }
    if (header.raw_external_data() && header.backing_name) {
        corrupt_header("it has both a raw external data file and a backing file");
    }
    check_tables(header, file_size);
    return header;
}

ResolvedImageName resolve_image_name(std::string_view image, std::string_view name) {
    if (name.empty() || name.find('\0') != std::string_view::npos) {
        throw Error(ErrorKind::kCorrupt, "the image names another file, but the name is empty or has a NUL");
    }
    // A protocol is what stands before a colon that comes before any slash.
    const auto protocol_end = [](std::string_view text) {
        const size_t at = text.find_first_of(":/");
        return at != std::string_view::npos && text[at] == ':' ? at : std::string_view::npos;
    };
    constexpr std::string_view kFile = "file:";
    if (image.starts_with(kFile)) image.remove_prefix(kFile.size());
    if (name.starts_with(kFile)) {
        name.remove_prefix(kFile.size());
        if (name.starts_with("///")) name.remove_prefix(2);
        if (name.empty()) throw Error(ErrorKind::kCorrupt, "the image names another file as 'file:'");
    } else if (protocol_end(name) != std::string_view::npos) {
        return {false, std::string(name)};
    }
    if (name.front() == '/') return {true, std::string(name)};

    const bool is_path = protocol_end(image) == std::string_view::npos;
    size_t root = 0;  // where the folder's part of `image` may begin: in a URI, behind the host
    if (!is_path) {
        const size_t scheme = image.find("://");
        root = scheme == std::string_view::npos ? protocol_end(image) + 1 : image.find('/', scheme + 3);
        root = std::min(root, image.size());
    }
    const size_t slash = image.rfind('/');
    const bool has_folder = slash != std::string_view::npos && slash >= root;
    std::string folder(image.substr(0, has_folder ? slash + 1 : root));
    if (!is_path && !has_folder && image.find("://") != std::string_view::npos) folder += '/';
    return {is_path, folder + std::string(name)};
}

}  // namespace inspect
