// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/kvm_counter.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "vmm/kvm_flexible.h"

namespace inspect {

namespace {

// More than any kernel has; what it says is believed within these.
constexpr uint32_t kMaxCounters = 1024;
constexpr uint32_t kMaxNameSize = 256;

bool read_at(int fd, void* out, size_t size, uint64_t offset) {
    return ::pread(fd, out, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

}  // namespace

KvmCounter KvmCounter::find(int vcpu_fd, std::string_view name) noexcept {
    KvmCounter counter;
    Fd fd(::ioctl(vcpu_fd, KVM_GET_STATS_FD, nullptr));
    kvm_stats_header header;
    if (!fd || !read_at(fd.get(), &header, sizeof header, 0)) return counter;
    if (header.num_desc > kMaxCounters || header.name_size > kMaxNameSize) return counter;
    const size_t stride = sizeof(KvmStatsDescriptorHead) + header.name_size;
    std::vector<char> all(stride * header.num_desc);
    if (!read_at(fd.get(), all.data(), all.size(), header.desc_offset)) return counter;
    for (size_t at = 0; at < all.size(); at += stride) {
        const char* text = all.data() + at + sizeof(KvmStatsDescriptorHead);
        if (std::string_view(text, ::strnlen(text, header.name_size)) != name) continue;
        KvmStatsDescriptorHead descriptor;
        std::memcpy(&descriptor, all.data() + at, sizeof descriptor);
        counter.offset_ = uint64_t{header.data_offset} + descriptor.offset;
        counter.fd_ = std::move(fd);
        break;
    }
    return counter;
}

uint64_t KvmCounter::read() const noexcept {
    uint64_t value = 0;
    return fd_ && read_at(fd_.get(), &value, sizeof value, offset_) ? value : 0;
}

}  // namespace inspect
