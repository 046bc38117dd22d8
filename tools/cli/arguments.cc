// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arguments::parse: CLI11 under the tables of command.h. What is set here keeps CLI11 to the ways of the
// virt-* tools: an operand or a value is taken literally ("[a,b]" is one), an option takes its value whatever
// that looks like, and the options keep the order in which they were given.
#include <CLI/CLI.hpp>
#include <map>
#include <set>

#include "cli/command.h"
#include "cli/text.h"

namespace inspect::cli {
namespace {

// The long names of all options, each with the option that it stands for.
std::map<std::string, const Option*> long_names(const Command& command) {
    std::map<std::string, const Option*> names;
    for (const OptionGroup& group : option_groups(command)) {
        for (const Option& option : group.options) {
            if (*option.name != 0) names.emplace(option.name, &option);
            if (*option.also != 0) names.emplace(option.also, &option);
        }
    }
    return names;
}

// The long names that start with `prefix`.
std::vector<std::string> long_names_with(const std::map<std::string, const Option*>& names,
                                         const std::string& prefix) {
    std::vector<std::string> found;
    for (auto it = names.lower_bound(prefix); it != names.end() && it->first.starts_with(prefix); ++it)
        found.push_back(it->first);
    return found;
}

// The names of an option as CLI11 spells a list of them, "-a,--add", with every abbreviation of a long name
// that can mean nothing else, as getopt_long(3) allows. An empty default in braces makes a flag that may have
// a value.
std::string option_names(const Option& option, bool letter_is_free,
                         const std::map<std::string, const Option*>& names) {
    std::set<std::string> all;
    for (std::string name : {std::string(option.name), std::string(option.also)}) {
        if (name.empty() || names.at(name) != &option) continue;
        for (all.insert(name); name.size() > 1; name.pop_back()) {
            std::string shorter = name.substr(0, name.size() - 1);
            bool unambiguous = !names.contains(shorter);
            for (const std::string& other : long_names_with(names, shorter))
                unambiguous = unambiguous && names.at(other) == &option;
            if (unambiguous) all.insert(shorter);
        }
    }
    std::string list;
    auto add = [&](const std::string& name) {
        list += (list.empty() ? "" : ",") + name + (option.takes == Takes::kOptionalValue ? "{}" : "");
    };
    if (option.letter != 0 && letter_is_free) add(std::string("-") + option.letter);
    for (const std::string& name : all) add("--" + name);
    return list;
}

CLI::Option* add_option(CLI::App& app, const Option& option, const std::string& names) {
    if (option.takes == Takes::kValue) {
        return app.add_option(names, [](const CLI::results_t&) { return true; })
            ->expected(1)
            ->allow_extra_args(false)
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }
    CLI::Option* flag = app.add_flag(names)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    return option.takes == Takes::kNothing ? flag->disable_flag_override() : flag;
}

// The parser of one command, and which of our options each of CLI11's is.
struct Parser {
    CLI::App app;
    std::map<std::string, const Option*> names;
    std::vector<std::pair<const CLI::Option*, const Option*>> options;

    explicit Parser(const Command& command) : names(long_names(command)) {
        app.set_help_flag();
        app.allow_extras();  // the operands, and what is unknown
        if (command.operands_end_options) app.prefix_command();
        std::string letters;
        for (const OptionGroup& group : option_groups(command)) {
            for (const Option& option : group.options) {
                bool letter_is_free = letters.find(option.letter) == std::string::npos;
                if (letter_is_free && option.letter != 0) letters += option.letter;
                std::string list = option_names(option, letter_is_free, names);
                if (!list.empty()) options.emplace_back(add_option(app, option, list), &option);
            }
        }
    }

