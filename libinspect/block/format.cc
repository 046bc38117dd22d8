// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/format.h"

#include <cstring>
#include <string>

#include <inspect/error.h>

namespace inspect {

namespace {

struct Signature {
    size_t offset;
    std::string_view bytes;
    std::string_view format;
};

using namespace std::string_view_literals;

constexpr Signature kSignatures[] = {
    {0, "QFI\xfb"sv, "qcow2"},
    {0, "KDMV"sv, "vmdk"},
    {0, "COWD"sv, "vmdk"},
    {0, "vhdxfile"sv, "vhdx"},
    {0, "conectix"sv, "vpc"},
    {0x40, "\x7f\x10\xda\xbe"sv, "vdi"},
    {0, "QED\0"sv, "qed"},
    {0, "WithoutFreeSpace"sv, "parallels"},
    {0, "WithouFreSpacExt"sv, "parallels"},
};

// A VMDK descriptor is text: comments and empty lines, then "version=N".
bool is_vmdk_descriptor(std::string_view text) {
    if (text.starts_with("# Disk DescriptorFile")) return true;
    while (!text.empty()) {
        const size_t end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        const bool comment = line.starts_with('#');
        const bool blank = line.find_first_not_of(" \t\r") == std::string_view::npos;
        if (!comment && !blank) {
            return line.starts_with("version=1") || line.starts_with("version=2") ||
                   line.starts_with("version=3");
        }
        if (end == std::string_view::npos) return false;
        text.remove_prefix(end + 1);
    }
    return false;
}

}  // namespace

std::optional<std::string_view> foreign_format(std::span<const std::byte> start) {
    const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
    for (const Signature& signature : kSignatures) {
        if (text.size() >= signature.offset && text.substr(signature.offset).starts_with(signature.bytes)) {
            return signature.format;
        }
    }
    if (is_vmdk_descriptor(text)) return "vmdk";
    return std::nullopt;
}

void refuse_foreign_format(std::span<const std::byte> start) {
    if (auto format = foreign_format(start)) {
        throw Error(ErrorKind::kDenied, "the change would make the image look like a " +
                                            std::string(*format) +
                                            " image, whose header could name any file of this host; nothing "
                                            "was changed; give --format=raw if this is meant");
    }
}

}  // namespace inspect
