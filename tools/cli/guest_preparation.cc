// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/guest_preparation.h"

#include <algorithm>
#include <optional>
#include <sstream>

#include "cli/guest.h"
#include "cli/text.h"
#include "cli/values.h"

namespace inspect::cli {

namespace {

bool is_of_lvm(IdChange::Kind kind) {
    return kind == IdChange::Kind::kVolumeGroup || kind == IdChange::Kind::kPhysicalVolume;
}

// Encrypted volumes are unlocked again and again, after each program that changes an identifier; of the
// memory that argon2 wants for that the appliance may then have too little left.
constexpr uint64_t kMemoryWithKeys = uint64_t{1} << 30;

SessionOptions with_access(SessionOptions options, bool writable) {
    options.writable = writable;
    if (!options.keys.empty() && options.memory_bytes == 0) options.memory_bytes = kMemoryWithKeys;
    return options;
}

NewIdsPlan plan_ids(Guest& guest, const PreparationWishes& wishes) {
    if (!wishes.changes_ids()) return {};
    NewIdsWishes wanted;
    wanted.group_names = wishes.new_group_names;
    if (!wishes.new_ids) wanted.kinds = ids_of_operations(wishes.sysprep.operations);
    if (!wishes.new_ids && wanted.kinds.empty()) wanted.kinds = {IdChange::Kind::kGroupName};
    // Most guests have no volume group, and then there is nothing to plan.
    if (!wanted.kinds.empty() && std::ranges::all_of(wanted.kinds, is_of_lvm) && !wanted.group_names &&
        guest.call("filesystems").filesystems().volume_groups.empty())
        return {};
    return plan_new_ids(guest.call("plan_new_ids"), wanted);
}

void warn_of(Context& context, const NewIdsPlan& plan) {
    for (const std::string& warning : plan.warnings) context.warning(warning);
}

// In the guest's tree, which is mounted. As virt-sysprep does: keys that customize leaves in a directory of
// the user's would go with it afterwards.
void change_files(Guest& guest, const PreparationWishes& wishes, Preparation& result) {
    if (!wishes.sysprep.operations.empty()) result.actions = sysprep(guest.call("sysprep"), wishes.sysprep);
    if (wishes.customize == nullptr) return;
    result.steps = wishes.customize->steps();
    wishes.customize->apply(guest.call("customize"));
    result.passwords = wishes.customize->take_passwords();
}

SessionOptions for_change(SessionOptions options, const PreparationWishes& wishes) {
    options = with_access(std::move(options), true);
    if (wishes.customize != nullptr) wishes.customize->adjust(options);
    return options;
}

}  // namespace

SysprepOptions sysprep_options(const Arguments& args) {
    SysprepOptions options;
    const auto chosen = args.value("operations");
    options.operations = chosen ? as_usage([&] { return choose_operations(*chosen); }) : default_operations();
    for (const auto& [name, accounts] : {std::pair("keep-user-accounts", &options.keep_accounts),
                                         {"remove-user-accounts", &options.remove_accounts}}) {
        for (const std::string& list : args.values(name)) {
            std::istringstream words(list);
            for (std::string word; std::getline(words, word, ',');) accounts->push_back(word);
        }
        if (args.has(name) && !is_chosen(options, "user-account"))
            throw UsageError(std::string("--") + name +
                             " is about the operation 'user-account', which is not among --operations");
    }
    return options;
}

bool is_chosen(const SysprepOptions& options, std::string_view operation) {
    return std::ranges::find(options.operations, operation) != options.operations.end();
}

void require_customize_operation(const SysprepOptions& options, const CustomizeSteps& steps) {
    if (!steps.steps.empty() && !is_chosen(options, "customize"))
        throw UsageError("--" + steps.steps[0].operation +
                         " is done by the operation 'customize', which is not among --operations");
}

Preparation preview_guest(Context& context, const SessionOptions& options, const PreparationWishes& wishes) {
    Preparation result;
    Guest guest(context, with_access(options, false));
    result.ids = plan_ids(guest, wishes);
    warn_of(context, result.ids);
    if (wishes.customize != nullptr) result.steps = wishes.customize->steps();
    if (wishes.sysprep.operations.empty()) return result;
    guest.call("mount_os").mount_os();
    SysprepOptions dry_run = wishes.sysprep;
    dry_run.dry_run = true;
    result.actions = sysprep(guest.call("sysprep"), dry_run);
    return result;
}

NewIdsPlan plan_for_clones(Context& context, const SessionOptions& options, const PreparationWishes& wishes) {
    if (!wishes.changes_ids()) return {};
    Guest guest(context, with_access(options, false));
    NewIdsPlan plan = plan_ids(guest, wishes);
    warn_of(context, plan);
    return plan;
}

Preparation prepare_guest(Context& context, const SessionOptions& options, const PreparationWishes& wishes,
                          const NewIdsPlan* clones) {
    Preparation result;
    std::optional<NewIdsPlan> planned;
    // The images of --attach are none of the guest's disks, whose identifiers are planned.
    if (clones == nullptr && wishes.customize != nullptr && wishes.customize->attaches())
        clones = &planned.emplace(plan_for_clones(context, options, wishes));
    Guest guest(context, for_change(options, wishes));
    result.ids = clones != nullptr ? with_new_draw(*clones) : plan_ids(guest, wishes);
    if (clones == nullptr) warn_of(context, result.ids);
    const auto in_tree = [&] { change_files(guest, wishes, result); };
    const bool has_tree = !result.ids.ids.empty() && !result.ids.root.empty();
    if (!has_tree && wishes.in_tree()) {
        guest.call("mount_os").mount_os();
        in_tree();
        guest.call("unmount").unmount();
    }
    if (!result.ids.ids.empty())
        apply_new_ids(guest.call("apply_new_ids"), result.ids, has_tree ? in_tree : std::function<void()>());
    if (wishes.before_commit) wishes.before_commit();
    guest.commit();
    return result;
}

std::string preparation_text(const Preparation& preparation) {
    std::string text;
    for (const IdChange& id : preparation.ids.ids) {
        text += std::string(id_kind_name(id.kind)) + " " + id.device + " (" + id.type + "): " + id.old_id;
        if (!id.kept.empty())
            text += " stays: " + id.kept;
        else
            text += " -> " + (id.new_id.empty() ? "chosen by LVM" : id.new_id);
        text += '\n';
    }
    for (const IdFileChange& file : preparation.ids.files) {
        text += "edit " + file.path + "\n";
        for (const IdFileChange::Line& line : file.lines)
            text += "  " + std::to_string(line.number) + " - " + line.before + "\n" +
                    std::string(2 + std::to_string(line.number).size(), ' ') + " + " + line.after + "\n";
    }
    for (const SysprepAction& action : preparation.actions)
        text += std::string(sysprep_action_name(action.kind)) + " " + action.path + "  (" + action.operation +
                ")\n";
    for (const std::string& step : preparation.steps) text += step + "  (customize)\n";
    std::string shown;
    for (size_t at = 0; at < text.size();) {
        const size_t end = text.find('\n', at);
        shown += escape_control(text.substr(at, end - at)) + "\n";
        at = end + 1;
    }
    return shown;
}

void preparation_json(JsonWriter& json, const Preparation& preparation) {
    json.begin_array("ids");
    for (const IdChange& id : preparation.ids.ids) {
        json.begin_object();
        json.text("kind", id_kind_name(id.kind));
        json.text("device", id.device);
        json.text("type", id.type);
        json.text("old", id.old_id);
        json.optional_text("new", id.kept.empty() ? id.new_id : "");
        json.optional_text("kept", id.kept);
        json.end_object();
    }
    json.end_array();
    json.begin_array("files");
    for (const IdFileChange& file : preparation.ids.files) {
        json.begin_object();
        json.text("path", file.path);
        json.begin_array("lines");
        for (const IdFileChange::Line& line : file.lines) {
            json.begin_object();
            json.number("number", line.number);
            json.text("before", line.before);
            json.text("after", line.after);
            json.end_object();
        }
        json.end_array();
        json.end_object();
    }
    json.end_array();
    json.begin_array("actions");
    for (const SysprepAction& action : preparation.actions) {
        json.begin_object();
        json.text("operation", action.operation);
        json.text("action", sysprep_action_name(action.kind));
        json.text("path", action.path);
        json.end_object();
    }
    json.end_array();
    json.texts("customize", preparation.steps);
    passwords_json(json, preparation.passwords);
}

}  // namespace inspect::cli
