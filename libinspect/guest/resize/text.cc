// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/resize/text.h"

#include <cstdio>

#include <inspect/resize.h>

namespace inspect {

std::string size_text(uint64_t bytes) {
    static constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = static_cast<double>(bytes);
    size_t unit = 0;
    while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
        value /= 1024;
        ++unit;
    }
    char text[32];
    std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
    return text;
}

std::string exact_size_text(uint64_t bytes) {
    return bytes < 1024 ? size_text(bytes) : size_text(bytes) + " (" + std::to_string(bytes) + " bytes)";
}

std::string describe(const ResizeStep& step) {
    const std::string change = (step.new_size > step.old_size ? " grows from " : " shrinks from ") +
                               size_text(step.old_size) + " to " + size_text(step.new_size);
    switch (step.kind) {
        case ResizeStep::Kind::kCheck:
            return step.type + " on " + step.device + " is checked";
        case ResizeStep::Kind::kImage:
            return "the image" + change;
        case ResizeStep::Kind::kTable:
            return "the partition table of " + step.device + " is written";
        case ResizeStep::Kind::kFilesystem:
            return step.type + " on " + step.device + change;
        case ResizeStep::Kind::kRecreate:
            return step.type + " on " + step.device + " is made anew with what is in it, and" + change;
        case ResizeStep::Kind::kSwap:
            return "swap space on " + step.device + change;
        case ResizeStep::Kind::kLuks:
            return "the LUKS volume on " + step.device + change;
        case ResizeStep::Kind::kMoveExtents:
            return size_text(step.old_size) + " at the end of the physical volume " + step.device +
                   " move to its free extents";
        case ResizeStep::Kind::kPhysicalVolume:
            return "the physical volume " + step.device +
                   (step.new_size == step.old_size ? " is told of its device's new end" : change);
        case ResizeStep::Kind::kLogicalVolume:
            return "the logical volume " + step.device + change;
    }
    return {};
}

}  // namespace inspect
