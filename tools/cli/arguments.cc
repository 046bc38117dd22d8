// SPDX-License-Identifier: GPL-2.0-or-later
#include <getopt.h>

#include <cstring>

#include "cli/command.h"
#include "cli/text.h"

namespace inspect::cli {
namespace {

// getopt_long(3) returns an option's letter, or for a long name this plus its index.
constexpr int kLongBase = 1000;

struct Tables {
    std::string letters = ":";
    std::vector<::option> longs;
    std::vector<const Option*> by_index;       // of the long names
    const Option* by_letter[256] = {nullptr};  // the first of a letter wins
};

Tables make_tables(const Command& command) {
    Tables tables;
    auto add_long = [&](const char* name, const Option& option) {
        int has_argument = option.takes == Takes::kNothing ? no_argument
                           : option.takes == Takes::kValue ? required_argument
                                                           : optional_argument;
        tables.longs.push_back(
            {name, has_argument, nullptr, kLongBase + static_cast<int>(tables.by_index.size())});
        tables.by_index.push_back(&option);
    };
    for (const OptionGroup& group : option_groups(command)) {
        for (const Option& option : group.options) {
            auto letter = static_cast<unsigned char>(option.letter);
            if (letter != 0 && tables.by_letter[letter] == nullptr) {
                tables.by_letter[letter] = &option;
                tables.letters += option.letter;
                if (option.takes == Takes::kValue) tables.letters += ":";
                if (option.takes == Takes::kOptionalValue) tables.letters += "::";
            }
            if (*option.name != 0) add_long(option.name, option);
            if (*option.also != 0) add_long(option.also, option);
        }
    }
    tables.longs.push_back({nullptr, 0, nullptr, 0});
    return tables;
}

const Option* option_of(const Tables& tables, int code) {
    if (code >= kLongBase) return tables.by_index[static_cast<size_t>(code - kLongBase)];
    return code > 0 && code < 256 ? tables.by_letter[code] : nullptr;
}

// How the user spelled it, for messages.
std::string spelled(const Tables& tables, int code) {
    if (code >= kLongBase)
        return std::string("--") + tables.longs[static_cast<size_t>(code - kLongBase)].name;
    return escape_control(std::string("-") + static_cast<char>(code));
}

std::string unknown_option(const Tables& tables, const char* argument) {
    if (optopt != 0 && option_of(tables, optopt) == nullptr)
        return "unknown option " + spelled(tables, optopt);
    if (optopt != 0) return "option " + spelled(tables, optopt) + " takes no value";
    std::string_view text(argument);
    std::string_view name = text.substr(0, text.find('='));
    std::string candidates;
    if (name.starts_with("--")) {
        for (const ::option& candidate : tables.longs) {
            if (candidate.name == nullptr || !std::string_view(candidate.name).starts_with(name.substr(2)))
                continue;
            candidates += candidates.empty() ? " --" : ", --";
            candidates += candidate.name;
        }
    }
    if (!candidates.empty()) return "option " + escape_control(name) + " may mean several:" + candidates;
    return "unknown option " + escape_control(name);
}

void check_operands(const Arguments& arguments) {
    const Command& command = arguments.command();
    bool needs_disk = (command.shared_options & kDiskOptions) != 0;
    std::string usage = std::string("insp ") + command.name + (needs_disk ? " -a IMAGE" : "") +
                        (*command.operands != 0 ? " " : "") + command.operands;
    if (needs_disk && !arguments.has("add")) throw UsageError("no disk image was given; write: " + usage);
    auto count = static_cast<int>(arguments.operands().size());
    if (count < command.min_operands) throw UsageError("operands are missing; write: " + usage);
    if (command.max_operands >= 0 && count > command.max_operands) {
        const std::string& extra = arguments.operands()[static_cast<size_t>(command.max_operands)];
        throw UsageError("unexpected operand '" + escape_message(extra) + "'; write: " + usage);
    }
}

}  // namespace

std::string_view option_key(const Option& option) {
    return *option.name != 0 ? std::string_view(option.name) : std::string_view(&option.letter, 1);
}

Arguments Arguments::parse(const Command& command, int argc, char* const argv[]) {
    Tables tables = make_tables(command);
    Arguments arguments(command);
    opterr = 0;
    optind = 0;  // glibc: start afresh
    for (;;) {
        int code = getopt_long(argc, argv, tables.letters.c_str(), tables.longs.data(), nullptr);
        if (code == -1) break;
        if (code == ':') throw UsageError("option " + spelled(tables, optopt) + " needs a value");
        if (code == '?') throw UsageError(unknown_option(tables, argv[optind - 1]));
        const Option* option = option_of(tables, code);
        Given given{option, std::nullopt};
        if (optarg != nullptr) given.value = optarg;
        arguments.given_.push_back(std::move(given));
        std::string_view key = option_key(*option);
        if (key == "help" || key == "version") return arguments;
    }
    for (int i = optind; i < argc; ++i) arguments.operands_.emplace_back(argv[i]);
    check_operands(arguments);
    return arguments;
}

const Option& Arguments::find(std::string_view name) const {
    for (const OptionGroup& group : option_groups(*command_)) {
        for (const Option& option : group.options)
            if (option_key(option) == name) return option;
    }
    throw Error(ErrorKind::kInternal,
                std::string("the command ") + command_->name + " has no option " + std::string(name));
}

bool Arguments::has(std::string_view name) const {
    const Option* wanted = &find(name);
    for (const Given& given : given_)
        if (given.option == wanted) return true;
    return false;
}

std::optional<std::string> Arguments::value(std::string_view name) const {
    const Option* wanted = &find(name);
    std::optional<std::string> last;
    for (const Given& given : given_)
        if (given.option == wanted) last = given.value;
    return last;
}

std::vector<std::string> Arguments::values(std::string_view name) const {
    const Option* wanted = &find(name);
    std::vector<std::string> all;
    for (const Given& given : given_)
        if (given.option == wanted && given.value) all.push_back(*given.value);
    return all;
}

}  // namespace inspect::cli
