// SPDX-License-Identifier: GPL-2.0-or-later
//
// A file that appears whole or not at all: it grows under a temporary name beside its place.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "connection.h"
#include "guest_tree.h"

namespace inspect::agent {

// Not thread-safe. Without publish() or publish_new() the destructor removes it.
class NewFile {
  public:
    // `path` is for messages. Refers to `place`, which must outlive it.
    NewFile(const GuestTree::Place& place, std::string path);
    ~NewFile();
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;

    int fd() const { return fd_.get(); }
    void write(std::span<const std::byte> bytes);
    void write(std::string_view bytes) { write(std::as_bytes(std::span(bytes))); }
    // Takes the place of what is there.
    void publish();
    // Throws Failure (EEXIST) when something is there.
    void publish_new();

  private:
    const GuestTree::Place& place_;
    std::string path_;
    std::string name_;
    Fd fd_;
};

// renameat2(RENAME_NOREPLACE), also where the file system doesn't know that (a FUSE server): nobody else is
// at work here. As rename(2): 0, or -1 and errno.
int rename_to_vacant(int from_directory, const char* from, int to_directory, const char* to);
// write(2) until all is written. Throws Failure "cannot write PATH: ...".
void write_all(int fd, std::span<const std::byte> bytes, const std::string& path);
// The host's upload up to its end, piece by piece.
void receive_data(Connection& connection, const std::function<void(std::string_view)>& piece);

}  // namespace inspect::agent
