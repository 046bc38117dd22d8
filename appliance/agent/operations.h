// SPDX-License-Identifier: GPL-2.0-or-later
//
// The file operations: one function a request, one file a group of them. Each does what the comment of its
// message in protocol/insp.proto says, streams by context.connection, and throws Failure (or Cancelled).
#pragma once

#include "connection.h"
#include "guest_tree.h"
#include "protocol/insp.pb.h"

namespace inspect::agent {

struct Context {
    Connection& connection;
    const GuestTree& tree;
    proto::Response& response;

    // Something that could not be kept or done, and is no reason to fail.
    void warn(std::string text) const {
        constexpr int kMaxWarnings = 100;
        if (response.warnings_size() < kMaxWarnings) response.add_warnings(std::move(text));
    }
};

// reading
void stat_file(const Context& context, const proto::Stat& request);
void list_directory(const Context& context, const proto::ListDirectory& request);
void read_file(const Context& context, const proto::ReadFile& request);
void read_tree(const Context& context, const proto::ReadTree& request);

// contents
void write_file(const Context& context, const proto::WriteFile& request);
void write_tree(const Context& context, const proto::WriteTree& request);
void edit_file(const Context& context, const proto::EditFile& request);
void scrub(const Context& context, const proto::Scrub& request);

// names
void make_directory(const Context& context, const proto::MakeDirectory& request);
void remove(const Context& context, const proto::Remove& request);
void rename(const Context& context, const proto::Rename& request);
void link(const Context& context, const proto::Link& request);

// metadata
void change_mode(const Context& context, const proto::Chmod& request);
void change_owner(const Context& context, const proto::Chown& request);
void touch(const Context& context, const proto::Touch& request);

}  // namespace inspect::agent
