// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/password.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include <inspect/error.h>

#include "base/secret.h"
#include "base/subprocess.h"

namespace inspect::repository {

namespace {

constexpr std::chrono::minutes kCommandTimeout{2};

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::string first_line(std::string text) {
    text.resize(std::min(text.size(), text.find('\n')));
    if (text.ends_with('\r')) text.pop_back();
    return text;
}

// The words of a command line, as restic splits it: by spaces, with quotes.
std::vector<std::string> split_command(const std::string& command) {
    std::vector<std::string> words;
    bool in_word = false;
    char quote = 0;
    for (char c : command) {
        if (quote != 0) {
            if (c == quote) {
                quote = 0;
            } else {
                words.back() += c;
            }
            continue;
        }
        if (c == ' ' || c == '\t') {
            in_word = false;
            continue;
        }
        if (!in_word) words.emplace_back();
        in_word = true;
        if (c == '\'' || c == '"') {
            quote = c;
        } else {
            words.back() += c;
        }
    }
    if (quote != 0 || words.empty())
        throw Error(ErrorKind::kUsage, "the password command isn't one: '" + command + "'");
    return words;
}

std::string run_command(const std::string& command) {
    const ProgramResult result = run_program(split_command(command), kCommandTimeout, kMaxSecret);
    if (!WIFEXITED(result.status) || WEXITSTATUS(result.status) != 0)
        throw Error(ErrorKind::kDenied, "the password command " + Subprocess::describe(result.status) +
                                            (result.errors.empty() ? "" : ": " + result.errors));
    return first_line(result.output);
}

}  // namespace

std::string find_location(const Access& access) {
    if (!access.location.empty()) return access.location;
    const std::string direct = environment("RESTIC_REPOSITORY"), file = environment("RESTIC_REPOSITORY_FILE");
    if (!direct.empty() && !file.empty())
        throw Error(ErrorKind::kUsage, "RESTIC_REPOSITORY and RESTIC_REPOSITORY_FILE are both set");
    if (!direct.empty()) return direct;
    if (!file.empty()) return read_secret(file);
    throw Error(ErrorKind::kUsage,
                "no repository was named: give --repo, or set RESTIC_REPOSITORY in the environment");
}

std::string find_password(const Access& access, bool confirm) {
    if (!access.password_file.empty() && !access.password_command.empty())
        throw Error(ErrorKind::kUsage, "--password-file and --password-command can't be used together");
    if (!access.password_file.empty()) return read_secret(access.password_file);
    if (!access.password_command.empty()) return run_command(access.password_command);
    const std::string direct = environment("RESTIC_PASSWORD");
    if (!direct.empty()) return direct;
    const std::string file = environment("RESTIC_PASSWORD_FILE");
    if (!file.empty()) return read_secret(file);
    const std::string command = environment("RESTIC_PASSWORD_COMMAND");
    if (!command.empty()) return run_command(command);
    if (::isatty(STDIN_FILENO) != 1)
        throw Error(ErrorKind::kUsage,
                    "the repository's password is needed: give --password-file or --password-command, or set "
                    "RESTIC_PASSWORD_FILE, RESTIC_PASSWORD_COMMAND or RESTIC_PASSWORD in the environment");
    constexpr const char* kWhat = "the repository's password";
    std::string password = ask_secret("Password of the repository: ", kWhat);
    if (confirm && ask_secret("Once more: ", kWhat) != password)
        throw Error(ErrorKind::kUsage, "the two passwords differ");
    return password;
}

}  // namespace inspect::repository
