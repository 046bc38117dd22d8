// SPDX-License-Identifier: GPL-2.0-or-later
//
// The same random operations on two copies of an image, one by our qcow2 driver, the other by QEMU's. After
// each round the contents must be the same (and what a plain array in memory says), snapshots included, and
// `qemu-img check` must find neither errors nor leaks in ours. Now and then the two swap images.
//
//     qcow2_differential [--operations N] [--seed N] [--directory DIR] [--round N]
//
// A failure names its round; --seed and --round do that one again. Exit code 77: QEMU's programs are not
// here.
#include "block/qcow2/qcow2.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <stdexcept>

#include <inspect/error.h>

#include "base/fd.h"
#include "block/qcow2/create.h"
#include "block/raw.h"
#include "qemu_io.h"

using namespace inspect;
namespace fs = std::filesystem;

namespace {

using Bytes = std::vector<std::byte>;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

std::unique_ptr<BlockDevice> open_raw(const std::string& path, bool writable) {
    return std::make_unique<RawDevice>(open_file(path, writable ? O_RDWR : O_RDONLY), !writable, path);
}

std::unique_ptr<Qcow2Device> open_qcow2(const std::string& path, bool writable,
                                        std::optional<std::string> snapshot = {}) {
    Qcow2Files files;
    files.file = open_raw(path, writable);
    Qcow2Header header = Qcow2Header::parse(*files.file);
    if (header.backing_name) {
        const std::string name = resolve_image_name(path, *header.backing_name).name;
        if (header.backing_format == "raw") {
            files.backing = open_raw(name, false);
        } else {
            files.backing = open_qcow2(name, false);
        }
    }
    if (header.external_data()) {
        files.data_file = open_raw(resolve_image_name(path, header.data_file_name.value()).name, writable);
    }
    Qcow2Options options;
    options.read_only = !writable;
    options.snapshot = std::move(snapshot);
    return std::make_unique<Qcow2Device>(std::move(header), std::move(files), options);
}

void must(const std::vector<std::string>& arguments) {
    const Outcome outcome = run_program(arguments);
    if (outcome.status == 0) return;
    std::string line;
    for (const std::string& argument : arguments) line += argument + " ";
    fail(line + "ended with " + std::to_string(outcome.status) + ": " + outcome.output);
}

void write_file(const std::string& path, const Bytes& bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!out.flush()) fail("can't write " + path);
}

class Round {
  public:
    Round(const std::string& directory, uint64_t seed)
        : random_(seed), ours_(directory + "/ours"), theirs_(directory + "/theirs"), directory_(directory) {
        fs::create_directories(ours_);
        fs::create_directories(theirs_);
    }

    // Returns how many operations were done.
    uint64_t run() {
        create();
        open();
        const uint64_t operations = 100 + below(400);
        for (uint64_t i = 0; i < operations; ++i) {
            try {
                step();
            } catch (const Error& error) {
                fail("operation " + std::to_string(i) + " (" + last_ + "): " + error.message());
            } catch (const std::exception& error) {
                fail("operation " + std::to_string(i) + " (" + last_ + "): " + error.what());
            }
        }
        last_ = "the end";
        close();
        compare();
        return operations;
    }

    std::string describe() const { return geometry_; }

  private:
    uint64_t below(uint64_t n) { return n == 0 ? 0 : random_() % n; }
    bool chance(uint64_t in) { return below(in) == 0; }

    std::string image(const std::string& folder) const { return folder + "/image.qcow2"; }

