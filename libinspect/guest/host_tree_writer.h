// SPDX-License-Identifier: LGPL-2.1-or-later
//
// HostTreeWriter: a stream of tree entries becomes files below a directory of the host, and never anything
// outside of it.
//
// The stream is hostile. What keeps it inside:
//   - a name is one component, checked, and only ever given to an *at() call on a descriptor of the directory
//     that it belongs to; directories are opened with O_NOFOLLOW, so no symlink is ever followed, whoever
//     made it;
//   - entries come depth first (a directory, all that is below it, then its next sibling): an entry whose
//   parent is
//     not an ancestor of where the stream stands breaks the protocol. So one descriptor is open, the way up
//     is
//     "..", and it must be the directory that the way down came through (device and inode);
//   - hard links go only to regular files that this very run made, checked by inode;
//   - set-id bits, foreign owners, devices and the security.* and trusted.* attributes are given only by root
//     and when asked for (preserve_owner).
//
// A file appears under its name when it is complete. What is there already is replaced, unless it is a
// directory; directories are merged. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/session.h>

#include "base/fd.h"
#include "protocol/insp.pb.h"

namespace inspect {

class HostTreeWriter {
  public:
    // The top of the tree becomes `name` in `directory`, which must exist; with an empty name its contents go
    // into `directory` itself, whose own metadata stay. `warn` hears what could not be kept.
    HostTreeWriter(const std::string& directory, std::string name, const CopyOptions& options,
                   std::function<void(const std::string&)> warn);
    ~HostTreeWriter();
    HostTreeWriter(const HostTreeWriter&) = delete;
    HostTreeWriter& operator=(const HostTreeWriter&) = delete;

    // The stream, in its order. All throw ProtocolError for what can't be, Error for what the host refuses.
    void item(const proto::Item& item);
    void data(std::span<const std::byte> bytes);
    // The stream is complete. Throws Error(kCorrupt) when entries of it could not be read; all others are
    // there then.
    void finish();

  private:
    // A directory on the way from the top to where the stream stands.
    struct Level {
        dev_t device = 0;
        ino_t inode = 0;
        size_t path_length = 0;  // of path_, up to here
        bool keep = false;       // its metadata is not to be touched
        proto::TreeEntry entry;  // without its path
    };
    struct OpenFile {
        Fd fd;
        std::string name;       // where it goes in the current directory
        std::string temporary;  // its name until then; empty: it has none
        std::string path;       // in the stream
        uint64_t position = 0;
        proto::TreeEntry entry;
    };
    struct Made {
        dev_t device;
        ino_t inode;
    };

    void entry(const proto::TreeEntry& entry);
    void unreadable(const proto::TreeEntry& entry);
    std::string enter_parent(const proto::TreeEntry& entry);
    void make_directory(const proto::TreeEntry& entry, const std::string& name);
    void begin_file(const proto::TreeEntry& entry, const std::string& name);
    void end_file();
    void abandon_file() noexcept;
    void publish(OpenFile& file);
    void make_hard_link(const proto::TreeEntry& entry, const std::string& name);
    void make_symlink(const proto::TreeEntry& entry, const std::string& name);
    void make_node(const proto::TreeEntry& entry, const std::string& name);
    void place(const std::string& name, const std::function<int(const char*)>& make);
    Fd find_made(const std::string& path);
    void leave_directory();
    void restore(int fd, const proto::TreeEntry& entry);
    void restore_xattrs(int fd, const proto::TreeEntry& entry);
    void done(const std::string& path);
    bool privileged() const;
    std::string shown(std::string_view path) const;
    [[noreturn]] void fail(const char* what, std::string_view path, int errnum) const;

    std::string directory_;
    std::string name_;
    const CopyOptions& options_;
    std::function<void(const std::string&)> warn_;
    Fd root_;                    // directory_
    Fd current_;                 // the deepest level
    std::vector<Level> levels_;  // empty: the stream stands in directory_, or it has not begun
    size_t levels_bytes_ = 0;    // of their entries
    std::string path_;           // of the deepest level, in the stream; "" is the top
    bool begun_ = false;         // the top has come
    OpenFile file_;              // fd: -1, none
    std::map<std::string, Made, std::less<>> linkable_;  // files with more links, by their path in the stream
    size_t linkable_bytes_ = 0;
    uint64_t unreadable_ = 0;
    std::string first_unreadable_;
    bool warned_xattrs_ = false;
};

}  // namespace inspect
