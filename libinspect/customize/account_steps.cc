// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Steps on users: passwords, keys, new accounts.
#include <fcntl.h>
#include <glob.h>

#include <cstdlib>
#include <ctime>

#include "base/fd.h"
#include "base/secret.h"
#include "customize/accounts.h"
#include "customize/steps.h"
#include "guest/guest_files.h"
#include "guest/printable.h"

namespace inspect {

namespace {

constexpr const char* kShadow = "/etc/shadow";

// virt-customize(1), "USERS AND PASSWORDS".
struct Selector {
    enum class Kind { kText, kRandom, kDisabled, kKept } kind = Kind::kText;
    bool locked = false;
    std::string password;
};

Selector parse_selector(const std::string& user, std::string text, const CustomizeOptions& options) {
    Selector selector;
    if (text == "locked" || text.starts_with("locked:")) {
        selector.locked = true;
        if (text == "locked") {
            selector.kind = Selector::Kind::kKept;
            return selector;
        }
        text.erase(0, std::string_view("locked:").size());
    }
    const size_t colon = text.find(':');
    const std::string kind = text.substr(0, colon), rest = colon == text.npos ? "" : text.substr(colon + 1);
    if (text == "random") {
        selector.kind = Selector::Kind::kRandom;
    } else if (text == "disabled") {
        selector.kind = Selector::Kind::kDisabled;
    } else if (text == "prompt") {
        const std::string what = "the password of " + printable(user);
        selector.password = ask_secret("Password of " + printable(user) + ": ", what);
        if (ask_secret("Once more: ", what) != selector.password)
            throw Error(ErrorKind::kUsage, "the two passwords differ");
    } else if (kind == "file" && !rest.empty()) {
        selector.password = read_secret(rest);
    } else if (kind == "fd" && !rest.empty()) {
        selector.password = read_secret("/dev/fd/" + rest);
    } else if (kind == "env" && !rest.empty()) {
        const char* value = ::getenv(rest.c_str());
        if (!value) throw Error(ErrorKind::kUsage, "there is no environment variable '" + rest + "'");
        selector.password = value;
    } else if (kind == "password") {
        if (!options.allow_plain_passwords)
            throw Error(ErrorKind::kUsage,
                        "a password on the command line can be read by everybody on this host: give it by "
                        "file:PATH, fd:NUMBER, env:NAME or prompt, or in a file of commands");
        selector.password = rest;
    } else {
        throw Error(
            ErrorKind::kUsage,
            "a password is file:PATH, fd:NUMBER, env:NAME, prompt, random or disabled, each also after "
            "'locked:'");
    }
    // By mistake: an empty file, a variable that a script forgot to set. Everybody could log in.
    if (selector.kind == Selector::Kind::kText && selector.password.empty() && kind != "password")
        throw Error(ErrorKind::kUsage, "the password is empty");
    return selector;
}

// What the guest hashes its own passwords with.
std::string method_of(Session& session, const std::string& wanted) {
    if (!wanted.empty()) return wanted;
    // What passwd(1) does by PAM: Debian and its like; Red Hat and its like.
    for (const char* path : {"/etc/pam.d/common-password", "/etc/pam.d/system-auth"}) {
        const std::string text = read_text(session, path).value_or("");
        for (const char* method : {"yescrypt", "sha512", "sha256", "md5"})
            if (text.find(method) != text.npos) return method;
    }
    const std::string definitions = read_text(session, "/etc/login.defs").value_or("");
    return definitions.find("\nENCRYPT_METHOD YESCRYPT") != definitions.npos ? "yescrypt" : "sha512";
}

void set_password(Session& session, const std::string& user, const Selector& selector,
                  const CustomizeOptions& options) {
    const std::string shadow = read_text(session, kShadow).value_or("");
    const std::optional<std::string> before = password_field(shadow, user);
    if (!before)
        throw Error(ErrorKind::kNotFound, "the guest's " + std::string(kShadow) + " has no such user");
    std::string field;
    std::string chosen;
    switch (selector.kind) {
        case Selector::Kind::kDisabled:
            field = "*";
            break;
        case Selector::Kind::kKept:
            field = before->substr(std::min(before->find_first_not_of('!'), before->size()));
            break;
        case Selector::Kind::kRandom:
            chosen = random_password();
            field = hash_password(chosen, method_of(session, options.password_crypto));
            break;
        case Selector::Kind::kText:
            field = hash_password(selector.password, method_of(session, options.password_crypto));
    }
    if (selector.locked) field.insert(0, "!");
    constexpr int64_t kDay = 24 * 60 * 60;
    write_text(session, kShadow, *with_password(shadow, user, field, ::time(nullptr) / kDay), 0640);
    if (!chosen.empty() && options.on_random_password) options.on_random_password(user, chosen);
}

bool is_user_name(const std::string& name) {
    constexpr size_t kMost = 32;
    return !name.empty() && name.size() <= kMost && name.front() != '-' &&
           name.find_first_of(":/\n\t \"'\\") == name.npos;
}

PreparedStep password_step(const std::string& user, const std::string& text,
                           const CustomizeOptions& options) {
    if (!is_user_name(user)) throw Error(ErrorKind::kUsage, "'" + printable(user) + "' is not a user's name");
    return {"Setting the password of " + printable(user),
            [user, selector = parse_selector(user, text, options)](
                Session& session, const CustomizeOptions& o) { set_password(session, user, selector, o); }};
}

// The public keys of who runs this.
std::string own_keys() {
    const char* home = ::getenv("HOME");
    if (!home) throw Error(ErrorKind::kUsage, "which key? HOME is not set: give file:PATH");
    std::string keys;
    glob_t found{};
    if (::glob((std::string(home) + "/.ssh/*.pub").c_str(), 0, nullptr, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; ++i) keys += read_secret(found.gl_pathv[i]) + "\n";
    }
    ::globfree(&found);
    if (keys.empty())
        throw Error(ErrorKind::kUsage,
                    "there is no public key in " + std::string(home) + "/.ssh: give file:PATH");
    return keys;
}

std::string keys_of(const std::string& selector) {
    if (selector.empty()) return own_keys();
    if (selector.starts_with("string:")) return selector.substr(7) + "\n";
    if (!selector.starts_with("file:"))
        throw Error(ErrorKind::kUsage, "a key is file:PATH or string:KEY, not '" + printable(selector) + "'");
    constexpr size_t kMost = 256 << 10;
    std::string text = read_input(selector.substr(5), kMost);
    if (text.find("PRIVATE KEY") != text.npos)
        throw Error(ErrorKind::kUsage,
                    "'" + selector.substr(5) + "' is a private key: give the public one, *.pub");
    if (!text.empty() && text.back() != '\n') text += '\n';
    return text;
}

void inject(Session& session, const std::string& user, const std::string& keys) {
    const std::optional<Account> account = find_account(read_text(session, "/etc/passwd").value_or(""), user);
    if (!account || account->home.empty())
        throw Error(ErrorKind::kNotFound,
                    "the guest's /etc/passwd has no such user, or no home directory of theirs");
    const std::string directory = account->home + "/.ssh", file = directory + "/authorized_keys";
    const std::string owner = std::to_string(account->uid) + ":" + std::to_string(account->gid);
    if (!exists(session, account->home))
        throw Error(ErrorKind::kNotFound,
                    "the user's home directory " + quoted(account->home) + " doesn't exist");
    if (!exists(session, directory)) {
        session.make_directory(directory, false, 0700);
        session.chown(directory, owner);
    }
    std::string text = read_text(session, file).value_or("");
    const bool is_new = text.empty() && !exists(session, file);
    if (!text.empty() && text.back() != '\n') text += '\n';
    if (text.find(keys) == text.npos) text += keys;  // not twice
    write_text(session, file, text, 0600);
    if (is_new) session.chown(file, owner);
}

}  // namespace

PreparedStep prepare_password(const std::string& argument, const CustomizeOptions& options) {
    const size_t colon = argument.find(':');
    if (colon == argument.npos)
        throw Error(ErrorKind::kUsage, "write USER:SELECTOR");  // nothing of it is shown
    return password_step(argument.substr(0, colon), argument.substr(colon + 1), options);
}

PreparedStep prepare_root_password(const std::string& argument, const CustomizeOptions& options) {
    return password_step("root", argument, options);
}

PreparedStep prepare_ssh_inject(const std::string& argument, const CustomizeOptions&) {
    const size_t colon = argument.find(':');
    const std::string user = argument.substr(0, colon);
    if (!is_user_name(user)) throw Error(ErrorKind::kUsage, "'" + printable(user) + "' is not a user's name");
    return {"Letting SSH keys in for " + printable(user),
            [user, keys = keys_of(colon == argument.npos ? "" : argument.substr(colon + 1))](
                Session& session, const CustomizeOptions&) { inject(session, user, keys); }};
}

PreparedStep prepare_add_user(const std::string& argument, const CustomizeOptions&) {
    const size_t colon = argument.find(':');
    const std::string user = argument.substr(0, colon);
    const std::string groups = colon == argument.npos ? "" : argument.substr(colon + 1);
    if (!is_user_name(user) || groups.find_first_of(": \n") != groups.npos)
        throw Error(ErrorKind::kUsage, "'" + printable(argument) + "' is not of the form NAME[:GROUP,...]");
    return {"Making the user " + printable(user),
            [user, groups](Session& session, const CustomizeOptions& options) {
                std::vector<std::string> command = {"useradd", "-m"};
                if (!groups.empty()) command.insert(command.end(), {"-G", groups});
                command.insert(command.end(), {"--", user});
                const RunResult result = session.run({.arguments = command,
                                                      .chroot = true,
                                                      .on_output = options.on_output,
                                                      .on_error_output = options.on_output});
                if (!result.succeeded())
                    throw Error(ErrorKind::kDenied, result.not_started.empty()
                                                        ? "the guest's useradd failed"
                                                        : "the guest's useradd: " + result.not_started);
            }};
}

}  // namespace inspect
