// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a subcommand of insp is: a table of its options, its help text and the function that runs it. The
// table is the one source of what is parsed, of --help, of the shell completions and of the check that the
// manual pages are complete.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/error.h>

namespace inspect::cli {

// The documented exit codes, see insp(1).
inline constexpr int kExitSuccess = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNothingFound = 3;
// Where another program's exit code is passed through: whatever goes wrong with us.
inline constexpr int kExitOwnFailure = 125;

enum class Takes : uint8_t {
    kNothing,
    kValue,          // --name=VALUE, --name VALUE, -nVALUE, -n VALUE
    kOptionalValue,  // --name=VALUE or --name alone, as getopt_long(3) has it
};

struct Option {
    char letter = 0;        // 0: a long name only
    const char* name = "";  // the long name; "" for a letter only
    Takes takes = Takes::kNothing;
    const char* value_name = "";  // in the help: "IMAGE"
    const char* help = "";
    const char* also = "";    // another long name, not shown in the help
    const char* values = "";  // for completion: words, or "<file>", "<directory>"
};

// Sets of options that commands share. The tables are in common_options.cc.
inline constexpr unsigned kDiskOptions = 1;   // -a and how the appliance runs
inline constexpr unsigned kMountOptions = 2;  // -m, --root
inline constexpr unsigned kJsonOption = 4;
inline constexpr unsigned kMemoryOption = 8;       // --memory alone, without disks
inline constexpr unsigned kDisksOptional = 16;     // beside kDiskOptions: no disk need be given
inline constexpr unsigned kDiskOperand = 32;       // beside both: without -a the first operand is the disk
inline constexpr unsigned kCustomizeOptions = 64;  // the operations of customize (cli/customize_options.h)
inline constexpr unsigned kNoAppliance = 128;      // beside kDiskOptions: not how one runs, as there is none

// Which operands are host files, for completion.
enum class HostOperands : uint8_t { kNone, kLast, kAllButLast, kAll };

struct Context;

struct Command {
    const char* name;
    const char* summary;      // a line for 'insp --help', without a full stop
    const char* operands;     // for the usage line: "PATH..."
    const char* description;  // a sentence or two for --help; lines of at most 78 columns
    const char* examples;     // lines
    std::span<const Option> options;
    unsigned shared_options = 0;
    int min_operands = 0;
    int max_operands = -1;  // -1: any number
    HostOperands host_operands = HostOperands::kNone;
    const char* operand_words =
        "";  // for completion, where operands are keywords; before host files, the first
    int (*run)(Context&) = nullptr;
    int failure_code = kExitFailure;
    int usage_code = kExitUsage;
    bool operands_end_options = false;  // what comes after the first operand is none of ours
};

// Command-line errors: exit code 2, with a pointer to --help.
struct UsageError : Error {
    explicit UsageError(std::string message) : Error(ErrorKind::kUsage, std::move(message)) {}
};

// What the user gave. Options keep their order, for those that act on what follows them (--format).
class Arguments {
  public:
    struct Given {
        const Option* option;
        std::optional<std::string> value;
    };

    // Parses as getopt_long(3) does: options and operands in any order, "--" ends the options, long names may
    // be shortened. argv[0] is ignored. --help and --version end the parsing: nothing is checked after them.
    // Throws UsageError. Thread-safe.
    static Arguments parse(const Command& command, int argc, char* const argv[]);

    // An option is named by its long name, or by its letter where it has no long one. Asking for one that the
    // command doesn't have is a bug and throws Error(kInternal).
    bool has(std::string_view name) const;
    std::optional<std::string> value(std::string_view name) const;  // the last one given
    std::vector<std::string> values(std::string_view name) const;

    const Command& command() const { return *command_; }
    const std::vector<Given>& given() const { return given_; }
    const std::vector<std::string>& operands() const { return operands_; }

  private:
    explicit Arguments(const Command& command) : command_(&command) {}
    const Option& find(std::string_view name) const;

    const Command* command_;
    std::vector<Given> given_;
    std::vector<std::string> operands_;
};

// The name by which Arguments knows an option.
std::string_view option_key(const Option& option);

// A group of options under one heading of the help.
struct OptionGroup {
    const char* title;  // "": it continues the group before it
    std::span<const Option> options;
};
// All that the command accepts, its own first. An own option's letter or name wins over a shared one's.
std::vector<OptionGroup> option_groups(const Command& command);
// A shared option in whose place the command has one of its own.
bool is_replaced(const Command& command, const Option& option);

}  // namespace inspect::cli