    void create() {
        static constexpr uint32_t kBits[] = {9,  9,  10, 11, 12, 12, 13, 14, 14,
                                             15, 16, 16, 16, 16, 17, 18, 20, 21};
        options_.cluster_bits = kBits[below(std::size(kBits))];
        options_.version = chance(5) ? 2 : 3;
        cluster_size_ = uint64_t{1} << options_.cluster_bits;
        const uint64_t largest = std::clamp<uint64_t>(cluster_size_ * 200, 1 << 20, 24 << 20);
        options_.size = (1 + below(largest / 512)) * 512;
        if (options_.version == 3) {
            options_.refcount_bits = chance(2) ? 16 : 1u << below(7);
            options_.extended_l2 = options_.cluster_bits >= 14 && chance(2);
            options_.lazy_refcounts = chance(6);
            if (chance(3)) options_.compression = Qcow2Compression::kZstd;
        }
        const uint64_t kind = below(8);
        if (kind < 4) {
            make_backing(kind);
        } else if (kind == 4 && options_.version == 3) {
            // QEMU takes a relative name as relative to where it was started, so it is an absolute one.
            options_.data_file_name = ours_ + "/image.data";
            options_.raw_data_file = chance(2);
        }
        bool preallocated = false;
        const bool by_qemu = chance(2);
        const std::string path = image(ours_);
        if (by_qemu) {
            std::string list = "cluster_size=" + std::to_string(cluster_size_) +
                               ",compat=" + (options_.version == 2 ? "0.10" : "1.1") +
                               ",refcount_bits=" + std::to_string(options_.refcount_bits);
            if (options_.extended_l2) list += ",extended_l2=on";
            if (options_.lazy_refcounts) list += ",lazy_refcounts=on";
            if (options_.compression == Qcow2Compression::kZstd) list += ",compression_type=zstd";
            if (options_.data_file_name) list += ",data_file=" + *options_.data_file_name;
            if (options_.raw_data_file) list += ",data_file_raw=on";
            if (!options_.backing_name && chance(4)) {
                list += ",preallocation=metadata";
                preallocated = true;
            }
            std::vector<std::string> command{"qemu-img", "create", "-q", "-f", "qcow2", "-o", list};
            if (options_.backing_name) {
                command.insert(command.end(), {"-b", *options_.backing_name, "-F", *options_.backing_format});
            }
            command.insert(command.end(), {path, std::to_string(options_.size)});
            must(command);
        } else {
            write_file(path, {});
            create_qcow2(*open_raw(path, true), options_);
            if (options_.data_file_name) write_file(ours_ + "/image.data", Bytes(options_.size));
            if (!options_.backing_name && chance(4)) {
                const auto device = open_qcow2(path, true);
                device->preallocate();
                device->flush();
                preallocated = true;
            }
        }
        for (const auto& entry : fs::directory_iterator(ours_)) {
            fs::copy(entry.path(), theirs_, fs::copy_options::overwrite_existing);
        }
        if (options_.data_file_name) {
            must({"qemu-img", "amend", "-f", "qcow2", "-o", "data_file=" + theirs_ + "/image.data",
                  image(theirs_)});
        }
        model_.resize(options_.size);
        std::copy_n(backing_.begin(), std::min(backing_.size(), model_.size()), model_.begin());
        incompressible_.resize(cluster_size_);
        for (std::byte& byte : incompressible_) byte = static_cast<std::byte>(random_());
        write_file(directory_ + "/noise", incompressible_);
        geometry_ =
            "version " + std::to_string(options_.version) + ", clusters of " + std::to_string(cluster_size_) +
            ", refcount bits " + std::to_string(options_.refcount_bits) +
            (options_.extended_l2 ? ", extended L2" : "") +
            (options_.lazy_refcounts ? ", lazy refcounts" : "") +
            (options_.compression == Qcow2Compression::kZstd ? ", zstd" : "") +
            (options_.backing_name
                 ? ", backing " + *options_.backing_format + " of " + std::to_string(backing_.size())
                 : "") +
            (options_.data_file_name ? options_.raw_data_file ? ", raw data file" : ", data file" : "") +
            (preallocated ? ", preallocated" : "") + (by_qemu ? ", made by QEMU" : ", made by us") +
            ", size " + std::to_string(options_.size);
    }

