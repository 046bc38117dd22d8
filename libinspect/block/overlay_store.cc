// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/overlay_store.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/iovec.h"

namespace inspect {

static_assert(std::endian::native == std::endian::little, "the map's words are shared in native order");

// Written by whoever writes the store, so a reader after the fact must not depend on any of it.
struct OverlayStore::Header {
    char magic[8];
    uint64_t size;
    uint64_t memory_limit;
    uint64_t memory_bytes;  // of blocks in state kMemory
};

namespace {

constexpr char kMagic[8] = {'I', 'N', 'S', 'P', 'O', 'V', 'L', '1'};
constexpr uint64_t kHeaderSize = 4096;
constexpr uint64_t kBlocksPerWord = 32;
constexpr uint64_t kMaxSize = uint64_t{1} << 60;

uint64_t area_of(uint64_t size) { return align_up(size, OverlayStore::kBlockSize); }
uint64_t map_bytes(uint64_t size) {
    return align_up(area_of(size) / OverlayStore::kBlockSize, kBlocksPerWord) / kBlocksPerWord * 8;
}
uint64_t memory_file_size(uint64_t size) {
    return area_of(size) + kHeaderSize + align_up(map_bytes(size), OverlayStore::kBlockSize);
}

// A word in which every block has this state.
constexpr uint64_t repeated(OverlayStore::State state) {
    return static_cast<uint64_t>(state) * 0x5555555555555555ull;
}

Fd open_unlinked(const std::string& directory) {
    int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) return Fd(fd);
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) return Fd();
    std::string path = directory + "/.insp-overlay-XXXXXX";  // a file system without O_TMPFILE
    fd = ::mkostemp(path.data(), O_CLOEXEC);
    if (fd >= 0) ::unlink(path.c_str());
    return Fd(fd);
}

Fd open_spill(std::vector<std::string> directories) {
    if (const char* tmpdir = std::getenv("TMPDIR"); tmpdir != nullptr && *tmpdir != '\0') {
        directories.emplace_back(tmpdir);
    }
    directories.insert(directories.end(), {"/var/tmp", "/tmp"});
    for (const std::string& directory : directories) {
        if (Fd fd = open_unlinked(directory)) return fd;
    }
    throw Error::from_errno("cannot create a temporary file for changed data in '" + directories.front() +
                                "' nor in any other place; set TMPDIR to a directory that can be written",
                            errno);
}

// Whole pread or pwrite of a list; `step` is one system call. False at the end of the file.
template <typename Step>
bool transfer(std::span<const iovec> pieces, uint64_t offset, const char* what, Step step) {
    const uint64_t total = iovec_bytes(pieces);
    uint64_t done = 0;
    while (done < total) {
        IovecCursor cursor(pieces);
        cursor.seek(done);
        uint64_t taken;
        auto slice = cursor.take(total - done, taken);
        ssize_t n = step(slice.data(), static_cast<int>(slice.size()), static_cast<off_t>(offset + done));
        if (n < 0) {
            if (errno == EINTR) continue;
            throw Error::from_errno(what, errno, ErrorKind::kCorrupt);
        }
        if (n == 0) return false;
        done += static_cast<uint64_t>(n);
    }
    return true;
}

void write_pieces(int fd, std::span<const iovec> in, uint64_t offset, const char* what) {
    bool whole = transfer(in, offset, what, [fd](const iovec* pieces, int count, off_t at) {
        return ::pwritev(fd, pieces, count, at);
    });
    if (!whole) throw Error::from_errno(what, ENOSPC);
}

constexpr char kMemoryFailed[] = "cannot keep changed data in memory";
constexpr char kSpillFailed[] =
    "cannot keep changed data in the temporary file beside the image (or in TMPDIR); make room and try again";

}  // namespace

OverlayStore OverlayStore::create(uint64_t size, const Options& options) {
    if (size > kMaxSize) {
        throw Error(ErrorKind::kUnsupported,
                    "a device of " + std::to_string(size) + " bytes is larger than this version can hold");
    }
    Fd memory(::memfd_create("insp-overlay", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory) throw Error::from_errno("cannot create a memory file for changed data", errno);
    if (::ftruncate(memory.get(), static_cast<off_t>(memory_file_size(size))) < 0) {
        throw Error::from_errno("cannot size the memory file for changed data", errno);
    }
    // Without this the writing process could shrink it under the reader's mapping: SIGBUS.
    if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        throw Error::from_errno("cannot seal the memory file for changed data", errno);
    }
    return OverlayStore(std::move(memory), open_spill(options.spill_directories), size, true,
                        options.memory_limit);
}

