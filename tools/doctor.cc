// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp doctor: can this host run the appliance, and how fast.
#include <inspect/appliance.h>

#include "cli/guest.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

const char* status_word(Check::Status status) {
    switch (status) {
        case Check::Status::kOk:
            return "ok";
        case Check::Status::kWarning:
            return "warning";
        case Check::Status::kFailed:
            break;
    }
    return "failed";
}

std::string as_text(const std::vector<Check>& checks) {
    std::vector<std::vector<std::string>> rows;
    for (const Check& check : checks) {
        rows.push_back({status_word(check.status), escape_message(check.name), escape_message(check.detail)});
        if (check.status != Check::Status::kOk && !check.advice.empty())
            rows.push_back({"", "", "-> " + escape_message(check.advice)});
    }
    return table(rows, {});
}

int run_doctor(Context& context) {
    SessionOptions options = appliance_options(context.args);
    std::vector<Check> checks = diagnose(options);
    bool failed = false;
    for (const Check& check : checks) failed |= check.status == Check::Status::kFailed;
    if (!context.wants_json()) {
        context.out.write(as_text(checks));
        return failed ? kExitFailure : kExitSuccess;
    }
    JsonWriter& json = context.json;
    json.begin_object();
    json.boolean("ok", !failed);
    json.begin_array("checks");
    for (const Check& check : checks) {
        json.begin_object();
        json.text("name", check.name);
        json.text("status", status_word(check.status));
        json.text("detail", check.detail);
        json.optional_text("advice", check.advice);
        json.end_object();
    }
    json.end_array();
    json.end_object();
    return failed ? kExitFailure : kExitSuccess;
}

}  // namespace

constexpr Command kDoctorCommand = {
    .name = "doctor",
    .summary = "check whether this host can run the appliance",
    .operands = "",
    .description =
        "Checks KVM, QEMU, permissions, the sandbox, the appliance's files and the cache, says which\n"
        "engine is taken and why, times its starts, and says what to do where something is wrong.\n"
        "Exit code 1 when a check failed.",
    .examples =
        "insp doctor\n"
        "insp doctor --json | jq '.checks[] | select(.status != \"ok\")'",
    .options = {},
    .shared_options = kJsonOption | kMemoryOption,
    .max_operands = 0,
    .run = run_doctor,
};

}  // namespace inspect::cli
