// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp make-fs: a new image with a file system that holds a directory of this host, or what is in a tar
// archive.
//
// Both come to the appliance as a tar stream, which its tar unpacks: owners, links, holes, attributes and
// all. The image gets its name only when it is complete.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include <inspect/image.h>

#include "cli/guest.h"
#include "cli/host_program.h"
#include "cli/make_filesystem.h"
#include "cli/program.h"
#include "cli/tar_census.h"
#include "cli/text.h"
#include "cli/values.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kMakeFsOwnOptions[] = {
    {'t', "type", Takes::kValue, "TYPE",
     "the file system: ext2, which is the default, ext4, xfs, vfat, ntfs...", "",
     "ext2 ext3 ext4 xfs btrfs f2fs vfat exfat ntfs"},
    {'s', "size", Takes::kValue, "[+]SIZE", "the image's size, or room besides the contents"},
    {'F', "format", Takes::kValue, "FORMAT", "the image's format: 'raw', which is the default, or 'qcow2'",
     "", "raw qcow2"},
    {0, "label", Takes::kValue, "LABEL", "the file system's label"},
    {0, "partition", Takes::kOptionalValue, "TABLE",
     "with a partition table: 'mbr', so without a value, or 'gpt'", "", "mbr gpt"},
    {0, "blocksize", Takes::kValue, "BYTES", "the disk's sector size: 512 or 4096", "", "512 4096"},
    {0, "floppy", Takes::kNothing, "",
     "a floppy disk: --size=1440K --partition=mbr --type=vfat, unless given"},
};

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr int kTries = 5;  // with more room each time, where the estimate was too low

// What the user wants.
struct Wish {
    std::string input;
    std::string output;
    const FilesystemMaker* maker;
    std::string format;
    std::string label;
    NewTable table = NewTable::kNone;
    uint32_t sector_size = 512;
    std::optional<uint64_t> size;
    uint64_t extra = 0;
};

Wish wish_of(const Arguments& args) {
    const bool floppy = args.has("floppy");
    Wish wish{.input = args.operands()[0],
              .output = args.operands()[1],
              .maker = &filesystem_maker(args.value("type").value_or(floppy ? "vfat" : "ext2")),
              .format = one_of(args, "format", {"raw", "qcow2"}, "raw"),
              .label = args.value("label").value_or(""),
              .size = {}};
    if (std::string_view(wish.maker->type) == "swap") throw UsageError("swap space holds no files");
    require_label(*wish.maker, wish.label);
    if (args.has("partition") || floppy)
        wish.table = new_table("--partition", args.value("partition").value_or("mbr"));
    if (one_of(args, "blocksize", {"512", "4096"}, "512") == "4096") wish.sector_size = 4096;
    std::optional<std::string> text = args.value("size");
    if (floppy && !text) text = "1440K";
    if (text) {
        bool extra = text->starts_with('+');
        std::optional<uint64_t> size = parse_size(extra ? text->substr(1) : *text, 1);
        if (!size || *size == 0 || *size > INT64_MAX / 2)
            throw UsageError("--size '" + *text + "' is not a size");
        if (extra) {
            wish.extra = *size;
        } else {
            wish.size = *size / 4096 * 4096;
            if (*wish.size == 0) throw UsageError("--size " + *text + " is too small for anything");
        }
    }
    return wish;
}

// The program that undoes an archive's compression; empty: there is none.
std::vector<std::string> decompressor(const std::string& path) {
    int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw Error::from_errno("cannot open '" + path + "'", errno, ErrorKind::kDenied);
    char start[6] = {};
    ssize_t count = ::read(fd, start, sizeof start);
    int saved = errno;
    ::close(fd);
    if (count < 0) throw Error::from_errno("cannot read '" + path + "'", saved, ErrorKind::kDenied);
    const std::string_view magic(start, static_cast<size_t>(count));
    if (magic.starts_with("\x1f\x8b")) return {"gzip", "-dc"};
    if (magic.starts_with("BZh")) return {"bzip2", "-dc"};
    if (magic.starts_with("\xfd"
                          "7zXZ"))
        return {"xz", "-dc"};
    if (magic.starts_with("\x28\xb5\x2f\xfd")) return {"zstd", "-dcq"};
    return {"cat"};
}

bool is_directory(const std::string& path) {
    struct stat status;
    if (::stat(path.c_str(), &status) < 0)
        throw Error::from_errno("cannot open '" + path + "'", errno, ErrorKind::kDenied);
    return S_ISDIR(status.st_mode);
}

// The input as an uncompressed archive.
std::unique_ptr<HostProgram> open_archive(const std::string& input) {
    if (!is_directory(input)) return std::make_unique<HostProgram>(decompressor(input), input);
    return std::make_unique<HostProgram>(std::vector<std::string>{
        "tar", "--create", "--file=-", "--format=posix", "--numeric-owner", "--sparse", "--xattrs",
        "--xattrs-include=*", "--acls", "--directory=" + input, "."});
}

ContentSize measure(const std::string& input) {
    if (is_directory(input)) return directory_size(input);
    std::unique_ptr<HostProgram> archive = open_archive(input);
    TarCensus census;
    std::vector<std::byte> buffer(1 << 20);
    while (size_t count = archive->read(buffer)) census.feed(std::span(buffer).first(count));
    archive->finish();
    try {
        return census.result();
    } catch (const Error& error) {
        throw error.with_context("'" + input + "'");
    }
}

