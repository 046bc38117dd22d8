// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp edit: files of the guest, by an expression or in the user's editor. Several files are one change: all
// of them or none.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "cli/editor.h"
#include "cli/guest.h"
#include "cli/guest_path.h"
#include "cli/temp_dir.h"
#include "commands.h"

namespace inspect::cli {
namespace {

constexpr Option kEditOwnOptions[] = {
    {'e', "expr", Takes::kValue, "EXPRESSION", "apply this Perl expression to each line", "edit"},
    {'b', "backup", Takes::kValue, "SUFFIX", "keep the old file under its name with SUFFIX"},
};

// A descriptor of a host file for the time of a copy.
class HostFile {
  public:
    HostFile(const std::string& path, int flags)
        : path_(path), fd_(open(path.c_str(), flags | O_CLOEXEC, 0600)) {
        if (fd_ < 0) throw Error::from_errno("cannot open '" + path + "'", errno, ErrorKind::kDenied);
    }
    ~HostFile() { ::close(fd_); }
    HostFile(const HostFile&) = delete;
    HostFile& operator=(const HostFile&) = delete;

    void write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            ssize_t written = ::write(fd_, bytes.data(), bytes.size());
            if (written >= 0) {
                bytes = bytes.subspan(static_cast<size_t>(written));
            } else if (errno != EINTR) {
                throw Error::from_errno("cannot write '" + path_ + "'", errno, ErrorKind::kNoSpace);
            }
        }
    }

    size_t read(std::span<std::byte> bytes) {
        size_t done = 0;
        while (done < bytes.size()) {
            ssize_t got = ::read(fd_, bytes.data() + done, bytes.size() - done);
            if (got == 0) break;
            if (got > 0) {
                done += static_cast<size_t>(got);
            } else if (errno != EINTR) {
                throw Error::from_errno("cannot read '" + path_ + "'", errno, ErrorKind::kDenied);
            }
        }
        return done;
    }

  private:
    std::string path_;
    int fd_;
};

// True when the user changed the file; then the change is in the session.
bool edit_by_hand(Guest& guest, const std::string& path, const std::string& backup_suffix) {
    TempDirectory directory;
    // The file keeps its name, by which editors choose a language. The original lies where it can't collide.
    std::string name(base_name(path));
    if (name.empty() || name == "." || name == "..")
        throw Error(ErrorKind::kUsage, "'" + path + "' is a directory, not a file to edit");
    std::string original = directory.path() + "/" + (name == "original" ? "original-1" : "original");
    std::string edited = directory.path() + "/" + name;
    {
        HostFile before(original, O_WRONLY | O_CREAT | O_EXCL);
        HostFile copy(edited, O_WRONLY | O_CREAT | O_EXCL);
        guest.call("read_file", {path}).read_file(path, [&](std::span<const std::byte> bytes) {
            before.write(bytes);
            copy.write(bytes);
        });
    }
    run_editor(editor_command(), edited);
    if (same_contents(original, edited)) return false;
    // Opened by name again: many editors write a new file and rename it.
    HostFile source(edited, O_RDONLY | O_NOFOLLOW);
    WriteOptions options;
    options.mode = WriteOptions::Mode::kEdit;
    options.backup_suffix = backup_suffix;
    guest.call("write_file", {path})
        .write_file(
            path, [&](std::span<std::byte> buffer) { return source.read(buffer); }, options);
    return true;
}

int run_edit(Context& context) {
    std::string expression;
    for (const std::string& part : context.args.values("expr"))
        expression += (expression.empty() ? "" : "\n") + part;  // as perl joins several -e
    bool by_expression = context.args.has("expr");
    if (by_expression && expression.empty()) throw UsageError("the expression is empty");
    std::string backup_suffix = context.args.value("backup").value_or("");
    if (context.args.has("backup") && (backup_suffix.empty() || backup_suffix.find('/') != std::string::npos))
        throw UsageError("--backup needs a suffix without a slash, such as .orig");
    Guest guest(context, Access::kChange);
    guest.mount();
    bool any_changed = false;
    for (const std::string& path : context.args.operands()) {
        bool changed = by_expression ? guest.call("edit_file", {path, expression, backup_suffix})
                                           .edit_file(path, expression, backup_suffix)
                                     : edit_by_hand(guest, path, backup_suffix);
        context.note(path + (changed ? ": changed" : ": not changed, nothing is written"));
        any_changed |= changed;
    }
    if (any_changed) guest.commit();
    return kExitSuccess;
}

}  // namespace

constexpr Command kEditCommand = {
    .name = "edit",
    .summary = "edit files of the guest",
    .operands = "PATH...",
    .description =
        "Opens each file in $VISUAL or $EDITOR (else vi), or applies -e to each of its lines as\n"
        "'perl -pe' does. Owner, permissions and attributes are kept. All files are changed, or\n"
        "none; an editor that fails changes nothing.",
    .examples =
        "insp edit -a disk.img /etc/fstab\n"
        "insp edit -a disk.img /etc/default/grub -b .orig -e 's/quiet//'\n"
        "insp edit -a disk.img /etc/passwd -e '$_ = \"\" if /^games:/'",
    .options = kEditOwnOptions,
    .shared_options = kDiskOptions | kMountOptions,
    .min_operands = 1,
    .run = run_edit,
};

}  // namespace inspect::cli
