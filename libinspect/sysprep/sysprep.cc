// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/sysprep.h: choosing operations, and doing what the table says of them. First it is found out what
// there is to do, then it is done: so a dry run is the same but for the last step.
#include <dirent.h>
#include <fnmatch.h>

#include <algorithm>
#include <set>

#include <inspect/sysprep.h>

#include "guest/guest_files.h"
#include "sysprep/operations.h"
#include "sysprep/user_accounts.h"

namespace inspect {

namespace {

using ActionKind = SysprepAction::Kind;

const SysprepOperation& find_operation(std::string_view name) {
    for (const SysprepOperation& operation : sysprep_operations())
        if (name == operation.name) return operation;
    throw Error(ErrorKind::kUsage,
                "there is no operation '" + std::string(name) + "'; --list-operations shows all");
}

std::vector<std::string> names_of(bool only_defaults) {
    std::vector<std::string> names;
    for (const SysprepOperation& operation : sysprep_operations())
        if (operation.obstacle == nullptr && (operation.by_default || !only_defaults))
            names.emplace_back(operation.name);
    return names;
}

// Without the lines that begin with `setting`, whatever blanks are before it.
std::string without_setting(const std::string& text, std::string_view setting) {
    std::string result;
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
        const std::string_view line = std::string_view(text).substr(at, end - at);
        const size_t begin = line.find_first_not_of(" \t");
        if (begin == line.npos || !line.substr(begin).starts_with(setting)) result += line;
        at = end;
    }
    return result;
}

class Sysprep {
  public:
    Sysprep(Session& session, const SysprepOptions& options)
        : session_(session), options_(options), glob_(session) {}

    std::vector<SysprepAction> run() {
        // A mount that failed may show only now, and must not pass for a guest that is clean.
        session_.stat("/");
        for (const SysprepRule& rule : sysprep_rules())
            if (std::ranges::find(options_.operations, rule.operation) != options_.operations.end())
                plan(rule);
        if (!options_.dry_run)
            for (const SysprepAction& action : actions_) perform(action);
        return std::move(actions_);
    }

  private:
    void plan(const SysprepRule& rule) {
        switch (rule.step) {
            case SysprepStep::kExcept:
                kept_.insert(rule.pattern);
                break;
            case SysprepStep::kRemoveFiles:
            case SysprepStep::kRemoveTrees:
                for (const GuestGlob::Match& match : glob_.find(rule.pattern))
                    if (match.type != DT_DIR || rule.step == SysprepStep::kRemoveTrees)
                        remove(rule, match.path);
                break;
            case SysprepStep::kRemoveFilesBelow:
            case SysprepStep::kBackupFiles:
                below(rule);
                break;
            case SysprepStep::kSet:
                kept_.insert(rule.pattern);
                for (const GuestGlob::Match& match : glob_.find(rule.pattern)) {
                    if (match.type != DT_REG || read_guest_file(session_, match.path) == rule.setting)
                        continue;
                    edited_[match.path] = rule.setting;
                    add(rule, ActionKind::kEdit, match.path);
                }
                break;
            case SysprepStep::kRemoveAccounts:
                accounts(rule);
                break;
            case SysprepStep::kEmpty:
                for (const GuestGlob::Match& match : glob_.find(rule.pattern))
                    if (match.type == DT_REG && session_.stat(match.path).size != 0)
                        add(rule, ActionKind::kEmpty, match.path);
                break;
            case SysprepStep::kTouch:
                if (glob_.find(rule.pattern).empty()) add(rule, ActionKind::kCreate, rule.pattern);
                break;
            case SysprepStep::kDropSettings:
                for (const GuestGlob::Match& match : glob_.find(rule.pattern)) {
                    if (match.type != DT_REG) continue;
                    const auto [entry, fresh] = edited_.try_emplace(match.path);
                    if (fresh) entry->second = read_guest_file(session_, match.path);
                    std::string after = without_setting(entry->second, rule.setting);
                    if (after == entry->second) continue;
                    entry->second = std::move(after);
                    add(rule, ActionKind::kEdit, match.path);
                }
                break;
        }
    }

    void accounts(const SysprepRule& rule) {
        const auto names = [](const std::vector<std::string>& list) {
            return std::set<std::string>(list.begin(), list.end());
        };
        const UserAccounts gone =
            accounts_to_remove(read_text(session_, rule.pattern).value_or(""),
                               uid_range(read_text(session_, "/etc/login.defs").value_or("")),
                               names(options_.keep_accounts), names(options_.remove_accounts));
        if (gone.names.empty()) return;
        for (const std::string file : {"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"}) {
            const std::optional<std::string> before = read_text(session_, file);
            if (!before) continue;
            const bool groups = file == "/etc/group" || file == "/etc/gshadow";
            std::string after =
                groups ? without_members(*before, gone.names) : without_users(*before, gone.names);
            if (after == *before) continue;
            edited_[file] = std::move(after);
            add(rule, ActionKind::kEdit, file);
        }
        for (const std::string& home : gone.homes)
            if (const auto found = glob_.find(home); found.size() == 1 && found[0].type == DT_DIR)
                remove(rule, home);
    }

