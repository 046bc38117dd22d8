// SPDX-License-Identifier: GPL-2.0-or-later
//
// A hostile qcow2 image: it is opened, read, listed and written. What must come of it is an Error or none; no
// crash, no hang, no memory that grows with what the image says.
//
// Bytes that are anything would nearly never pass the header. So the first byte says whether the input is an
// image as it is (0), or what is to be done to a sound one: a list of places and bytes to put there.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <inspect/error.h>

#include "block/memory_device.h"
#include "block/qcow2/create.h"
#include "block/qcow2/qcow2.h"

using namespace inspect;

namespace {

constexpr uint64_t kMaxFile = 4 << 20;

// A file on a disk that is soon full: an image may ask for a cluster at any offset.
class SmallDisk final : public BlockDevice {
  public:
    explicit SmallDisk(MemoryDevice& device) : device_(device) {}
    uint64_t size() const noexcept override { return device_.size(); }
    bool read_only() const noexcept override { return false; }
    void read(uint64_t offset, std::span<std::byte> out) override { device_.read(offset, out); }
    void write(uint64_t offset, std::span<const std::byte> in) override { device_.write(offset, in); }
    void flush() override {}
    void discard(uint64_t offset, uint64_t length) override { device_.discard(offset, length); }
    void write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override {
        device_.write_zeroes(offset, length, may_unmap);
    }
    void resize(uint64_t size) override {
        if (size > kMaxFile) throw Error(ErrorKind::kNoSpace, "the disk is full");
        device_.resize(size);
    }
    std::vector<Extent> extents(uint64_t offset, uint64_t length) override {
        return device_.extents(offset, length);
    }

  private:
    MemoryDevice& device_;
};

class Input {
  public:
    Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
    bool empty() const { return at_ == end_; }
    uint64_t number(size_t bytes) {
        uint64_t value = 0;
        for (; bytes > 0 && at_ < end_; --bytes) value = value << 8 | *at_++;
        return value;
    }
    std::vector<std::byte> rest() const {
        const auto bytes = std::as_bytes(std::span(at_, end_));
        return {bytes.begin(), bytes.end()};
    }

