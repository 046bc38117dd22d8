// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include <inspect/error.h>

namespace inspect {

namespace {

constexpr uint64_t kMaxKernelSize = 256U << 20;

// A whole file, to be written.
class Mapping {
  public:
    Mapping(int fd, size_t size)
        : address_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)), size_(size) {
        if (address_ == MAP_FAILED) throw Error::from_errno("the appliance's kernel can't be mapped", errno);
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping() { ::munmap(address_, size_); }
    void* address() const noexcept { return address_; }

  private:
    void* address_;
    size_t size_;
};

[[noreturn]] void damaged(const std::string& why) {
    throw Error(ErrorKind::kCorrupt, "the appliance's kernel is damaged (" + why + "); reinstall libinspect");
}

}  // namespace

Fd unpack_kernel(int compressed) {
    struct stat st;
    if (::fstat(compressed, &st) != 0) throw Error::from_errno("the appliance's kernel", errno);
    if (st.st_size <= 0) damaged("it is empty");
    if (static_cast<uint64_t>(st.st_size) > kMaxKernelSize) damaged("it is larger than any kernel");
    std::vector<std::byte> packed(static_cast<size_t>(st.st_size));
    packed.resize(pread_full(compressed, packed, 0, "the appliance's kernel"));
    // Unknown and unreadable sizes are large numbers too.
    const unsigned long long size = ::ZSTD_getFrameContentSize(packed.data(), packed.size());
    if (size == 0 || size > kMaxKernelSize) damaged("it isn't a Zstandard frame of a known size");

    Fd file(::memfd_create("insp-kernel", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0)
        throw Error::from_errno("making room for the appliance's kernel", errno);
    {
        const Mapping kernel(file.get(), size);
        const size_t got = ::ZSTD_decompress(kernel.address(), size, packed.data(), packed.size());
        if (::ZSTD_isError(got) != 0) damaged(::ZSTD_getErrorName(got));
        if (got != size) damaged("it is shorter than it says");
    }
    if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
        throw Error::from_errno("sealing the appliance's kernel", errno);
    return file;
}

}  // namespace inspect