OverlayStore::OverlayStore(Fd memory, Fd spill, uint64_t size)
    : OverlayStore(std::move(memory), std::move(spill), size, false, 0) {}

OverlayStore::OverlayStore(Fd memory, Fd spill, uint64_t size, bool fresh, uint64_t memory_limit)
    : memory_(std::move(memory)), spill_(std::move(spill)), size_(size) {
    struct stat st;
    if (size > kMaxSize || ::fstat(memory_.get(), &st) < 0 ||
        static_cast<uint64_t>(st.st_size) != memory_file_size(size)) {
        throw Error(ErrorKind::kInternal,
                    "the overlay's memory file does not fit a device of " + std::to_string(size) + " bytes");
    }
    mapped_length_ = kHeaderSize + map_bytes(size);
    void* at = ::mmap(nullptr, mapped_length_, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(),
                      static_cast<off_t>(area()));
    if (at == MAP_FAILED) throw Error::from_errno("cannot map the overlay", errno);
    mapped_ = static_cast<std::byte*>(at);
    words_ = reinterpret_cast<uint64_t*>(mapped_ + kHeaderSize);
    if (fresh) {
        header() = {{}, size, memory_limit, 0};
        std::memcpy(header().magic, kMagic, sizeof kMagic);
    } else if (std::memcmp(header().magic, kMagic, sizeof kMagic) != 0 || header().size != size) {
        ::munmap(mapped_, mapped_length_);
        throw Error(ErrorKind::kInternal, "the overlay's memory file is not one");
    }
}

OverlayStore::OverlayStore(OverlayStore&& other) noexcept
    : memory_(std::move(other.memory_)),
      spill_(std::move(other.spill_)),
      size_(other.size_),
      mapped_(std::exchange(other.mapped_, nullptr)),
      mapped_length_(other.mapped_length_),
      words_(std::exchange(other.words_, nullptr)) {}

OverlayStore::~OverlayStore() {
    if (mapped_ != nullptr) ::munmap(mapped_, mapped_length_);
}

OverlayStore::Header& OverlayStore::header() const { return *reinterpret_cast<Header*>(mapped_); }
uint64_t OverlayStore::area() const { return area_of(size_); }
uint64_t OverlayStore::blocks() const { return area() / kBlockSize; }

OverlayStore::State OverlayStore::state_of(uint64_t block) const {
    return static_cast<State>(words_[block / kBlocksPerWord] >> (block % kBlocksPerWord * 2) & 3);
}

// The first block after `block`, at most limit_block, whose state is another. Whole words at a time.
uint64_t OverlayStore::same_state_end(uint64_t block, uint64_t limit_block) const {
    const uint64_t same = repeated(state_of(block));
    while (block < limit_block) {
        const uint64_t shift = block % kBlocksPerWord * 2;
        const uint64_t different = (words_[block / kBlocksPerWord] ^ same) >> shift;
        if (different != 0) {
            block += static_cast<uint64_t>(std::countr_zero(different)) / 2;
            break;
        }
        block += kBlocksPerWord - block % kBlocksPerWord;
    }
    return std::min(block, limit_block);
}

void OverlayStore::set_states(uint64_t first, uint64_t count, State state) {
    const uint64_t wanted = repeated(state);
    while (count > 0) {
        const uint64_t shift = first % kBlocksPerWord * 2;
        const uint64_t n = std::min(count, kBlocksPerWord - first % kBlocksPerWord);
        const uint64_t mask = (n == kBlocksPerWord ? ~uint64_t{0} : (uint64_t{1} << n * 2) - 1) << shift;
        uint64_t& word = words_[first / kBlocksPerWord];
        word = (word & ~mask) | (wanted & mask);
        first += n;
        count -= n;
    }
}

