// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/tree_diff.h"

#include <sys/stat.h>

#include <algorithm>

#include "cli/guest.h"
#include "cli/text.h"

namespace inspect::cli {
namespace {

bool by_path(const DirectoryEntry& a, const DirectoryEntry& b) { return a.path < b.path; }

// All that the guest has. What can't be read is said, and left out.
std::vector<DirectoryEntry> list_all(Context& context, const std::vector<DiskSpec>& disks, bool& complete) {
    Guest guest(context, Access::kRead, [&](SessionOptions& options) { options.disks = disks; });
    if (context.args.command().shared_options & kMountOptions) {
        guest.mount();
    } else {
        guest.call("mount_os").mount_os();
    }
    std::vector<DirectoryEntry> entries;
    guest.call("list_directory", {"/"}).list_directory("/", true, true, [&](const DirectoryEntry& entry) {
        if (!entry.error.empty()) {
            complete = false;
            context.error("/" + entry.path + ": " + entry.error);
            return;
        }
        entries.push_back(entry);
    });
    return entries;
}

class Printer {
  public:
    Printer(Context& context, const TreeDiffOptions& options) : context_(context), options_(options) {}

    void print(const TreeChange& change) {
        const DirectoryEntry& entry = change.after ? *change.after : *change.before;
        const std::string path = "/" + entry.path;
        if (context_.wants_json()) {
            JsonWriter& json = context_.json;
            json.begin_object();
            json.text("change", change.kind == '+' ? "added" : change.kind == '-' ? "removed" : "changed");
            json_entry(json, path, entry.stat.mode, &entry.stat);
            if (!change.fields.empty()) {
                json.begin_array("fields");
                for (const std::string& field : change.fields) json.text({}, field);
                json.end_array();
            }
            json.end_object();
            return;
        }
        const std::string prefix = {change.kind, ' '};
        if (change.kind != '=') {
            context_.out.write(prefix + full_line(options_.format, path, entry.stat));
            return;
        }
        // As diff(1) and virt-diff do: what was, what is, and why it is told.
        context_.out.write("- " + full_line(options_.format, path, change.before->stat));
        context_.out.write("+ " + full_line(options_.format, path, change.after->stat));
        std::string fields;
        for (const std::string& field : change.fields) fields += " " + field;
        context_.out.write("# changed:" + fields + "\n");
    }

  private:
    Context& context_;
    const TreeDiffOptions& options_;
};

}  // namespace

std::vector<std::string> changed_fields(const FileStat& before, const FileStat& after, bool times) {
    std::vector<std::string> fields;
    const bool directory = S_ISDIR(before.mode) && S_ISDIR(after.mode);
    auto note = [&](bool differs, const char* name) {
        if (differs) fields.emplace_back(name);
    };
    note(before.mode != after.mode, "mode");
    note(before.uid != after.uid, "uid");
    note(before.gid != after.gid, "gid");
    note(!directory && before.size != after.size, "size");
    note(before.link_target != after.link_target, "target");
    note(before.rdev_major != after.rdev_major || before.rdev_minor != after.rdev_minor, "device");
    note(times && !directory && before.mtime_ns != after.mtime_ns, "mtime");
    note(times && !directory && before.ctime_ns != after.ctime_ns, "ctime");
    return fields;
}

void compare_trees(std::vector<DirectoryEntry>& before, std::vector<DirectoryEntry>& after, bool times,
                   const std::function<void(const TreeChange&)>& on_change) {
    std::sort(before.begin(), before.end(), by_path);
    std::sort(after.begin(), after.end(), by_path);
    auto left = before.cbegin();
    auto right = after.cbegin();
    while (left != before.cend() || right != after.cend()) {
        if (right == after.cend() || (left != before.cend() && left->path < right->path)) {
            on_change({'-', &*left++, nullptr, {}});
        } else if (left == before.cend() || right->path < left->path) {
            on_change({'+', nullptr, &*right++, {}});
        } else {
            std::vector<std::string> fields = changed_fields(left->stat, right->stat, times);
            if (!fields.empty()) on_change({'=', &*left, &*right, std::move(fields)});
            ++left;
            ++right;
        }
    }
}

int diff_guests(Context& context, const std::vector<DiskSpec>& before, const std::vector<DiskSpec>& after,
                const TreeDiffOptions& options) {
    bool complete = true;
    std::vector<DirectoryEntry> first = list_all(context, before, complete);
    std::vector<DirectoryEntry> second = list_all(context, after, complete);
    Printer printer(context, options);
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.begin_array("changes");
    }
    compare_trees(first, second, options.times, [&](const TreeChange& change) { printer.print(change); });
    if (context.wants_json()) {
        context.json.end_array();
        context.json.end_object();
    }
    return complete ? kExitSuccess : kExitFailure;
}

}  // namespace inspect::cli
