// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For the tests of this folder: opening images, in files and in memory, and asking QEMU's programs.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "base/temp_dir_for_test.h"
#include "block/borrowed_device_for_test.h"
#include "block/memory_device.h"
#include "block/qcow2/create.h"
#include "block/qcow2/qcow2.h"
#include "block/raw.h"

namespace inspect {

inline std::unique_ptr<BlockDevice> open_raw_file(const std::string& path, bool writable) {
    return std::make_unique<RawDevice>(open_file(path, writable ? O_RDWR : O_RDONLY), !writable, path);
}

inline std::unique_ptr<Qcow2Device> open_image(std::unique_ptr<BlockDevice> file, Qcow2Options options,
                                               std::unique_ptr<BlockDevice> backing = nullptr,
                                               std::unique_ptr<BlockDevice> data_file = nullptr) {
    Qcow2Header header = Qcow2Header::parse(*file);
    return std::make_unique<Qcow2Device>(
        std::move(header), Qcow2Files{std::move(file), std::move(backing), std::move(data_file)}, options);
}

// With all that the image names, by the rules for names.
inline std::unique_ptr<Qcow2Device> open_chain(const std::string& path, bool writable,
                                               std::optional<std::string> snapshot = {}) {
    std::unique_ptr<BlockDevice> file = open_raw_file(path, writable), backing, data_file;
    const Qcow2Header header = Qcow2Header::parse(*file);
    if (header.backing_name) {
        const std::string name = resolve_image_name(path, *header.backing_name).name;
        if (header.backing_format == "qcow2") {
            backing = open_chain(name, false);
        } else {
            backing = open_raw_file(name, false);
        }
    }
    if (header.external_data()) {
        data_file = open_raw_file(resolve_image_name(path, header.data_file_name.value()).name, writable);
    }
    return std::make_unique<Qcow2Device>(
        header, Qcow2Files{std::move(file), std::move(backing), std::move(data_file)},
        Qcow2Options{.read_only = !writable, .snapshot = std::move(snapshot)});
}

inline Bytes contents(BlockDevice& device) {
    Bytes bytes(device.size());
    device.read(0, bytes);
    return bytes;
}

// The exit code of a shell command.
inline int shell(const std::string& command) {
    const int status = std::system((command + " >/dev/null 2>&1").c_str());  // NOLINT: a test's own words
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
inline bool have_qemu() { return shell("qemu-img --version && qemu-io --version") == 0; }
#define INSP_NEEDS_QEMU() \
    if (!have_qemu()) GTEST_SKIP() << "qemu-img and qemu-io (Debian's qemu-utils) are not installed"

}  // namespace inspect
