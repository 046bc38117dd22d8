// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/guest_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include <inspect/error.h>

#include "base/checked.h"
#include "vmm/layout.h"

namespace inspect {

namespace {

void* map_or_throw(void* at, uint64_t bytes, int flags, int fd, const char* what) {
    void* data = ::mmap(at, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (data == MAP_FAILED) {
        throw Error::from_errno(errno == ENOMEM ? ErrorKind::kNoSpace : ErrorKind::kEngine,
                                std::string("cannot map ") + what, errno);
    }
    return data;
}

}  // namespace

Mapping Mapping::anonymous(uint64_t bytes, const char* what) {
    return {map_or_throw(nullptr, bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, what), bytes};
}

Mapping Mapping::private_file(int fd, uint64_t bytes, const char* what) {
    return {map_or_throw(nullptr, bytes, MAP_PRIVATE | MAP_NORESERVE, fd, what), bytes};
}

Mapping Mapping::shared(int fd, uint64_t bytes, const char* what) {
    return {map_or_throw(nullptr, bytes, MAP_SHARED, fd, what), bytes};
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

Mapping::~Mapping() {
    if (data_) ::munmap(data_, size_);
}

void Mapping::overlay_file(int fd, uint64_t bytes, const char* what) {
    if (bytes > size_) throw Error(ErrorKind::kInternal, std::string("no room to map ") + what);
    map_or_throw(data_, bytes, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd, what);
}

GuestMemory::GuestMemory(Mapping ram) {
    std::span<std::byte> bytes(ram.data(), ram.size());
    mappings_.push_back(std::move(ram));
    if (bytes.size() <= kLowMemoryEnd) {
        add_region(0, bytes);
    } else {
        add_region(0, bytes.first(kLowMemoryEnd));
        add_region(kHighMemoryStart, bytes.subspan(kLowMemoryEnd));
    }
}

void GuestMemory::add(uint64_t address, Mapping mapping) {
    std::span<std::byte> bytes(mapping.data(), mapping.size());
    mappings_.push_back(std::move(mapping));
    add_region(address, bytes);
}

void GuestMemory::add_region(uint64_t address, std::span<std::byte> bytes) {
    auto end = checked_add(address, uint64_t{bytes.size()});
    if (bytes.empty() || !end) throw Error(ErrorKind::kInternal, "a memory region makes no sense");
    for (const Region& other : regions_) {
        if (address < other.address + other.bytes.size() && other.address < *end)
            throw Error(ErrorKind::kInternal, "two memory regions overlap");
    }
    regions_.push_back({address, bytes});
}

std::optional<std::span<std::byte>> GuestMemory::at(uint64_t address, uint64_t length) const noexcept {
    for (const Region& region : regions_) {
        if (address >= region.address && range_fits(address - region.address, length, region.bytes.size()))
            return region.bytes.subspan(address - region.address, length);
    }
    return std::nullopt;
}

}  // namespace inspect
