// SPDX-License-Identifier: GPL-2.0-or-later
#include "accounts.h"

#include <array>
#include <cerrno>
#include <charconv>

#include "failure.h"
#include "os_tree.h"

namespace inspect::agent {

namespace {

constexpr size_t kMaxAccountFile = 8 << 20;

std::optional<uint32_t> parse_number(std::string_view text) {
    uint32_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    // -1 means "leave it" to chown(2).
    if (text.empty() || error != std::errc() || end != text.data() + text.size() || value == UINT32_MAX)
        return std::nullopt;
    return value;
}

// Fields 2 and 3 of the line that starts with "name:" or, by_number, whose field 2 is `name`.
using Fields = std::array<std::string_view, 4>;
std::optional<Fields> find_line(std::string_view file, std::string_view key, size_t key_field) {
    for (size_t at = 0; at < file.size();) {
        size_t end = std::min(file.find('\n', at), file.size());
        std::string_view line = file.substr(at, end - at);
        at = end + 1;
        Fields fields;
        size_t start = 0;
        for (std::string_view& field : fields) {
            size_t colon = std::min(line.find(':', start), line.size());
            field = start <= line.size() ? line.substr(start, colon - start) : std::string_view();
            start = colon + 1;
        }
        if (fields[key_field] == key) return fields;
    }
    return std::nullopt;
}

uint32_t resolve(std::string_view name, std::string_view file, const char* what) {
    if (std::optional<Fields> found = find_line(file, name, 0)) {
        if (std::optional<uint32_t> number = parse_number((*found)[2])) return *number;
    }
    if (std::optional<uint32_t> number = parse_number(name)) return *number;
    throw Failure(proto::NOT_FOUND, std::string("the guest has no ") + what + " '" + std::string(name) + "'",
                  ENOENT);
}

}  // namespace

Owner parse_owner(std::string_view text, std::string_view passwd, std::string_view group) {
    Owner owner;
    size_t colon = text.find(':');
    std::string_view user = text.substr(0, colon);
    if (text.empty() || text == ":") throw Failure(proto::USAGE, "an empty owner", EINVAL);
    if (!user.empty()) owner.uid = resolve(user, passwd, "user");
    if (colon == text.npos) return owner;
    std::string_view group_name = text.substr(colon + 1);
    if (!group_name.empty()) {
        owner.gid = resolve(group_name, group, "group");
        return owner;
    }
    std::optional<Fields> line = find_line(passwd, user, 0);
    if (!line) line = find_line(passwd, user, 2);
    if (line) owner.gid = parse_number((*line)[3]);
    if (!owner.gid)
        throw Failure(proto::NOT_FOUND, "the guest knows no login group of '" + std::string(user) + "'",
                      ENOENT);
    return owner;
}

Owner parse_owner(const GuestTree& tree, std::string_view text) {
    // Plain numbers need no files.
    size_t colon = text.find(':');
    std::string_view user = text.substr(0, colon);
    bool has_group = colon != text.npos;
    std::string_view group = has_group ? text.substr(colon + 1) : std::string_view();
    bool login_group = has_group && group.empty();
    bool need_passwd = (!user.empty() && !parse_number(user)) || login_group;
    bool need_group = !group.empty() && !parse_number(group);
    return parse_owner(text,
                       need_passwd ? read_small_file(tree, "/etc/passwd", kMaxAccountFile) : std::string(),
                       need_group ? read_small_file(tree, "/etc/group", kMaxAccountFile) : std::string());
}

}  // namespace inspect::agent