    void below(const SysprepRule& rule) {
        const std::string directory = rule.pattern;
        // A link to a directory elsewhere is none: what is there may be anything.
        const auto itself = glob_.find(directory);
        if (itself.empty() || itself[0].type != DT_DIR) return;
        session_.list_directory(directory, true, false, [&](const DirectoryEntry& entry) {
            if (entry.type != DT_REG) return;
            const std::string name = entry.path.substr(entry.path.rfind('/') + 1);
            if (rule.step == SysprepStep::kBackupFiles && ::fnmatch("*~", name.c_str(), 0) != 0 &&
                ::fnmatch("*.bak", name.c_str(), 0) != 0)
                return;
            remove(rule, directory + "/" + entry.path);
        });
    }

    void remove(const SysprepRule& rule, const std::string& path) {
        if (kept_.contains(path)) return;
        // With the directory that is removed before.
        for (size_t slash = path.find('/', 1); slash != path.npos; slash = path.find('/', slash + 1))
            if (trees_.contains(path.substr(0, slash))) return;
        if (!removed_.insert(path).second) return;
        if (rule.step == SysprepStep::kRemoveTrees || rule.step == SysprepStep::kRemoveAccounts)
            trees_.insert(path);
        add(rule, ActionKind::kRemove, path);
    }

    void add(const SysprepRule& rule, ActionKind kind, const std::string& path) {
        actions_.push_back({rule.operation, kind, path});
    }

    void perform(const SysprepAction& action) {
        const auto nothing = [](std::span<std::byte>) { return size_t{0}; };
        switch (action.kind) {
            case ActionKind::kRemove:
                return session_.remove(action.path, trees_.contains(action.path), true);
            case ActionKind::kEmpty:
                return session_.write_file(action.path, nothing);
            case ActionKind::kEdit:
                return write_text(session_, action.path, edited_.at(action.path));
            case ActionKind::kCreate:
                return session_.write_file(action.path, nothing);
        }
    }

    Session& session_;
    const SysprepOptions& options_;
    GuestGlob glob_;
    std::set<std::string> kept_, removed_, trees_;
    std::map<std::string, std::string> edited_;  // what files are to have
    std::vector<SysprepAction> actions_;
};

}  // namespace

std::vector<std::string> default_operations() { return names_of(true); }

std::vector<std::string> choose_operations(std::string_view list) {
    std::set<std::string> chosen;
    while (true) {
        const size_t comma = list.find(',');
        std::string_view word = list.substr(0, comma);
        const bool out = word.starts_with('-');
        if (out) word.remove_prefix(1);
        std::vector<std::string> names;
        if (word == "defaults" || word == "all") {
            names = names_of(word == "defaults");
        } else {
            const SysprepOperation& operation = find_operation(word);
            if (operation.obstacle != nullptr && !out)
                throw Error(ErrorKind::kUnsupported, "the operation '" + std::string(word) +
                                                         "' can't be done here: " + operation.obstacle);
            names = {operation.name};
        }
        for (const std::string& name : names) {
            if (out)
                chosen.erase(name);
            else
                chosen.insert(name);
        }
        if (comma == list.npos) break;
        list.remove_prefix(comma + 1);
    }
    return {chosen.begin(), chosen.end()};
}

std::vector<IdChange::Kind> ids_of_operations(const std::vector<std::string>& operations) {
    using Id = IdChange::Kind;
    std::vector<Id> kinds;
    const auto has = [&](const char* name) {
        return std::ranges::find(operations, name) != operations.end();
    };
    if (has("fs-uuids")) kinds.insert(kinds.end(), {Id::kFilesystem, Id::kSwap});
    if (has("lvm-uuids")) kinds.insert(kinds.end(), {Id::kVolumeGroup, Id::kPhysicalVolume});
    return kinds;
}

std::string_view sysprep_action_name(SysprepAction::Kind kind) noexcept {
    switch (kind) {
        case ActionKind::kRemove:
            return "remove";
        case ActionKind::kEmpty:
            return "empty";
        case ActionKind::kEdit:
            return "edit";
        case ActionKind::kCreate:
            return "create";
    }
    return "";
}

std::vector<SysprepAction> sysprep(Session& session, const SysprepOptions& options) {
    return Sysprep(session, options).run();
}

}  // namespace inspect
