// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Names of images as QEMU writes them where a path doesn't say it all: "json:{...}", with the options of its
// -blockdev in it. Such a name stands in a qcow2 header where somebody opened the backing file so.
#pragma once

#include <string>
#include <string_view>

namespace inspect {

struct JsonImageName {
    std::string name;    // a path, or a URI: what resolve_image_name() takes
    std::string format;  // "raw", "qcow2"...; empty: it isn't said
};

bool is_json_name(std::string_view name);

// What a json: name comes to that means an image in a file, on an NBD server or behind a URL, with a format
// or without. Options that change how it is opened, but not what is in it, are left out. Throws Error:
// kCorrupt for what isn't JSON or names no file, kUnsupported for all other drivers and options, which are
// named. The text is an image's, and not to be trusted.
JsonImageName parse_json_name(std::string_view name);

}  // namespace inspect
