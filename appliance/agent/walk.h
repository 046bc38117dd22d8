// SPDX-License-Identifier: GPL-2.0-or-later
//
// Walking a guest's directories: one, sorted; or a tree, depth first.
//
// A guest's directory may hold millions of names, be linked into itself by damage, or nest deeper than any
// path can say. So names are held in bounded memory (a directory that has more is read in several passes,
// each of which keeps the smallest names not seen yet), the walk is iterative, goes by directory descriptors,
// and knows the inodes on the way down.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"

namespace inspect::agent {

struct DirectoryName {
    std::string name;
    uint8_t type;  // DT_*
};

// The names of a directory in the order of their bytes, without "." and "..". Not thread-safe.
class SortedDirectory {
  public:
    // Holds about `budget` bytes of names at a time. `path` is for messages.
    SortedDirectory(Fd directory, std::string path, size_t budget = 1 << 20);

    // The next name, or nullopt at the end. Throws Failure when the directory can't be read. Names that are
    // removed meanwhile by the caller don't confuse it.
    std::optional<DirectoryName> next();
    int fd() const { return directory_.get(); }

  private:
    void fill();

    Fd directory_;
    std::string path_;
    size_t budget_;
    std::vector<DirectoryName> names_;  // descending: the next one is the last
    std::string last_;                  // the greatest name that was ever in names_
    bool started_ = false;
    bool more_ = true;  // another pass is needed after names_
};

struct WalkEntry {
    int directory;            // the parent
    const std::string& name;  // in it
    const std::string& path;  // relative to the top: "a/b"
    uint8_t type;             // DT_*; DT_UNKNOWN was resolved
};

struct WalkVisitor {
    // Before what is below it. True: go below it (only asked of directories).
    std::function<bool(const WalkEntry&)> enter;
    // After what is below a directory, and only if enter said true and it could be opened. May be empty.
    std::function<void(const WalkEntry&)> leave;
    // A directory that can't be read, in part or at all: `path` as above ("" is the top), and why. May throw
    // to end the walk.
    std::function<void(const std::string& path, const std::string& why, int errnum)> error;
};

// All below `top` (not the top itself), depth first, sorted. `shown_top` is its path, for messages.
void walk(Fd top, const std::string& shown_top, const WalkVisitor& visitor);

}  // namespace inspect::agent
