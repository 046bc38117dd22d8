// SPDX-License-Identifier: GPL-2.0-or-later
//
// fat-resize DEVICE [SECTORS]: gives the FAT16 or FAT32 that begins with DEVICE a new size in sectors of 512
// bytes. Without SECTORS: prints "minimum N", the least that it can have.
//
// libparted does it, and is only told of the file system's extent: no partition table is read or written. It
// makes the boot sector anew; what that had of the label, of the disk's geometry and of where the partition
// begins, which boot code goes by, is put back.
#include <fcntl.h>
#include <parted/parted.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "fat_layout.h"

namespace {

using inspect::agent::FatLayout;
using inspect::agent::kFatBootSector;
using BootSector = std::array<uint8_t, kFatBootSector>;

// Never a file system of another type, never what loses something: what isn't just a question is cancelled.
PedExceptionOption answer(PedException* exception) {
    std::fprintf(stderr, "%s\n", exception->message);
    constexpr int kQuestion = PED_EXCEPTION_YES | PED_EXCEPTION_NO;
    // "Would you like to use FAT32?": as it is, if that isn't answered.
    if ((exception->options & kQuestion) == kQuestion) return PED_EXCEPTION_UNHANDLED;
    return exception->options & PED_EXCEPTION_CANCEL ? PED_EXCEPTION_CANCEL : PED_EXCEPTION_UNHANDLED;
}

int fail(const char* what) {
    std::fprintf(stderr, "fat-resize: %s\n", what);
    return 1;
}

bool read_sector(int fd, BootSector& sector) {
    return ::pread(fd, sector.data(), sector.size(), 0) == static_cast<ssize_t>(sector.size());
}

struct Field {
    size_t at;
    size_t size;
};
constexpr Field kKept[] = {{3, 8}, {24, 8}};  // the maker's name; sectors per track, heads, sectors before
constexpr Field kKept16[] = {{36, 3}, {43, 11}};  // the drive's number, flags and signature; the label
constexpr Field kKept32[] = {{64, 3}, {71, 11}};

// Whether it is still of the type that it was, and its boot sector is in order.
bool restore(int fd, const BootSector& before, const FatLayout& layout) {
    BootSector boot;
    if (!read_sector(fd, boot)) return false;
    const std::optional<FatLayout> now = inspect::agent::parse_fat_boot_sector(boot);
    if (!now || now->bits != layout.bits) return false;
    auto keep = [&](const Field& field) {
        std::memcpy(boot.data() + field.at, before.data() + field.at, field.size);
    };
    for (const Field& field : kKept) keep(field);
    for (const Field& field : layout.bits == 32 ? kKept32 : kKept16) keep(field);
    for (const uint64_t sector : {uint64_t{0}, uint64_t{now->backup_sector}}) {
        if (::pwrite(fd, boot.data(), boot.size(), static_cast<off_t>(sector * kFatBootSector)) !=
            static_cast<ssize_t>(boot.size()))
            return false;
    }
    return ::fsync(fd) == 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2 && argc != 3) return fail("usage: fat-resize DEVICE [SECTORS]");
    const int fd = ::open(argv[1], O_RDWR | O_CLOEXEC);
    BootSector before;
    if (fd < 0 || !read_sector(fd, before)) return fail(std::strerror(errno));
    const std::optional<FatLayout> layout = inspect::agent::parse_fat_boot_sector(before);
    if (!layout) return fail("the boot sector is none of a FAT");
    if (const std::string why = inspect::agent::why_fat_is_fixed(*layout); !why.empty())
        return fail(why.c_str());

    ped_exception_set_handler(answer);
    PedDevice* device = ped_device_get(argv[1]);
    if (!device || !ped_device_open(device)) return fail("cannot open the device");
    PedGeometry* whole = ped_geometry_new(device, 0, static_cast<PedSector>(layout->sectors));
    PedFileSystem* system = whole ? ped_file_system_open(whole) : nullptr;
    if (!system) return fail("cannot open the file system");
    if (argc == 2) {
        const PedConstraint* constraint = ped_file_system_get_resize_constraint(system);
        if (!constraint) return fail("cannot find out how small it can be");
        std::printf("minimum %lld\n", static_cast<long long>(constraint->min_size));
        return 0;
    }
    const PedSector sectors = std::strtoll(argv[2], nullptr, 10);
    if (sectors <= 0 || sectors > device->length) return fail("the device doesn't have that size");
    PedGeometry* wanted = ped_geometry_new(device, 0, sectors);
    if (!wanted) return fail("out of memory");
    if (!ped_file_system_resize(system, wanted, nullptr)) return fail("it was not resized");
    ped_file_system_close(system);
    ped_device_close(device);
    if (!restore(fd, before, *layout)) return fail("what came of it is no file system of the same type");
    return 0;
}
