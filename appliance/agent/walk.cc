// SPDX-License-Identifier: GPL-2.0-or-later
#include "walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "failure.h"
#include "guest_tree.h"

namespace inspect::agent {

namespace {

constexpr size_t kMaxDepth = 1000;         // each level holds a descriptor
constexpr size_t kTotalBudget = 8 << 20;   // of all levels of a walk
constexpr size_t kLeastBudget = 16 << 10;  // of one level
constexpr size_t kNameOverhead = sizeof(DirectoryName) + 16;

bool is_dot(const char* name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

}  // namespace

SortedDirectory::SortedDirectory(Fd directory, std::string path, size_t budget)
    : directory_(std::move(directory)), path_(std::move(path)), budget_(budget) {}

std::optional<DirectoryName> SortedDirectory::next() {
    if (names_.empty() && more_) fill();
    if (names_.empty()) return std::nullopt;
    DirectoryName result = std::move(names_.back());
    names_.pop_back();
    return result;
}

// One pass over the directory: the smallest names greater than last_ that the budget holds.
void SortedDirectory::fill() {
    auto by_name = [](const DirectoryName& a, const DirectoryName& b) { return a.name < b.name; };
    // The first pass reads on from where a fresh descriptor is.
    if (started_ && ::lseek(directory_.get(), 0, SEEK_SET) < 0)
        fail_errno("cannot read the directory", shown(path_));
    size_t bytes = 0;
    std::optional<std::string> limit;  // names beyond it wait for the next pass
    alignas(dirent64) static char buffer[64 << 10];
    for (;;) {
        ssize_t size = ::getdents64(directory_.get(), buffer, sizeof buffer);
        if (size < 0) fail_errno("cannot read the directory", shown(path_));
        if (size == 0) break;
        for (ssize_t at = 0; at < size;) {
            const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
            at += entry->d_reclen;
            const char* name = entry->d_name;
            // A damaged directory may say anything; a name with a slash would lead elsewhere.
            if (is_dot(name) || *name == '\0' || std::strchr(name, '/')) continue;
            if (started_ && last_.compare(name) >= 0) continue;
            if (limit && limit->compare(name) < 0) continue;
            names_.push_back({name, entry->d_type});
            bytes += names_.back().name.size() + kNameOverhead;
            if (bytes <= budget_) continue;
            // Keep the smaller half.
            auto middle = names_.begin() + static_cast<ptrdiff_t>(names_.size() / 2);
            if (middle == names_.begin()) continue;
            std::nth_element(names_.begin(), middle, names_.end(), by_name);
            limit = std::max_element(names_.begin(), middle, by_name)->name;
            names_.erase(middle, names_.end());
            bytes = 0;
            for (const DirectoryName& kept : names_) bytes += kept.name.size() + kNameOverhead;
        }
    }
    started_ = true;
    more_ = limit.has_value();
    std::sort(names_.begin(), names_.end(), [](const auto& a, const auto& b) { return a.name > b.name; });
    if (!names_.empty()) last_ = names_.front().name;
}

namespace {

struct Level {
    SortedDirectory names;
    std::string name;  // of this directory in the one above
    dev_t device;
    ino_t inode;
    size_t budget;
    size_t path_size;  // of the path of this directory
};

}  // namespace

void walk(Fd top, const std::string& shown_top, const WalkVisitor& visitor) {
    std::vector<Level> levels;
    size_t budget_left = kTotalBudget;
    std::string path;  // of the entry at hand

    auto report = [&](const Failure& failure) { visitor.error(path, failure.message(), failure.errnum()); };
    auto push = [&](Fd directory, const std::string& name) {
        struct stat status;
        std::string full = path.empty() ? shown_top : join(shown_top, path);
        if (::fstat(directory.get(), &status) < 0) fail_errno("cannot stat", full);
        for (const Level& level : levels) {
            if (level.inode == status.st_ino && level.device == status.st_dev)
                throw Failure(proto::CORRUPT,
                              "the directory " + full + " contains itself: the file system is damaged",
                              ELOOP);
        }
        if (levels.size() == kMaxDepth)
            throw Failure(proto::UNSUPPORTED, "the directory " + full + " is nested too deeply", ELOOP);
        size_t budget = std::max(budget_left / 2, kLeastBudget);
        budget_left -= std::min(budget_left, budget);
        levels.push_back({SortedDirectory(std::move(directory), full, budget), name, status.st_dev,
                          status.st_ino, budget, path.size()});
    };

    try {
        push(std::move(top), {});
    } catch (const Failure& failure) {
        return report(failure);
    }
    while (!levels.empty()) {
        Level& level = levels.back();
        path.resize(level.path_size);
        std::optional<DirectoryName> found;
        try {
            found = level.names.next();
        } catch (const Failure& failure) {
            report(failure);
        }
        if (!found) {
            if (levels.size() > 1 && visitor.leave)
                visitor.leave({levels[levels.size() - 2].names.fd(), level.name, path, DT_DIR});
            budget_left = std::min(kTotalBudget, budget_left + level.budget);
            levels.pop_back();
            continue;
        }
        if (!path.empty()) path += '/';
        path += found->name;
        int parent = level.names.fd();
        if (found->type == DT_UNKNOWN) {
            struct stat status;
            if (::fstatat(parent, found->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
                found->type = IFTODT(status.st_mode);
        }
        if (!visitor.enter({parent, found->name, path, found->type}) || found->type != DT_DIR) continue;
        try {
            int fd = ::openat(parent, found->name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (fd < 0) fail_errno("cannot open the directory", join(shown_top, path));
            push(Fd(fd), found->name);
        } catch (const Failure& failure) {
            report(failure);
        }
    }
}

}  // namespace inspect::agent
