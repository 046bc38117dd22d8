// SPDX-License-Identifier: GPL-2.0-or-later
#include "sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"

namespace inspect::agent {

std::vector<std::string> names_in(const std::string& path) {
    std::vector<std::string> names;
    DIR* directory = ::opendir(path.c_str());
    if (!directory) return names;
    while (const dirent* entry = ::readdir(directory)) {
        if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    }
    ::closedir(directory);
    return names;
}

std::string read_small_file(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    char text[4096];
    ssize_t n = fd ? ::read(fd.get(), text, sizeof text) : -1;
    std::string result(text, n > 0 ? static_cast<size_t>(n) : 0);
    while (!result.empty() && result.back() == '\n') result.pop_back();
    return result;
}

std::string read_line(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    char text[256];
    ssize_t n = fd ? ::read(fd.get(), text, sizeof text) : -1;
    std::string line(text, n > 0 ? static_cast<size_t>(n) : 0);
    return line.substr(0, line.find('\n'));
}

}  // namespace inspect::agent