    const Option* find(const CLI::Option* parsed) const {
        for (const auto& [theirs, ours] : options)
            if (theirs == parsed) return ours;
        return nullptr;
    }
};

// CLI11's complaint in our words. Its exceptions start with the option's name, with dashes or without.
std::string complaint(const Parser& parser, const CLI::ParseError& error) {
    std::string_view text = error.what();
    std::string_view name = text.substr(0, text.find_first_of(": "));
    while (name.starts_with('-')) name.remove_prefix(1);
    for (const auto& [theirs, ours] : parser.options) {
        if (!theirs->check_name("--" + std::string(name)) && !theirs->check_name("-" + std::string(name)))
            continue;
        std::string shown =
            *ours->name != 0 ? std::string("--") + ours->name : std::string("-") + ours->letter;
        return "option " + shown + (ours->takes == Takes::kValue ? " needs a value" : " takes no value");
    }
    return escape_message(text);
}

std::string unknown_option(const Parser& parser, const std::string& word) {
    std::string name = word.substr(0, word.find('='));
    std::string candidates;
    if (name.starts_with("--")) {
        for (const std::string& candidate : long_names_with(parser.names, name.substr(2)))
            candidates += (candidates.empty() ? " --" : ", --") + candidate;
    }
    if (!candidates.empty()) return "option " + escape_control(name) + " may mean several:" + candidates;
    return "unknown option " + escape_control(name);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// What CLI11 didn't take: operands ("-2G" is one: no option is a digit), and before a "--" also options that
// it doesn't know.
std::vector<std::string> take_operands(const Parser& parser, bool operands_end_options) {
    std::vector<std::string> operands;
    bool options_ended = false;
    std::vector<std::string> words = parser.app.remaining();
    for (std::string& word : words) {
        if (!options_ended && word == "--") {
            options_ended = true;
        } else if (!options_ended && word.size() > 1 && word.starts_with('-') && !is_digit(word[1])) {
            throw UsageError(unknown_option(parser, word));
        } else {
            operands.push_back(std::move(word));
            options_ended |= operands_end_options;
        }
    }
    return operands;
}

void check_operands(const Arguments& arguments) {
    const Command& command = arguments.command();
    const bool needs_disk =
        (command.shared_options & kDiskOptions) != 0 && (command.shared_options & kDisksOptional) == 0;
    std::string usage = std::string("insp ") + command.name + (needs_disk ? " -a IMAGE" : "") +
                        (*command.operands != 0 ? " " : "") + command.operands;
    if (needs_disk && !arguments.has("add") && !arguments.has("domain") && !arguments.has("domain-xml"))
        throw UsageError("no disk image was given; write: " + usage);
    auto count = static_cast<int>(arguments.operands().size());
    if (count < command.min_operands) throw UsageError("operands are missing; write: " + usage);
    if (command.max_operands >= 0 && count > command.max_operands) {
        const std::string& extra = arguments.operands()[static_cast<size_t>(command.max_operands)];
        std::string hint;
        for (const auto& [option, value] : arguments.given())
            if (option->takes == Takes::kOptionalValue && !value)
                hint = std::string(" (is it the value of --") + option->name + "? That wants a '=')";
        throw UsageError("unexpected operand '" + escape_message(extra) + "'; write: " + usage + hint);
    }
}

}  // namespace

std::string_view option_key(const Option& option) {
    return *option.name != 0 ? std::string_view(option.name) : std::string_view(&option.letter, 1);
}

Arguments Arguments::parse(const Command& command, int argc, char* const argv[]) {
    Parser parser(command);
    try {
        parser.app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        throw UsageError(complaint(parser, error));
    }
    Arguments arguments(command);
    std::map<const CLI::Option*, size_t> seen;
    for (const CLI::Option* parsed : parser.app.parse_order()) {
        const Option* option = parser.find(parsed);
        if (option == nullptr) continue;
        Given given{option, std::nullopt};
        const std::string& text = parsed->results().at(seen[parsed]++);
        if (option->takes == Takes::kValue || (option->takes == Takes::kOptionalValue && !text.empty()))
            given.value = text;
        arguments.given_.push_back(std::move(given));
    }
    if (arguments.has("help") || arguments.has("version")) return arguments;
    arguments.operands_ = take_operands(parser, command.operands_end_options);
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
