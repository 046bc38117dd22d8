// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/tree.h"

#include <algorithm>
#include <charconv>

#include <inspect/error.h>

#include "repository/json.h"

namespace inspect::repository {

namespace {

// The type bits that Go's os.FileMode has for a directory; its permissions are chmod(2)'s.
constexpr uint64_t kGoDirectory = 1ULL << 31;
constexpr uint64_t kPermissions = 0777;

[[noreturn]] void damaged_tree(const char* why) {
    throw Error(ErrorKind::kCorrupt, std::string("as a directory it makes no sense: ") + why);
}

void append_utf8(std::string& out, uint32_t point) {
    if (point < 0x80) {
        out += static_cast<char>(point);
    } else if (point < 0x800) {
        out += {static_cast<char>(0xc0 | point >> 6), static_cast<char>(0x80 | (point & 63))};
    } else if (point < 0x10000) {
        out += {static_cast<char>(0xe0 | point >> 12), static_cast<char>(0x80 | (point >> 6 & 63)),
                static_cast<char>(0x80 | (point & 63))};
    } else {
        out += {static_cast<char>(0xf0 | point >> 18), static_cast<char>(0x80 | (point >> 12 & 63)),
                static_cast<char>(0x80 | (point >> 6 & 63)), static_cast<char>(0x80 | (point & 63))};
    }
}

// restic writes a name as Go's strconv.Quote would, without the quotes, so that any bytes survive JSON.
std::string unquote(std::string_view quoted) {
    constexpr std::string_view kLetters = "abfnrtv\\\"'", kMeanings = "\a\b\f\n\r\t\v\\\"'";
    std::string out;
    for (size_t i = 0; i < quoted.size(); ++i) {
        if (quoted[i] != '\\') {
            out += quoted[i];
            continue;
        }
        if (++i == quoted.size()) damaged_tree("a name ends in a backslash");
        if (const size_t letter = kLetters.find(quoted[i]); letter != std::string_view::npos) {
            out += kMeanings[letter];
            continue;
        }
        const size_t digits = quoted[i] == 'x' ? 2 : quoted[i] == 'u' ? 4 : quoted[i] == 'U' ? 8 : 0;
        uint32_t value = 0;
        const char* begin = quoted.data() + i + 1;
        if (digits == 0 || quoted.size() - i - 1 < digits ||
            std::from_chars(begin, begin + digits, value, 16).ptr != begin + digits || value > 0x10ffff)
            damaged_tree("a name has an escape that is none");
        if (digits == 2) {
            out += static_cast<char>(value);
        } else {
            append_utf8(out, value);
        }
        i += digits;
    }
    return out;
}

std::string quote(std::string_view name) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (unsigned char c : name) {
        if (c == '\\' || c == '"') {
            out += {'\\', static_cast<char>(c)};
        } else if (c >= 0x20 && c < 0x7f) {
            out += static_cast<char>(c);
        } else {
            out += {'\\', 'x', kDigits[c >> 4], kDigits[c & 15]};
        }
    }
    return out;
}

class TreeVisitor final : public JsonVisitor {
  public:
    Tree take() { return std::move(nodes_); }

  private:
    void begin_object(std::string_view path) override {
        if (path == "nodes[]") nodes_.emplace_back();
    }
    void end_object(std::string_view path) override {
        if (path != "nodes[]") return;
        TreeNode& node = nodes_.back();
        if (node.name.empty() || node.name == "." || node.name == ".." ||
            node.name.find('/') != std::string::npos || node.name.find('\0') != std::string::npos)
            damaged_tree("a name is none");
        if (node.type.empty()) damaged_tree("an entry has no type");
        if (node.is_directory() && !node.subtree) damaged_tree("a directory has no contents");
    }
    void text(std::string_view path, std::string& value) override {
        if (path == "nodes[].content[]") {
            nodes_.back().content.push_back(id(value));
        } else if (path == "nodes[].name") {
            nodes_.back().name = unquote(value);
        } else if (path == "nodes[].type") {
            nodes_.back().type = std::move(value);
        } else if (path == "nodes[].subtree") {
            nodes_.back().subtree = id(value);
        } else if (path == "nodes[].mtime") {
            nodes_.back().modified = Timestamp::parse(value).value_or(Timestamp());
        }
    }
    void number(std::string_view path, uint64_t value) override {
        if (path == "nodes[].size") nodes_.back().size = value;
        if (path == "nodes[].mode") nodes_.back().mode = value & kPermissions;
    }

    static ObjectId id(std::string_view text) {
        const auto parsed = ObjectId::parse(text);
        if (!parsed) damaged_tree("an id is none");
        return *parsed;
    }

    Tree nodes_;
};

}  // namespace

Tree parse_tree(std::string_view text) {
    TreeVisitor visitor;
    parse_json(text, visitor);
    return visitor.take();
}

std::string format_tree(Tree nodes) {
    std::ranges::sort(nodes, {}, &TreeNode::name);
    JsonBuilder json;
    json.begin_object().begin_array("nodes");
    for (const TreeNode& node : nodes) {
        const std::string time = node.modified.text();
        json.begin_object().text("name", quote(node.name)).text("type", node.type);
        json.number("mode", node.mode | (node.is_directory() ? kGoDirectory : 0));
        json.text("mtime", time).text("atime", time).text("ctime", time).number("uid", 0).number("gid", 0);
        if (node.is_file()) {
            json.number("links", 1).number("size", node.size).begin_array("content");
            for (const ObjectId& blob : node.content) json.plain({}, blob.hex());
            json.end_array();
        }
        if (node.subtree) json.text("subtree", node.subtree->hex());
        json.end_object();
    }
    return json.end_array().end_object().take() + "\n";
}

}  // namespace inspect::repository
