// SPDX-License-Identifier: GPL-2.0-or-later
//
// insp recover: finishes or discards a change that was cut short, by hand.
#include <inspect/image.h>

#include "cli/context.h"
#include "cli/text.h"
#include "commands.h"

namespace inspect::cli {
namespace {

const char* describe(RecoveryResult result) {
    switch (result) {
        case RecoveryResult::kNothing:
            return "nothing to recover";
        case RecoveryResult::kDiscarded:
            return "a change that had not been committed was discarded";
        case RecoveryResult::kFinished:
            return "a change that had been committed was finished";
    }
    return "";
}

const char* word(RecoveryResult result) {
    return result == RecoveryResult::kNothing     ? "nothing"
           : result == RecoveryResult::kDiscarded ? "discarded"
                                                  : "finished";
}

int run_recover(Context& context) {
    if (context.wants_json()) {
        context.json.begin_object();
        context.json.begin_array("images");
    }
    for (const std::string& path : context.args.operands()) {
        const RecoveryResult result = recover_image(path);
        if (context.wants_json()) {
            context.json.begin_object();
            context.json.text("path", path);
            context.json.text("result", word(result));
            context.json.end_object();
        } else if (!context.quiet()) {
            context.out.write(escape_message(path) + ": " + describe(result) + "\n");
        }
    }
    if (context.wants_json()) {
        context.json.end_array();
        context.json.end_object();
    }
    return kExitSuccess;
}

}  // namespace

constexpr Command kRecoverCommand = {
    .name = "recover",
    .summary = "finish or discard a change that was cut short",
    .operands = "IMAGE...",
    .description =
        "Does what the next command that opens the image would do: a change that had been\n"
        "committed when its command was killed is finished, one that had not been is discarded.",
    .examples = "insp recover disk.img",
    .options = {},
    .shared_options = kJsonOption,
    .min_operands = 1,
    .host_operands = HostOperands::kAll,
    .run = run_recover,
};

}  // namespace inspect::cli
