// SPDX-License-Identifier: GPL-2.0-or-later
//
// EditFile: perl -p -e on a file of the guest, run in the appliance.
//
// What perl writes is compared with the file while it comes. As long as both are equal nothing is kept; what
// follows is held in memory, and beyond some MiB in the new file beside the old one. So an edit that changes
// nothing writes nothing, and one that fails mostly neither.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "attributes.h"
#include "child.h"
#include "new_file.h"
#include "operations.h"
#include "write_file.h"

namespace inspect::agent {

namespace {

constexpr size_t kMaxHeld = 4 << 20;
constexpr size_t kCopyChunk = 256 << 10;

class EditedFile {
  public:
    EditedFile(int original, const GuestTree::Place& place, std::string path)
        : original_(original), place_(place), path_(std::move(path)), buffer_(kCopyChunk, '\0') {}

    void append(std::string_view piece) {
        if (!differs_) {
            size_t equal = equal_part(piece);
            equal_ += equal;
            piece.remove_prefix(equal);
            if (piece.empty()) return;
            differs_ = true;
        }
        if (!file_ && held_.size() + piece.size() > kMaxHeld) start_file();
        if (file_) {
            file_->write(piece);
        } else {
            held_ += piece;
        }
    }

    bool changed(uint64_t original_size) const { return differs_ || equal_ != original_size; }

    NewFile& finish() {
        if (!file_) start_file();
        return *file_;
    }

  private:
    // How much of `piece` is what the original has after equal_.
    size_t equal_part(std::string_view piece) {
        size_t done = 0;
        while (done < piece.size()) {
            size_t count = read_original(equal_ + done, std::min(piece.size() - done, buffer_.size()));
            size_t i = 0;
            while (i < count && buffer_[i] == piece[done + i]) ++i;
            done += i;
            if (i < count || count == 0) break;
        }
        return done;
    }

    size_t read_original(uint64_t offset, size_t size) {
        ssize_t n = ::pread(original_, buffer_.data(), size, static_cast<off_t>(offset));
        if (n < 0) fail_errno("cannot read", path_);
        return static_cast<size_t>(n);
    }

    void start_file() {
        file_.emplace(place_, path_);
        for (uint64_t at = 0; at < equal_;) {
            size_t n =
                read_original(at, static_cast<size_t>(std::min<uint64_t>(equal_ - at, buffer_.size())));
            if (n == 0) throw Failure(proto::CORRUPT, path_ + " became shorter while it was read", EIO);
            file_->write(std::string_view(buffer_).substr(0, n));
            at += n;
        }
        file_->write(held_);
        held_ = std::string();
    }

    int original_;
    const GuestTree::Place& place_;
    std::string path_;
    std::string buffer_;
    uint64_t equal_ = 0;  // so much of the output is the original's start
    bool differs_ = false;
    std::string held_;  // the output after equal_
    std::optional<NewFile> file_;
};

}  // namespace

void edit_file(const Context& context, const proto::EditFile& request) {
    std::string path = request.path();
    GuestTree::Place place = context.tree.followed_place(path, "cannot edit");
    struct stat status;
    if (::fstatat(place.directory.get(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0)
        fail_errno("cannot edit", path);
    if (!S_ISREG(status.st_mode))
        throw Failure(proto::USAGE, path + " is not a regular file: it is " + type_name(status.st_mode),
                      EINVAL);
    Fd original(
        ::openat(place.directory.get(), place.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!original) fail_errno("cannot open", path);
    Fd input(::openat(place.directory.get(), place.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!input) fail_errno("cannot open", path);
    if (request.expression().find('\0') != std::string::npos)
        throw Failure(proto::USAGE, "the expression has a zero byte in it", EINVAL);

    EditedFile edited(original.get(), place, path);
    // $lineno is what virt-edit's expressions call $. ; the #line keeps perl's messages about line 1.
    std::vector<std::string> perl = {
        "/usr/bin/perl", "-p", "-e", "BEGIN { *lineno = \\$. }", "-e", "#line 1", "-e", request.expression()};
    ChildResult result = run_child(context.connection, perl, input.get(),
                                   [&](std::string_view piece) { edited.append(piece); });
    if (!result.succeeded()) {
        throw Failure(proto::USAGE,
                      "cannot edit " + path + ": " + result.describe("perl") + " (the file is unchanged)");
    }
    bool changed = edited.changed(static_cast<uint64_t>(status.st_size));
    context.response.mutable_edit()->set_changed(changed);
    if (!changed) return;
    NewFile& file = edited.finish();
    copy_attributes(original.get(), file.fd(), path,
                    [&](std::string text) { context.warn(std::move(text)); });
    replace_file(place, file, request.backup_suffix(), path);
}

}  // namespace inspect::agent
