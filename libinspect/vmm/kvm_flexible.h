// SPDX-License-Identifier: LGPL-2.1-or-later
//
// KVM's structures that end in an array of any length, and the ioctls that take them.
//
// <linux/kvm.h> declares such arrays with an empty structure beside them. That has no size in C and one byte
// in C++, so in C++ the structures are larger, and the ioctl numbers, which contain the size, are wrong.
// (Later headers mended it; the numbers here are right with any.)
#pragma once

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace inspect {

struct KvmCpuidHead {  // kvm_cpuid2
    uint32_t count;
    uint32_t padding;
};
struct KvmMsrsHead {  // kvm_msrs
    uint32_t count;
    uint32_t padding;
};
struct KvmMsrListHead {  // kvm_msr_list
    uint32_t count;
};
struct KvmStatsDescriptorHead {  // kvm_stats_desc; the name follows
    uint32_t flags;
    int16_t exponent;
    uint16_t size;
    uint32_t offset;
    uint32_t bucket_size;
};
inline constexpr size_t kKvmXsaveBytes = 4096;

inline constexpr unsigned long kKvmGetMsrIndexList =
    _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x02, sizeof(KvmMsrListHead));
inline constexpr unsigned long kKvmGetSupportedCpuid =
    _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, sizeof(KvmCpuidHead));
inline constexpr unsigned long kKvmGetMsrs = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x88, sizeof(KvmMsrsHead));
inline constexpr unsigned long kKvmSetMsrs = _IOC(_IOC_WRITE, KVMIO, 0x89, sizeof(KvmMsrsHead));
inline constexpr unsigned long kKvmSetCpuid2 = _IOC(_IOC_WRITE, KVMIO, 0x90, sizeof(KvmCpuidHead));
inline constexpr unsigned long kKvmGetCpuid2 =
    _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x91, sizeof(KvmCpuidHead));
inline constexpr unsigned long kKvmGetXsave = _IOC(_IOC_READ, KVMIO, 0xa4, kKvmXsaveBytes);
inline constexpr unsigned long kKvmSetXsave = _IOC(_IOC_WRITE, KVMIO, 0xa5, kKvmXsaveBytes);

// A head with room for so many items behind it.
template <typename Head, typename Item>
class KvmList {
  public:
    explicit KvmList(size_t items) : bytes_(sizeof(Head) + items * sizeof(Item)) {
        head()->count = static_cast<uint32_t>(items);
    }
    Head* head() { return reinterpret_cast<Head*>(bytes_.data()); }
    // As many as the head says, or as there is room for.
    std::span<Item> items() {
        const size_t room = (bytes_.size() - sizeof(Head)) / sizeof(Item);
        return {reinterpret_cast<Item*>(bytes_.data() + sizeof(Head)),
                head()->count < room ? head()->count : room};
    }

  private:
    static_assert(sizeof(Head) % alignof(Item) == 0);
    std::vector<std::byte> bytes_;
};

using KvmCpuidList = KvmList<KvmCpuidHead, kvm_cpuid_entry2>;
using KvmMsrEntries = KvmList<KvmMsrsHead, kvm_msr_entry>;
using KvmMsrIndices = KvmList<KvmMsrListHead, uint32_t>;

}  // namespace inspect