OverlayStore::Run OverlayStore::run_at(uint64_t offset, uint64_t limit) const {
    const uint64_t block = offset / kBlockSize;
    const uint64_t end_block = same_state_end(block, align_up(limit, kBlockSize) / kBlockSize);
    return {offset, std::min(end_block * kBlockSize, limit) - offset, state_of(block)};
}

std::optional<OverlayStore::Run> OverlayStore::next_changed(uint64_t offset) const {
    while (offset < size_) {
        // Skip the parts of the map that were never touched: reading them through the mapping would allocate
        // them.
        const uint64_t map_start = area() + kHeaderSize;
        const uint64_t word_at = map_start + offset / kBlockSize / kBlocksPerWord * 8;
        off_t data = ::lseek(memory_.get(), static_cast<off_t>(word_at), SEEK_DATA);
        if (data < 0 && errno == ENXIO) return std::nullopt;
        if (data >= 0 && static_cast<uint64_t>(data) > word_at) {
            const uint64_t first_block = (static_cast<uint64_t>(data) - map_start) / 8 * kBlocksPerWord;
            if (first_block >= blocks()) return std::nullopt;
            offset = first_block * kBlockSize;
        }
        // One page of the map, so that the next hole in it is skipped too.
        constexpr uint64_t kBytesPerMapPage = 4096 / 8 * kBlocksPerWord * kBlockSize;
        const uint64_t page_end = std::min(size_, align_down(offset, kBytesPerMapPage) + kBytesPerMapPage);
        const Run run = run_at(offset, page_end);
        if (run.state != State::kLower) return run;
        offset = run.end();
    }
    return std::nullopt;
}

void OverlayStore::read(State state, uint64_t offset, std::span<const iovec> out) const {
    const int fd = state == State::kMemory ? memory_.get() : spill_.get();
    bool whole =
        transfer(out, offset, "cannot read changed data back",
                 [fd](const iovec* pieces, int count, off_t at) { return ::preadv(fd, pieces, count, at); });
    if (!whole) throw Error(ErrorKind::kCorrupt, "the temporary file of changed data became shorter");
}

void OverlayStore::overwrite(State state, uint64_t offset, std::span<const iovec> in) {
    const bool memory = state == State::kMemory;
    write_pieces(memory ? memory_.get() : spill_.get(), in, offset, memory ? kMemoryFailed : kSpillFailed);
}

uint64_t OverlayStore::store(uint64_t offset, std::span<const iovec> in) {
    const uint64_t total = iovec_bytes(in);
    const uint64_t used = header().memory_bytes, limit = header().memory_limit;
    const uint64_t room = used < limit ? align_down(limit - used, kBlockSize) : 0;
    const uint64_t n = std::min(total, room);
    if (n > 0) {
        IovecCursor cursor(in);
        uint64_t taken;
        auto slice = cursor.take(n, taken);
        try {
            write_pieces(memory_.get(), slice, offset, kMemoryFailed);
            set_states(offset / kBlockSize, align_up(n, kBlockSize) / kBlockSize, State::kMemory);
            header().memory_bytes = used + align_up(n, kBlockSize);
            return n;
        } catch (const Error&) {
            // The system has no memory left though the limit is not reached: the spill file is for that.
        }
    }
    write_pieces(spill_.get(), in, offset, kSpillFailed);
    set_states(offset / kBlockSize, align_up(total, kBlockSize) / kBlockSize, State::kSpill);
    return total;
}

void OverlayStore::set_zero(uint64_t offset, uint64_t length) {
    const uint64_t limit = offset + length;
    while (offset < limit) {
        const Run run = run_at(offset, limit);
        const uint64_t whole = align_up(run.length, kBlockSize);
        set_states(offset / kBlockSize, whole / kBlockSize, State::kZero);
        if (run.state == State::kMemory || run.state == State::kSpill) {
            const bool memory = run.state == State::kMemory;
            // Where space can't be given back it stays allocated; the state alone decides what is read.
            const bool freed =
                ::fallocate(memory ? memory_.get() : spill_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            static_cast<off_t>(offset), static_cast<off_t>(whole)) == 0;
            if (memory && freed) header().memory_bytes -= std::min(header().memory_bytes, whole);
        }
        offset = run.end();
    }
}

}  // namespace inspect
