// SPDX-License-Identifier: GPL-2.0-or-later
//
// OpenTree: the part of the guest's tree that a mount on the host shows, and what is kept open of it.
//
// The host is the one who remembers names and decides what stays open: it says where something is (a Place: a
// slot, and names from there) and in which slot to keep it. So this side needs no table of all the inodes
// that the host's kernel knows, which could be millions, and requests can be sent ahead: a slot is named
// before it is filled. A slot that could not be filled is empty; what used to be in it is gone.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "guest_tree.h"
#include "operations.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

// Not thread-safe.
class OpenTree {
  public:
    void open(const GuestTree& tree, const std::string& directory, bool writable);
    // Closes everything, so that file systems can be unmounted.
    void close();
    void close_slot(uint32_t slot);

    // An open descriptor: a slot's, or one that goes with this object.
    class Handle {
      public:
        explicit Handle(int slot_fd) : fd_(slot_fd) {}
        explicit Handle(Fd own) : own_(std::move(own)), fd_(own_.get()) {}
        int get() const { return fd_; }

      private:
        Fd own_;
        int fd_;
    };
    // For the *at() calls: `name` in an open directory; an empty name is the descriptor itself.
    struct Object {
        Handle directory;
        std::string name;

        // For calls that only know paths: with an empty name its last component must be followed.
        std::string proc_path() const;
        int at_flags() const;  // AT_SYMLINK_NOFOLLOW, and AT_EMPTY_PATH where it is needed
    };

    // All of these throw Failure.
    Object object(const proto::Place& place) const;
    Handle directory(const proto::Place& place);  // to look into, and as the start of names
    Handle file(const proto::Place& place);       // for reading and, in a writable tree, writing
    // The disk begins to read what this will want; true: it will be asked again for the next one. Only reads
    // may come between this and the read itself, or forget_ahead().
    bool read_ahead(const proto::TreeRead& request);
    bool is_ahead() const { return !ahead_.empty(); }
    void forget_ahead();
    // Keeps a file, or whatever else it is, in a slot: it is about to lose its name.
    void pin(uint32_t slot, int directory, const std::string& name);
    void keep(uint32_t slot, Fd fd);
    static std::string checked_name(const std::string& name);

  private:
    int slot_fd(uint32_t slot) const;
    Fd open_beneath(uint32_t slot, std::string_view path, int flags) const;
    Handle keep_or_hand_out(uint32_t slot, Fd fd);
    Fd open_file_beneath(const proto::Place& place) const;

    // A read that was seen ahead; no file: what is open in its slot is meant, or it can't be opened.
    struct Ahead {
        uint32_t slot;
        uint32_t keep;
        std::string path;
        Fd file;
    };

    Fd take_ahead(const proto::Place& place);

    std::vector<Fd> slots_;  // [0] is the tree's root
    std::deque<Ahead> ahead_;
    uint64_t ahead_bytes_ = 0;  // since there was none
    bool writable_ = false;
};

// Of `name` in a directory, or of the descriptor where it is empty; for Response.stat. A symlink's target is
// told if it can be read.
proto::FileStat tree_stat_of(int directory, const std::string& name);

// Works on a request if it is about the open tree: one of those in open_tree_*.cc.
bool tree_operation(const Context& context, OpenTree& tree, const proto::Request& request);

// names
void tree_lookup(const Context& context, OpenTree& tree, const proto::TreeLookup& request);
void tree_make(const Context& context, OpenTree& tree, const proto::TreeMake& request);
void tree_remove(const Context& context, OpenTree& tree, const proto::TreeRemove& request);
void tree_rename(const Context& context, OpenTree& tree, const proto::TreeRename& request);
void tree_link(const Context& context, OpenTree& tree, const proto::TreeLink& request);
void tree_list(const Context& context, OpenTree& tree, const proto::TreeList& request);

// attributes
void tree_stat(const Context& context, OpenTree& tree, const proto::TreeStat& request);
void tree_change(const Context& context, OpenTree& tree, const proto::TreeChange& request);
void tree_read_link(const Context& context, OpenTree& tree, const proto::TreeReadLink& request);
void tree_get_xattr(const Context& context, OpenTree& tree, const proto::TreeGetXattr& request);
void tree_set_xattr(const Context& context, OpenTree& tree, const proto::TreeSetXattr& request);
void tree_statfs(const Context& context, OpenTree& tree, const proto::TreeStatfs& request);

// contents
void tree_read(const Context& context, OpenTree& tree, const proto::TreeRead& request);
void tree_write(const Context& context, OpenTree& tree, const proto::TreeWrite& request);
void tree_allocate(const Context& context, OpenTree& tree, const proto::TreeAllocate& request);
void tree_seek(const Context& context, OpenTree& tree, const proto::TreeSeek& request);
void tree_copy(const Context& context, OpenTree& tree, const proto::TreeCopy& request);
void tree_sync(const Context& context, OpenTree& tree, const proto::TreeSync& request);

}  // namespace inspect::agent
