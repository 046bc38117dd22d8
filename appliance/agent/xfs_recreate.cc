// SPDX-License-Identifier: GPL-2.0-or-later
//
// Sources: linux/fs/xfs/libxfs/xfs_format.h (struct xfs_dsb); mkfs.xfs(8).
#include "xfs_recreate.h"

#include <cstring>

#include "base/endian.h"
#include "failure.h"

namespace inspect::agent {

namespace {

class Super {
  public:
    explicit Super(std::span<const uint8_t, kXfsSuperblockSize> bytes) : bytes_(bytes) {}

    template <typename T>
    uint64_t at(size_t offset) const {
        T value;
        std::memcpy(&value, bytes_.data() + offset, sizeof value);
        return value;
    }

    uint64_t magic() const { return at<be32>(0); }
    uint64_t block_size() const { return at<be32>(4); }
    uint64_t realtime_blocks() const { return at<be64>(16); }
    bool log_is_internal() const { return at<be64>(48) != 0; }
    unsigned version() const { return versionnum() & 0xf; }
    unsigned versionnum() const { return static_cast<unsigned>(at<be16>(100)); }
    uint64_t sector_size() const { return at<be16>(102); }
    uint64_t inode_size() const { return at<be16>(104); }
    uint64_t quota_flags() const { return at<be16>(176); }
    uint64_t stripe_unit() const { return at<be32>(184); }  // blocks
    uint64_t stripe_width() const { return at<be32>(188); }
    unsigned directory_block_log() const { return bytes_[192]; }
    uint64_t features2() const { return at<be32>(200); }
    uint64_t ro_compat() const { return version() == 5 ? at<be32>(212) : 0; }
    uint64_t incompat() const { return version() == 5 ? at<be32>(216) : 0; }

    std::string label() const {
        constexpr size_t kLabel = 108, kLength = 12;
        const char* start = reinterpret_cast<const char*>(bytes_.data()) + kLabel;
        return {start, ::strnlen(start, kLength)};
    }
    std::string uuid() const {
        constexpr size_t kUuid = 32, kLength = 16;
        static constexpr char kDigits[] = "0123456789abcdef";
        std::string text;
        for (size_t i = 0; i < kLength; ++i) {
            if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
            text += kDigits[bytes_[kUuid + i] >> 4];
            text += kDigits[bytes_[kUuid + i] & 0xf];
        }
        return text;
    }

  private:
    std::span<const uint8_t, kXfsSuperblockSize> bytes_;
};

constexpr uint64_t kMagic = 0x58465342;  // "XFSB"
constexpr unsigned kDirectoriesIgnoreCase = 0x4000;
constexpr uint64_t kProjectIds32 = 0x80, kFtype = 0x200;  // features2, of version 4
constexpr uint64_t kFreeInodes = 1, kReverseMap = 2, kReflink = 4, kInodeCounts = 8;  // ro_compat
constexpr uint64_t kFtype5 = 1, kSparseInodes = 2, kBigTime = 8, kNeedsRepair = 0x10, kLargeCounts = 0x20;
constexpr uint64_t kKnownIncompat = kFtype5 | kSparseInodes | 4 | kBigTime | kNeedsRepair | kLargeCounts;

void require(bool condition, const char* why) {
    if (!condition) throw Failure(proto::UNSUPPORTED, std::string("the XFS can't be made anew: ") + why);
}

std::string flag(const char* name, bool set) { return std::string(name) + (set ? "=1" : "=0"); }

}  // namespace

std::vector<std::string> mkfs_xfs_like(std::span<const uint8_t, kXfsSuperblockSize> superblock,
                                       const std::string& device, uint64_t size) {
    const Super super(superblock);
    const bool v5 = super.version() == 5;
    const uint64_t block = super.block_size();
    require(super.magic() == kMagic && (v5 || super.version() == 4), "its superblock is not understood");
    require(block >= 512 && block <= 65536 && super.directory_block_log() <= 7,
            "its superblock makes no sense");
    require(super.log_is_internal(), "its log is on another device");
    require(super.realtime_blocks() == 0, "it has a realtime device");
    require(super.quota_flags() == 0,
            "it has quotas, whose limits would be lost; switch them off in the guest");
    require((super.incompat() & ~kKnownIncompat) == 0, "it has features that this appliance doesn't know");
    require((super.incompat() & kNeedsRepair) == 0, "it has to be repaired first (insp fsck)");
    auto ro = [&](uint64_t bit) { return (super.ro_compat() & bit) != 0; };
    auto has = [&](uint64_t bit) { return (super.incompat() & bit) != 0; };
    const bool ftype = v5 ? has(kFtype5) : (super.features2() & kFtype) != 0;

    std::string inodes = "size=" + std::to_string(super.inode_size());
    if (v5) {
        inodes += "," + flag("sparse", has(kSparseInodes)) + "," + flag("nrext64", has(kLargeCounts));
    } else {
        inodes += "," + flag("projid32bit", (super.features2() & kProjectIds32) != 0);
    }
    std::string names = "size=" + std::to_string(block << super.directory_block_log());
    // Version 5 always has it, and mkfs.xfs wants to hear nothing else.
    if (!v5) names += "," + flag("ftype", ftype);
    if (super.versionnum() & kDirectoriesIgnoreCase) names += ",version=ci";
    std::string data = "size=" + std::to_string(size);
    if (super.stripe_unit() != 0 && super.stripe_width() != 0) {
        constexpr uint64_t kUnit = 512;  // of sunit and swidth
        data += ",sunit=" + std::to_string(super.stripe_unit() * block / kUnit) +
                ",swidth=" + std::to_string(super.stripe_width() * block / kUnit);
    } else {
        data += ",noalign";
    }
    std::string metadata = flag("crc", v5) + ",uuid=" + super.uuid();
    for (const auto& [name, set] : {std::pair{"finobt", ro(kFreeInodes)},
                                    {"rmapbt", ro(kReverseMap)},
                                    {"reflink", ro(kReflink)},
                                    {"inobtcount", ro(kInodeCounts)},
                                    {"bigtime", has(kBigTime)}})
        metadata += "," + flag(name, set);
    std::vector<std::string> arguments = {
        "/usr/sbin/mkfs.xfs",
        "-f",
        "-q",
        "-m",
        metadata,
        "-d",
        data,
        "-b",
        "size=" + std::to_string(block),
        "-s",
        "size=" + std::to_string(super.sector_size()),
        "-i",
        inodes,
        "-n",
        names,
    };
    if (!super.label().empty()) arguments.insert(arguments.end(), {"-L", super.label()});
    arguments.push_back(device);
    return arguments;
}

}  // namespace inspect::agent
