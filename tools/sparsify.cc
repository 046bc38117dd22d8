// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp sparsify: what is free on the disks takes no room any more, in place or in a copy.
#include <sys/stat.h>

#include <algorithm>

#include <inspect/image.h>
#include <inspect/sparsify.h>

#include "cli/guest.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "cli/values.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kSparsifyOwnOptions[] = {
    {0, "in-place", Takes::kNothing, "", "change the image itself; with -a that is what is done anyway"},
    {0, "output", Takes::kValue, "NEW", "leave the image alone and make a sparse copy of this name", "",
     "<file>"},
    {0, "convert", Takes::kValue, "FORMAT", "the copy's format, 'raw' or 'qcow2', if not the image's own", "",
     "raw qcow2"},
    {0, "compress", Takes::kOptionalValue, "zlib|zstd",
     "compress the copy, which is qcow2; zlib without a value", "", "zlib zstd"},
    {'o', "", Takes::kValue, "OPTION=VALUE", "of the copy, which is qcow2: cluster_size=SIZE"},
    {0, "ignore", Takes::kValue, "DEVICE|VG", "leave this file system, swap space or volume group alone"},
    {0, "zero", Takes::kValue, "DEVICE", "throw away what is on this device"},
    {0, "allow-discards", Takes::kNothing, "",
     "in encrypted volumes too; their image then shows what is in use"},
};

constexpr uint64_t kMinCluster = 512, kMaxCluster = 2 << 20;

// A local file's; nothing for all else, where it can't be told.
std::optional<uint64_t> allocated_bytes(const std::string& path) {
    struct stat status;
    if (::stat(path.c_str(), &status) < 0 || !S_ISREG(status.st_mode)) return std::nullopt;
    return static_cast<uint64_t>(status.st_blocks) * 512;
}

SparsifyWishes wishes_of(const Arguments& args) {
    SparsifyWishes wishes{args.values("ignore"), args.values("zero")};
    for (const std::string& device : wishes.zero)
        if (std::find(wishes.ignore.begin(), wishes.ignore.end(), device) != wishes.ignore.end())
            throw UsageError(device + " is to be ignored and to be zeroed");
    return wishes;
}

// nullopt: in place.
std::optional<SparseCopy> copy_of(const Arguments& args) {
    const std::vector<std::string>& operands = args.operands();
    const bool by_option = args.has("add") || args.has("domain") || args.has("domain-xml");
    // "--compress zstd" would be a copy of that name.
    for (const std::string& operand : operands)
        if (args.has("compress") && !args.value("compress") && (operand == "zlib" || operand == "zstd"))
            throw UsageError("write --compress=" + operand + ", with '='; without one, '" + operand +
                             "' is the name of an image (./" + operand + " is it, too)");
    if (by_option && !operands.empty())
        throw UsageError("'" + operands[0] +
                         "': the image is given by -a already; a copy's name by --output");
    if (!by_option && operands.empty()) throw UsageError("no disk image was given");
    SparseCopy copy;
    copy.path = args.value("output").value_or("");
    if (operands.size() == 2) {
        if (!copy.path.empty()) throw UsageError("the copy's name is given twice");
        copy.path = operands[1];
    }
    if (args.has("in-place") && !copy.path.empty())
        throw UsageError("--in-place makes no copy: '" + copy.path + "' is not needed");
    if (copy.path.empty()) {
        for (const char* option : {"convert", "compress", "o"})
            if (args.has(option))
                throw UsageError(std::string(option == std::string_view("o") ? "-" : "--") + option +
                                 " is about a copy: give its name (--output)");
        if (!by_option && !args.has("in-place"))
            throw UsageError(
                "'" + operands[0] +
                "' is to be changed itself (--in-place), or copied (give the copy's name, too)?");
        return std::nullopt;
    }
    copy.format = one_of(args, "convert", {"raw", "qcow2"}, "");
    if (args.has("compress")) copy.compression = one_of(args, "compress", {"zlib", "zstd"}, "zlib");
    if (copy.compression.size() && copy.format.empty()) copy.format = "qcow2";
    for (const std::string& text : args.values("o")) {
        constexpr std::string_view kClusterSize = "cluster_size=";
        std::optional<uint64_t> size;
        if (text.starts_with(kClusterSize)) size = parse_size(text.substr(kClusterSize.size()), 1);
        if (!size || *size < kMinCluster || *size > kMaxCluster || (*size & (*size - 1)) != 0)
            throw UsageError("-o is cluster_size=SIZE, a power of two from 512 to 2M, not '" + text + "'");
        copy.cluster_size = *size;
    }
    if (copy.format == "raw" && (!copy.compression.empty() || args.has("o")))
        throw UsageError("--compress and -o are for copies in the format qcow2");
    return copy;
}

// What the format of an image keeps from becoming smaller in place.
void look_at_image(Context& context, const DiskSpec& disk) {
    if (!allocated_bytes(disk.path)) return;
    const ImageInfo info = image_info(disk);
    if (info.format != "qcow2") return;
    if (info.version < 3 && !info.chain.empty())
        throw Error(
            ErrorKind::kUnsupported,
            "'" + disk.path +
                "' is a qcow2 image of version 2 with a backing file, which can't say that something is "
                "zero: it would grow; 'qemu-img amend -o compat=1.1' makes it version 3, --output a copy");
    if (!info.snapshots.empty()) context.warning("'" + disk.path + "' has snapshots: what they hold stays");
}

