// SPDX-License-Identifier: GPL-2.0-or-later
//
// "ro,noatime,subvol=@" as mount(8) takes it, to the flags and the data string of mount(2).
#pragma once

#include <string>
#include <string_view>

namespace inspect::agent {

struct MountOptions {
    unsigned long flags = 0;  // MS_*
    std::string data;         // what is left for the file system

    bool read_only() const;
    void add(std::string_view option);       // one option
    void add_all(std::string_view options);  // comma separated; commas in quotes ("...") belong to the option
    // Whether `data` has this option, by itself or with a value.
    bool has(std::string_view name) const;
};

}  // namespace inspect::agent
