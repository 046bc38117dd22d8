// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/json.h"

#include <algorithm>

#include "cli/text.h"

namespace inspect::cli {

void JsonWriter::item(std::string_view key) {
    started_ = true;
    if (open_.empty()) return;
    if (!open_.back().empty) out_.put(',');
    open_.back().empty = false;
    // The outer levels have a line an item, so that a listing has a line an entry; the inner ones stay on it.
    if (open_.size() <= 2 && !lines_) {
        out_.put('\n');
        out_.write(open_.size() == 1 ? "  " : "    ");
    } else if (open_.back().object && !lines_) {
        out_.put(' ');
    }
    if (open_.back().object) {
        string(key);
        out_.write(": ");
    }
}

void JsonWriter::open(std::string_view key, char bracket) {
    item(key);
    out_.put(bracket);
    open_.push_back({bracket == '{', true});
}

void JsonWriter::begin_object(std::string_view key) { open(key, '{'); }

void JsonWriter::begin_array(std::string_view key) { open(key, '['); }

void JsonWriter::end(char bracket) {
    bool empty = open_.back().empty;
    open_.pop_back();
    if (lines_) {
        // Nothing but the bracket.
    } else if (!empty && open_.size() < 2) {
        out_.put('\n');
        if (open_.size() == 1) out_.write("  ");
    } else if (!empty && bracket == '}') {
        out_.put(' ');
    }
    out_.put(bracket);
    if (open_.empty()) out_.put('\n');
}

void JsonWriter::string(std::string_view bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string quoted = "\"";
    while (!bytes.empty()) {
        auto byte = static_cast<unsigned char>(bytes[0]);
        size_t length = utf8_sequence_length(bytes);
        if (byte == '"' || byte == '\\') {
            quoted += '\\';
            quoted += bytes[0];
        } else if (byte == '\n') {
            quoted += "\\n";
        } else if (byte < 0x20 || byte == 0x7f) {
            quoted += "\\u00";
            quoted += kDigits[byte >> 4];
            quoted += kDigits[byte & 15];
        } else if (length == 0) {
            quoted += "\xef\xbf\xbd";  // U+FFFD
        } else {
            quoted += bytes.substr(0, length);
        }
        bytes.remove_prefix(std::max<size_t>(length, 1));
    }
    quoted += '"';
    out_.write(quoted);
}

void JsonWriter::text(std::string_view key, std::string_view bytes) {
    item(key);
    string(bytes);
    if (!is_utf8(bytes) && !key.empty()) {
        item(std::string(key) + "_base64");
        string(base64(bytes));
    }
}

void JsonWriter::number(std::string_view key, int64_t value) { raw(key, std::to_string(value)); }

void JsonWriter::number(std::string_view key, uint64_t value) { raw(key, std::to_string(value)); }

void JsonWriter::boolean(std::string_view key, bool value) { raw(key, value ? "true" : "false"); }

void JsonWriter::null(std::string_view key) { raw(key, "null"); }

void JsonWriter::raw(std::string_view key, std::string_view json) {
    item(key);
    out_.write(json);
}

void JsonWriter::fail(std::string_view kind, std::string_view message) {
    if (complete() && !lines_) return;
    if (open_.empty()) begin_object();
    while (open_.size() > 1) end(open_.back().object ? '}' : ']');
    begin_object("error");
    text("kind", kind);
    text("message", message);
    end_object();
    end_object();
}

std::string base64(std::string_view bytes) {
    constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (size_t i = 0; i < bytes.size(); i += 3) {
        size_t have = std::min<size_t>(3, bytes.size() - i);
        uint32_t group = 0;
        for (size_t j = 0; j < 3; ++j)
            group = group << 8 | (j < have ? static_cast<unsigned char>(bytes[i + j]) : 0U);
        for (size_t j = 0; j < 4; ++j) out += j <= have ? kAlphabet[(group >> (18 - 6 * j)) & 63] : '=';
    }
    return out;
}

}  // namespace inspect::cli