// What mke2fs takes for a journal of its own accord, for a file system of this size.
uint64_t journal_size(const std::string& type, uint64_t size) {
    if (type != "ext3" && type != "ext4") return 0;
    return size < 128 * kMiB ? 4 * kMiB : size < kGiB ? 16 * kMiB : size < 16 * kGiB ? 64 * kMiB : 256 * kMiB;
}

uint64_t image_size(const Wish& wish, const ContentSize& content, int attempt) {
    if (wish.size) return *wish.size;
    constexpr uint64_t kPerEntry = 512;  // an inode, a name, a little of a map
    uint64_t size = content.data_bytes + content.entries * kPerEntry;
    size += size / 10 + kMiB;  // maps and tables, and what a file system keeps for root
    size = std::max(size + journal_size(wish.maker->type, size), wish.maker->smallest) + wish.extra;
    for (int i = 0; i < attempt; ++i) size += size / 2;
    if (wish.table != NewTable::kNone) size += 3 * kMiB;  // before the partition, and a GPT's backup
    return (size + kMiB - 1) / kMiB * kMiB;
}

// Unpacks the archive in the appliance, in the file system that is mounted.
void unpack(Guest& guest, const Wish& wish) {
    std::unique_ptr<HostProgram> archive = open_archive(wish.input);
    RunOptions options;
    options.arguments = {"tar", "--extract", "--file=-", "--directory=/sysroot", "--numeric-owner"};
    if (wish.maker->keeps_owners) {
        for (const char* option :
             {"--same-owner", "--same-permissions", "--xattrs", "--xattrs-include=*", "--acls"})
            options.arguments.emplace_back(option);
    } else {
        options.arguments.insert(options.arguments.end(), {"--no-same-owner", "--no-same-permissions"});
    }
    options.input_ready_fd = archive->output_fd();
    options.input = [&](std::span<std::byte> buffer) -> std::optional<size_t> {
        return archive->read(buffer);
    };
    std::string words;
    options.on_error_output = [&](std::span<const std::byte> bytes) {
        constexpr size_t kEnough = 2000;
        if (words.size() < kEnough) words.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    RunResult result = guest.call("run", {"tar", "--extract"}).run(options);
    if (!result.succeeded()) {
        // So tar says it of a file that was begun.
        bool full =
            words.find("No space left") != std::string::npos || words.find("Wrote only") != std::string::npos;
        while (!words.empty() && words.back() == '\n') words.pop_back();
        throw Error(full ? ErrorKind::kNoSpace : ErrorKind::kCorrupt,
                    "cannot unpack '" + wish.input + (full ? "', no space left: " : "': ") +
                        escape_message(result.not_started + words));
    }
    archive->finish();
}

void fill(Context& context, const Wish& wish, const std::string& path, uint64_t size,
          const ContentSize& content) {
    SessionOptions options = appliance_options(context.args);
    options.disks = {{.path = path, .format = wish.format, .sector_size = wish.sector_size}};
    options.writable = true;
    options.write_mode = WriteMode::kDirect;  // nothing is there that could be lost
    Guest guest(context, std::move(options));
    std::string device = "/dev/sda";
    if (wish.table != NewTable::kNone) device = make_table(guest, device, wish.table, wish.maker, false);
    make_filesystem(guest, {.maker = *wish.maker,
                            .device = device,
                            .size = size,
                            .label = wish.label,
                            .inodes = std::string_view(wish.maker->type).starts_with("ext")
                                          ? ext_inodes(content.entries, wish.extra, wish.size.value_or(0))
                                          : 0});
    guest.call("mount", {device, "/"}).mount({.device = device});
    unpack(guest, wish);
    guest.commit();
}

int run_make_fs(Context& context) {
    const Wish wish = wish_of(context.args);
    const ContentSize content = measure(wish.input);
    NewImage image(wish.output, true);
    for (int attempt = 0;; ++attempt) {
        const uint64_t size = image_size(wish, content, attempt);
        context.note("a " + wish.format + " image of " + human_size(size) + " for " +
                     std::to_string(content.entries) + " files and directories");
        image.create(wish.format, size);
        try {
            fill(context, wish, image.path(), size, content);
            break;
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kNoSpace || wish.size || attempt + 1 == kTries) throw;
            context.note(error.message() + "; once more, with more room");
        }
    }
    image.publish();
    return kExitSuccess;
}

}  // namespace

constexpr Command kMakeFsCommand = {
    .name = "make-fs",
    .summary = "make an image with a file system from a directory or tar archive",
    .operands = "INPUT IMAGE",
    .description =
        "Makes an image whose file system holds what is below the directory INPUT, or in the tar\n"
        "archive INPUT (gzip, bzip2, xz and zstd are undone). It is as big as need be; --size gives\n"
        "another size, or with a + room besides. An existing IMAGE is replaced when all is done.",
    .examples =
        "insp make-fs files/ files.img\n"
        "insp make-fs --type=ext4 --size=+200M --format=qcow2 root.tar.zst root.qcow2\n"
        "insp make-fs --type=vfat --partition --label=DATA files/ stick.img",
    .options = kMakeFsOwnOptions,
    .shared_options = kMemoryOption,
    .min_operands = 2,
    .max_operands = 2,
    .host_operands = HostOperands::kAll,
    .run = run_make_fs,
};

}  // namespace inspect::cli
