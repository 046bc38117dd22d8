// SPDX-License-Identifier: GPL-2.0-or-later
//
// Entries of a tree: reading one with all its metadata, making one with it, and the data of sparse files.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "attributes.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

// The first path that was seen of each inode with several links. Bounded: later ones of too many are copied
// as files of their own.
class HardLinks {
  public:
    // The path of an earlier entry that is the same file, or empty; then this one is remembered.
    std::string find_or_add(const struct stat& status, const std::string& path);

  private:
    std::map<std::pair<dev_t, ino_t>, std::string> seen_;
    size_t bytes_ = 0;
};

// "/proc/self/fd/DIRECTORY/NAME": for calls that take a path; the last component must not be followed.
std::string proc_path(int directory, const std::string& name);

// Calls data(offset, length) for each part of a file that isn't a hole, in order.
void for_each_extent(int fd, uint64_t size, const std::string& path,
                     const std::function<void(uint64_t offset, uint64_t length)>& data);

// Makes a symlink, device, FIFO, socket or directory (not a regular file) without its metadata. Throws
// Failure.
void make_node(int directory, const std::string& name, const proto::TreeEntry& entry,
               const std::string& path);
// Owner, xattrs and mode; not the times. What is at the name isn't followed.
void apply_entry_metadata(int directory, const std::string& name, const proto::TreeEntry& entry,
                          const std::string& path, const Warn& warn);
// Times: last of all, a directory's after everything below it.
void apply_entry_times(int directory, const std::string& name, const proto::FileStat& stat,
                       const std::string& path);

}  // namespace inspect::agent