const char* way_word(SparsifyResult::Way way) {
    switch (way) {
        case SparsifyResult::Way::kDiscarded:
            return "discarded";
        case SparsifyResult::Way::kFilled:
            return "filled";
        case SparsifyResult::Way::kCleared:
            return "cleared";
        case SparsifyResult::Way::kZeroed:
            return "zeroed";
        case SparsifyResult::Way::kSkipped:
            break;
    }
    return "skipped";
}

std::string as_line(const SparsifyResult& result) {
    const std::string head = result.device + ": " + (result.type.empty() ? "unknown" : result.type) + ": ";
    if (result.way == SparsifyResult::Way::kSkipped) return head + "left as it is: " + result.reason;
    if (result.way == SparsifyResult::Way::kCleared) return head + "cleared";
    if (result.way == SparsifyResult::Way::kZeroed) return head + "zeroed";
    return head + human_size(result.free_bytes) + " free";
}

struct ImageSize {
    std::string path;
    std::optional<uint64_t> before;
    std::optional<uint64_t> after = {};
};

void print_json(JsonWriter& json, const std::vector<ImageSize>& sizes,
                const std::vector<SparsifyResult>& results, bool in_place) {
    json.begin_object();
    json.boolean("in_place", in_place);
    json.begin_array("images");
    for (const ImageSize& size : sizes) {
        json.begin_object();
        json.text("path", size.path);
        if (size.before) json.number("allocated_before", *size.before);
        if (size.after) json.number("allocated_after", *size.after);
        json.end_object();
    }
    json.end_array();
    json.begin_array("volumes");
    for (const SparsifyResult& result : results) {
        json.begin_object();
        json.text("device", result.device);
        json.text("type", result.type);
        json.text("result", way_word(result.way));
        if (result.way != SparsifyResult::Way::kSkipped) json.number("free_bytes", result.free_bytes);
        json.optional_text("reason", result.reason);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

void print(Context& context, const std::vector<ImageSize>& sizes) {
    for (const ImageSize& size : sizes) {
        if (!size.before || !size.after) continue;
        context.out.write(escape_message(size.path) + ": " + human_size(*size.before) + " before, " +
                          human_size(*size.after) + " after\n");
    }
}

int run_sparsify(Context& context) {
    const SparsifyWishes wishes = wishes_of(context.args);
    std::optional<SparseCopy> copy = copy_of(context.args);
    std::vector<ImageSize> sizes;
    Guest guest(context, Access::kChange, [&](SessionOptions& options) {
        options.allow_discards = context.args.has("allow-discards");
        options.scratch = copy.has_value();
        if (copy && options.disks.size() > 1) throw UsageError("one image is copied at a time");
        for (const DiskSpec& disk : options.disks) {
            if (!copy) look_at_image(context, disk);
            sizes.push_back({disk.path, allocated_bytes(disk.path)});
        }
    });
    const bool shown = !context.wants_json() && !context.quiet();
    const std::vector<SparsifyResult> results =
        guest.call("sparsify").sparsify(wishes, [&](const SparsifyResult& result) {
            if (!shown) return;
            context.out.write(escape_message(as_line(result)) + "\n");
            context.out.flush();
        });
    if (copy) {
        Progress progress(!context.quiet());
        copy->on_progress = [&](uint64_t done, uint64_t size) {
            progress.show("copied " + human_size(done) + " of " + human_size(size));
        };
        guest.call("write_copy", {copy->path}).write_copy(*copy);
        sizes[0].path = copy->path;
        sizes[0].after = allocated_bytes(copy->path);
    } else {
        guest.commit();
        for (ImageSize& size : sizes) size.after = allocated_bytes(size.path);
    }
    if (context.wants_json()) {
        print_json(context.json, sizes, results, !copy);
    } else if (shown) {
        print(context, sizes);
    }
    context.out.flush();
    return kExitSuccess;
}

}  // namespace

constexpr Command kSparsifyCommand = {
    .name = "sparsify",
    .summary = "give back the room that an image takes for nothing",
    .operands = "[IMAGE [NEW]]",
    .description =
        "What is free on the disks (in file systems, swap space, volume groups) becomes holes of the\n"
        "image or clusters that it doesn't have: in place, all at once or not at all, or in a copy.\n"
        "The contents of every file stay.",
    .examples =
        "insp sparsify -a disk.qcow2\n"
        "insp sparsify -a disk.img --output small.qcow2 --convert qcow2 --compress=zstd\n"
        "insp sparsify --in-place disk.img\n"
        "insp sparsify -a disk.img --key /dev/sda3:file:key --allow-discards --ignore /dev/sda1",
    .options = kSparsifyOwnOptions,
    .shared_options = kDiskOptions | kDisksOptional | kDiskOperand | kJsonOption,
    .max_operands = 2,
    .host_operands = HostOperands::kAll,
    .run = run_sparsify,
};

}  // namespace inspect::cli
