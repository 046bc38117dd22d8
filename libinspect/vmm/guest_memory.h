// SPDX-License-Identifier: LGPL-2.1-or-later
//
// GuestMemory: the guest's physical memory, and the one way from a guest-physical address to a host pointer.
//
// Every address and length that reaches this class is hostile. at() answers a span that lies wholly within
// one region, or nothing; nobody else in the VMM computes a pointer into the guest.
//
// The guest changes this memory at any time: whoever checks a value must copy it first and check the copy.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace inspect {

// Owns one mmap(2) mapping. Movable.
class Mapping {
  public:
    Mapping() = default;
    // Throws Error(kNoSpace) or what the errno says; `what` names it in the message.
    static Mapping anonymous(uint64_t bytes, const char* what);
    // A private mapping: reads come from the file, writes stay in this process.
    static Mapping private_file(int fd, uint64_t bytes, const char* what);
    // Like mmap(2) itself, for what is neither.
    static Mapping shared(int fd, uint64_t bytes, const char* what);
    Mapping(Mapping&& other) noexcept;
    Mapping& operator=(Mapping&& other) noexcept;
    ~Mapping();

    std::byte* data() const noexcept { return data_; }
    uint64_t size() const noexcept { return size_; }

    // Puts the first `bytes` of the file over the start of this (anonymous) mapping, privately.
    void overlay_file(int fd, uint64_t bytes, const char* what);

  private:
    Mapping(void* data, uint64_t size) : data_(static_cast<std::byte*>(data)), size_(size) {}
    std::byte* data_ = nullptr;
    uint64_t size_ = 0;
};

class GuestMemory {
  public:
    struct Region {
        uint64_t address;  // guest-physical
        std::span<std::byte> bytes;
    };

    GuestMemory() = default;
    // RAM of `ram.size()` bytes laid out as layout.h says.
    explicit GuestMemory(Mapping ram);

    // One more region, which overlaps none. Throws Error(kInternal) when it does or its end overflows.
    void add(uint64_t address, Mapping mapping);

    // Regions in the order in which they were added; index i is KVM's slot i.
    std::span<const Region> regions() const noexcept { return regions_; }
    // All RAM, in one piece: what is at 4 GiB in the guest follows what ends at 3 GiB.
    std::span<std::byte> ram() const noexcept { return {mappings_[0].data(), mappings_[0].size()}; }

    // The `length` bytes at a guest-physical address; nullopt unless all of them are in one region.
    std::optional<std::span<std::byte>> at(uint64_t address, uint64_t length) const noexcept;

    // Copies a value out of, or into, guest memory; nothing or false where at() has nothing.
    template <typename T>
    std::optional<T> read(uint64_t address) const noexcept {
        static_assert(std::is_trivially_copyable_v<T>);
        auto bytes = at(address, sizeof(T));
        if (!bytes) return std::nullopt;
        T value;
        std::memcpy(&value, bytes->data(), sizeof value);
        return value;
    }
    template <typename T>
    bool write(uint64_t address, const T& value) const noexcept {
        static_assert(std::is_trivially_copyable_v<T>);
        auto bytes = at(address, sizeof(T));
        if (bytes) std::memcpy(bytes->data(), &value, sizeof value);
        return bytes.has_value();
    }

  private:
    void add_region(uint64_t address, std::span<std::byte> bytes);

    std::vector<Mapping> mappings_;
    std::vector<Region> regions_;
};

}  // namespace inspect