  private:
    const uint8_t* at_;
    const uint8_t* end_;
};

std::unique_ptr<Qcow2Device> open(MemoryDevice& file, bool writable,
                                  std::optional<std::string> snapshot = {}) {
    Qcow2Files files;
    files.file = std::make_unique<SmallDisk>(file);
    Qcow2Header header = Qcow2Header::parse(*files.file);
    if (header.backing_name) files.backing = std::make_unique<MemoryDevice>(std::vector<std::byte>(70'000));
    if (header.external_data()) files.data_file = std::make_unique<MemoryDevice>(100'000);
    Qcow2Options options;
    options.read_only = !writable;
    options.snapshot = std::move(snapshot);
    return std::make_unique<Qcow2Device>(std::move(header), std::move(files), options);
}

// Sound images of many kinds, each made once.
const std::vector<std::byte>& sound_image(unsigned kind) {
    static std::vector<std::byte> made[32];
    std::vector<std::byte>& image = made[kind % 32];
    if (!image.empty()) return image;
    Qcow2CreateOptions options;
    options.size = 200 * 1024;
    options.version = kind % 32 == 1 ? 2 : 3;
    options.cluster_bits = (kind & 1) != 0 ? 9 : 12;
    if (options.version == 3) {
        options.extended_l2 = (kind & 2) != 0;
        if (options.extended_l2) options.cluster_bits = 14;
        options.refcount_bits = (kind & 4) != 0 ? 1 : 16;
        if ((kind & 8) != 0) options.compression = Qcow2Compression::kZstd;
    }
    if ((kind & 16) != 0) {
        options.backing_name = "b";
        options.backing_format = "raw";
    }
    MemoryDevice file(0);
    create_qcow2(file, options);
    auto device = open(file, true);
    const uint64_t cluster = uint64_t{1} << options.cluster_bits;
    device->write(1000, std::vector<std::byte>(60'000, std::byte{7}));
    device->write_zeroes(20'000, 30'000, true);
    device->write_compressed(6 * cluster, std::vector<std::byte>(cluster, std::byte{5}));
    device->write_compressed(7 * cluster, std::vector<std::byte>(cluster, std::byte{6}));
    device->flush();
    device.reset();
    image = file.bytes();
    return image;
}

// At most some megabytes of what may be a disk of exabytes.
void read_some(Qcow2Device& device) {
    std::vector<std::byte> out(64 << 10);
    for (const uint64_t from :
         {uint64_t{0}, device.size() / 2, device.size() - std::min<uint64_t>(device.size(), 1 << 18)}) {
        for (uint64_t at = from; at < device.size() && at - from < 1 << 18; at += out.size()) {
            try {
                const uint64_t length = std::min<uint64_t>(out.size(), device.size() - at);
                device.read(at, std::span(out).first(length));
                device.extents(at, length);
            } catch (const Error&) {
            }
        }
    }
}

template <typename Call>
void attempt(Call call) {
    try {
        call();
    } catch (const Error&) {
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2 || size > 1 << 17) return 0;
    Input input(data, size);
    const uint64_t mode = input.number(1);
    std::vector<std::byte> image;
    uint64_t operations = 0x123456789abcdef;
    if (mode == 0) {
        image = input.rest();
    } else {
        image = sound_image(static_cast<unsigned>(input.number(1)));
        operations = input.number(8);
        while (!input.empty()) {
            // Most of what matters is at the start of some cluster.
            const uint64_t where = input.number(2);
            const uint64_t at =
                (where & 0x8000) != 0 ? (where & 0x7fff) : (where >> 5) * 512 + (where & 31) * 8;
            const uint64_t length = 1 + input.number(1) % 8;
            const uint64_t value = input.number(length);
            for (uint64_t i = 0; i < length && at + i < image.size(); ++i) {
                image[at + i] = static_cast<std::byte>(value >> (8 * (length - 1 - i)));
            }
        }
    }
    MemoryDevice file(std::move(image));
    attempt([&] {
        auto device = open(file, false);
        read_some(*device);
        attempt([&] {
            const std::vector<Qcow2Snapshot> snapshots = device->snapshots();
            if (snapshots.empty()) return;
            auto snapshot = open(file, false, snapshots.front().id);
            if (snapshot->size() > 0) read_some(*snapshot);
        });
        attempt([&] {
            for (const Qcow2Bitmap& bitmap : device->bitmaps()) {
                attempt([&] { device->for_each_dirty_range(bitmap, [](uint64_t, uint64_t) {}); });
            }
        });
    });
    attempt([&] {
        auto device = open(file, true);
        const std::vector<std::byte> bytes(5000, std::byte{0x77});
        for (int i = 0; i < 12; ++i, operations = operations * 6364136223846793005 + 1442695040888963407) {
            const uint64_t offset = (operations >> 8) % std::min<uint64_t>(device->size(), 300'000);
            const uint64_t length =
                std::min<uint64_t>((operations >> 40) % bytes.size(), device->size() - offset);
            attempt([&] {
                switch (operations >> 60) {
                    case 0:
                        device->flush();
                        break;
                    case 1:
                        device->discard(offset, length);
                        break;
                    case 2:
                    case 3:
                        device->write_zeroes(offset, length, (operations & 4) != 0);
                        break;
                    case 4:
                        device->resize((1 + (operations >> 8) % 1000) * 512);
                        break;
                    case 5: {
                        const uint64_t cluster = device->header().cluster_size();
                        const uint64_t at = offset / cluster * cluster;
                        device->write_compressed(
                            at, std::vector<std::byte>(std::min(cluster, device->size() - at), std::byte{1}));
                        break;
                    }
                    default: {
                        device->write(offset, std::span(bytes).first(length));
                        std::vector<std::byte> back(length);
                        device->read(offset, back);
                        if (!std::equal(back.begin(), back.end(), bytes.begin())) std::abort();
                    }
                }
            });
        }
    });
    return 0;
}