    // A backing file that is shorter than, as long as or longer than the image.
    void make_backing(uint64_t kind) {
        uint64_t size = options_.size;
        if (kind == 1) size = (1 + below(size / 512)) * 512;
        if (kind == 2) size += (1 + below(4096)) * 512;
        backing_.resize(size);
        for (uint64_t at = 0; at < size;) {  // stretches of data and of zeros
            const uint64_t end = std::min(size, at + 1 + below(200'000));
            const auto value = static_cast<std::byte>(chance(3) ? 0 : random_());
            for (; at < end; ++at) backing_[at] = value == std::byte{0} ? value : value ^ std::byte(at >> 9);
        }
        const std::string raw = directory_ + "/base.raw";
        write_file(raw, backing_);
        options_.backing_format = "raw";
        options_.backing_name = "../base.raw";
        if (chance(2)) {
            std::vector<std::string> convert{"qemu-img", "convert", "-f", "raw", "-O", "qcow2"};
            if (chance(2)) convert.push_back("-c");
            convert.insert(convert.end(), {raw, directory_ + "/base.qcow2"});
            must(convert);
            options_.backing_format = "qcow2";
            options_.backing_name = "../base.qcow2";
        }
    }

    void open() {
        device_ = open_qcow2(image(ours_), true);
        if (device_->size() != model_.size()) fail("our driver sees another size");
        start_qemu();
    }

    void start_qemu() {
        qemu_ = std::make_unique<QemuIo>(std::vector<std::string>{"-f", "qcow2", image(theirs_)});
    }

    void close() {
        if (chance(2)) device_->flush();
        device_.reset();
        qemu_->quit();
        qemu_.reset();
        must({"qemu-img", "check", "-q", "-f", "qcow2", image(ours_)});
    }

    void qemu(const std::string& command) {
        const std::string answer = qemu_->run(command);
        if (answer.find("ailed") != std::string::npos || answer.find("rror") != std::string::npos ||
            answer.find("nvalid") != std::string::npos) {
            fail("QEMU says to '" + command + "': " + answer);
        }
    }

    // A range of sectors, often one that begins or ends with a cluster. QEMU works in sectors.
    void range(uint64_t& offset, uint64_t& length) {
        const uint64_t size = model_.size();
        offset = below(size / 512) * 512;
        if (chance(3)) offset = offset / cluster_size_ * cluster_size_;
        uint64_t most = size - offset;
        if (!chance(6))
            most = std::min(most, chance(2) ? std::max<uint64_t>(512, cluster_size_) : 5 * cluster_size_);
        length = (1 + below(most / 512)) * 512;
        if (chance(3))
            length = std::min(size - offset, (length + cluster_size_ - 1) / cluster_size_ * cluster_size_);
    }

    std::string at(uint64_t offset, uint64_t length) const {
        return std::to_string(offset) + " " + std::to_string(length);
    }

    void fill(uint64_t offset, uint64_t length, std::byte value) {
        std::fill_n(model_.begin() + static_cast<std::ptrdiff_t>(offset), length, value);
    }

    void expect_same(uint64_t offset, std::span<const std::byte> found, const Bytes& model) {
        const auto [a, b] =
            std::mismatch(found.begin(), found.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
        if (a == found.end()) return;
        fail("byte " + std::to_string(offset + static_cast<uint64_t>(a - found.begin())) + " reads as " +
             std::to_string(static_cast<int>(*a)) + " and should be " + std::to_string(static_cast<int>(*b)));
    }

    void step() {
        uint64_t offset, length;
        range(offset, length);
        const auto value = static_cast<std::byte>(1 + below(255));
        const uint64_t what = below(100);
        if (what < 40) {
            last_ = "write " + at(offset, length);
            write(offset, length, value);
        } else if (what < 60) {
            last_ = "read " + at(offset, length);
            read(offset, length);
        } else if (what < 72) {
            const bool unmap = chance(2);
            last_ = "write zeroes " + at(offset, length) + (unmap ? " unmap" : "");
            device_->write_zeroes(offset, length, unmap);
            qemu("write -z " + std::string(unmap ? "-u " : "") + at(offset, length));
            fill(offset, length, std::byte{0});
        } else if (what < 80) {
            last_ = "discard " + at(offset, length);
            device_->discard(offset, length);
            qemu("discard " + at(offset, length));
            Bytes now(length);
            device_->read(offset, now);
            for (uint64_t i = 0; i < length; ++i) {
                if (now[i] != std::byte{0} && now[i] != model_[offset + i]) fail("discard made up data");
                model_[offset + i] = now[i];
            }
        } else if (what < 86) {
            last_ = "flush";
            device_->flush();
            qemu("flush");
        } else if (what < 92) {
            write_compressed(offset);
        } else if (what < 94) {
            resize();
        } else if (what < 96) {
            last_ = "extents";
            check_extents(offset, length);
        } else if (what < 98) {
            last_ = "reopen";
            close();
            if (!options_.data_file_name && chance(3)) {
                last_ = "swap";
                fs::rename(ours_, directory_ + "/swap");
                fs::rename(theirs_, ours_);
                fs::rename(directory_ + "/swap", theirs_);
            }
            open();
        } else {
            snapshot();
        }
    }

    void write(uint64_t offset, uint64_t length, std::byte value) {
        const Bytes data(length, value);
        if (chance(2)) {
            device_->write(offset, data);
        } else {  // in pieces, as a guest has them
            std::vector<iovec> pieces;
            for (uint64_t done = 0; done < length;) {
                const uint64_t n = std::min(length - done, 1 + below(std::max<uint64_t>(512, length / 20)));
                pieces.push_back({const_cast<std::byte*>(data.data()) + done, n});  // NOLINT
                done += n;
            }
            device_->writev(offset, pieces);
        }
        qemu("write -P " + std::to_string(static_cast<int>(value)) + " " + at(offset, length));
        fill(offset, length, value);
    }

    void read(uint64_t offset, uint64_t length) {
        offset += below(512);  // ours has no sectors
        length = std::min(length, model_.size() - offset);
        Bytes found(length);
        device_->read(offset, found);
        expect_same(offset, found, model_);
    }

    void write_compressed(uint64_t offset) {
        offset = offset / cluster_size_ * cluster_size_;
        const uint64_t length = std::min(cluster_size_, model_.size() - offset);
        last_ = "write compressed " + at(offset, length);
        if (options_.data_file_name) return;
        const bool noise = chance(4);
        const auto value = static_cast<std::byte>(1 + below(255));
        const Bytes data = noise ? incompressible_ : Bytes(length, value);
        device_->write_compressed(offset, std::span(data).first(length));
        const std::string source =
            noise ? "-s " + directory_ + "/noise " : "-P " + std::to_string(static_cast<int>(value)) + " ";
        // QEMU 7.2 goes on writing behind its last compressed cluster even when that was freed and belongs to
        // other data by now, which it damages. It forgets the place when it is started anew. And it doesn't
        // compress over what is there already.
        const bool compressed =
            chance(4) &&
            qemu_->run("write -c " + source + at(offset, length)).find("failed") == std::string::npos;
        if (compressed) {
            qemu_->quit();
            start_qemu();
        } else {
            qemu("write " + source + at(offset, length));
        }
        std::copy_n(data.begin(), length, model_.begin() + static_cast<std::ptrdiff_t>(offset));
        compressed_ = true;
    }

    void resize() {
        if (options_.version == 2 && !snapshots_.empty()) return;
        uint64_t size = (1 + below(model_.size() * 2 / 512)) * 512;
        size = std::min<uint64_t>(size, 32 << 20);
        // QEMU leaves what was in the last cluster of a disk that it made shorter, and shows it again when
        // the disk grows; so the two agree only on whole clusters.
        if (size < model_.size()) size = std::max(cluster_size_, size / cluster_size_ * cluster_size_);
        if (size > model_.size() && chance(4)) size = model_.size() * 4 / 512 * 512;
        if (size > 64 << 20) return;
        // QEMU can't say zeros in version 2, where a longer backing file would come to light.
        if (options_.version == 2 && size > model_.size() && backing_.size() > model_.size()) return;
        last_ = "resize " + std::to_string(model_.size()) + " to " + std::to_string(size);
        device_->resize(size);
        qemu("truncate " + std::to_string(size));
        model_.resize(size);
    }

    void check_extents(uint64_t offset, uint64_t length) {
        const std::vector<Extent> extents = device_->extents(offset, length);
        uint64_t position = offset;
        for (size_t i = 0; i < extents.size(); ++i) {
            const Extent& extent = extents[i];
            if (extent.offset != position || extent.length == 0) fail("extents have a gap");
            if (i > 0 && extent.kind == extents[i - 1].kind) fail("extents are not merged");
            position += extent.length;
            if (extent.kind == ExtentKind::kData) continue;
            expect_same(extent.offset, Bytes(extent.length), model_);
        }
        if (position != offset + length) fail("extents end too early");
    }

    void snapshot() {
        last_ = "snapshot";
        if (options_.data_file_name || options_.refcount_bits < 4 || snapshots_.size() > 5) return;
        if (compressed_ && options_.refcount_bits < 16) return;  // QEMU fails where a refcount overflows
        close();
        if (!snapshots_.empty() && chance(3)) {
            const auto chosen =
                std::next(snapshots_.begin(), static_cast<std::ptrdiff_t>(below(snapshots_.size())));
            const bool apply = chance(2) && (options_.version == 3 || chosen->second.size() == model_.size());
            last_ = std::string(apply ? "apply" : "delete") + " snapshot " + chosen->first;
            for (const std::string& folder : {ours_, theirs_}) {
                must({"qemu-img", "snapshot", apply ? "-a" : "-d", chosen->first, image(folder)});
            }
            if (apply) {
                model_ = chosen->second;
            } else {
                snapshots_.erase(chosen);
            }
        } else {
            const std::string name = "snapshot-" + std::to_string(next_snapshot_++);
            last_ = "make " + name;
            for (const std::string& folder : {ours_, theirs_}) {
                must({"qemu-img", "snapshot", "-c", name, image(folder)});
            }
            snapshots_[name] = model_;
        }
        check_snapshots();
        open();
    }

    void check_snapshots() {
        for (const auto& [name, contents] : snapshots_) {
            const auto device = open_qcow2(image(ours_), false, name);
            if (device->size() != contents.size()) fail("the snapshot " + name + " has another size");
            Bytes found(contents.size());
            device->read(0, found);
            try {
                expect_same(0, found, contents);
            } catch (const std::exception& error) {
                fail("snapshot " + name + ": " + error.what());
            }
        }
    }

    // QEMU's programs judge.
    void compare() {
        must({"qemu-img", "compare", "-q", "-f", "qcow2", "-F", "qcow2", image(ours_), image(theirs_)});
        const std::string raw = directory_ + "/model.raw";
        write_file(raw, model_);
        must({"qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", image(ours_), raw});
        if (options_.raw_data_file) {
            must({"qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", ours_ + "/image.data", raw});
        }
        for (const auto& [name, contents] : snapshots_) {
            must({"qemu-img", "convert", "-f", "qcow2", "-l", "snapshot.name=" + name, "-O", "raw",
                  image(ours_), raw});
            // QEMU shows a snapshot with the size that the image has now.
            Bytes found(std::min<uint64_t>(contents.size(), fs::file_size(raw)));
            open_raw(raw, false)->read(0, found);
            expect_same(0, found, contents);
        }
        check_snapshots();
    }

    std::mt19937_64 random_;
    std::string ours_, theirs_, directory_;
    Qcow2CreateOptions options_;
    uint64_t cluster_size_ = 0;
    Bytes backing_, model_, incompressible_;
    std::map<std::string, Bytes> snapshots_;
    int next_snapshot_ = 1;
    bool compressed_ = false;
    std::unique_ptr<Qcow2Device> device_;
    std::unique_ptr<QemuIo> qemu_;
    std::string geometry_, last_;
};

}  // namespace

int main(int argc, char** argv) {
    uint64_t operations = 3000, seed = 1, only = 0;
    std::string parent = fs::temp_directory_path();
    for (int i = 1; i < argc; i += 2) {
        const std::string name = argv[i];
        const bool number = name == "--operations" || name == "--seed" || name == "--round";
        if ((!number && name != "--directory") || i + 1 == argc) {
            std::cerr << argv[0] << ": " << name
                      << (number || name == "--directory" ? " wants a value" : " is no option") << "\n"
                      << "usage: [--operations N] [--seed N] [--round N] [--directory DIRECTORY]\n";
            return 2;
        }
        if (name == "--operations") operations = std::strtoull(argv[i + 1], nullptr, 10);
        if (name == "--seed") seed = std::strtoull(argv[i + 1], nullptr, 10);
        if (name == "--round") only = std::strtoull(argv[i + 1], nullptr, 10);
        if (name == "--directory") parent = argv[i + 1];
    }
    if (!have_program("qemu-img") || !have_program("qemu-io")) {
        std::cout << "skipped: qemu-img and qemu-io (Debian's qemu-utils) are not installed\n";
        return 77;
    }
    uint64_t done = 0, round = only > 0 ? only : 1;
    for (; done < operations; ++round) {
        std::string directory = parent + "/qcow2-differential-XXXXXX";
        if (::mkdtemp(directory.data()) == nullptr) {
            std::cerr << "can't make a directory in " << parent << "\n";
            return 1;
        }
        Round current(directory, seed * 1'000'003 + round);
        try {
            done += current.run();
        } catch (const std::exception& error) {
            std::cerr << "round " << round << " of seed " << seed << " failed: " << error.what()
                      << "\n  image: " << current.describe() << "\n  left in " << directory << "\n";
            return 1;
        }
        fs::remove_all(directory);
        if (only > 0) break;
    }
    std::cout << done << " operations, " << (only > 0 ? 1 : round - 1) << " images: no difference\n";
    return 0;
}
