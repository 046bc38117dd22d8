// SPDX-License-Identifier: GPL-2.0-or-later
//
// JSON as it is written: a stream, because a listing may have millions of entries.
//
// Strings are bytes that a guest chose. What is not UTF-8 is replaced by U+FFFD, and a member "NAME_base64"
// beside "NAME" then has the exact bytes (RFC 4648, section 4).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/output.h"

namespace inspect::cli {

class JsonWriter {
  public:
    explicit JsonWriter(Output& out) : out_(out) {}

    // From here on every document is a line of its own, and any number of them may follow one another (JSON
    // lines). Before the first document.
    void use_lines() { lines_ = true; }

    // Containers. In an object every value has a key, in an array none (an empty one).
    void begin_object(std::string_view key = {});
    void end_object() { end('}'); }
    void begin_array(std::string_view key = {});
    void end_array() { end(']'); }

    // An array of objects, one for each of the items; `members` writes an item's. An array of strings.
    template <typename Items, typename Members>
    void objects(std::string_view key, const Items& items, Members members) {
        begin_array(key);
        for (const auto& item : items) {
            begin_object();
            members(item);
            end_object();
        }
        end_array();
    }
    void texts(std::string_view key, const std::vector<std::string>& items) {
        begin_array(key);
        for (const std::string& item : items) text({}, item);
        end_array();
    }

    void text(std::string_view key, std::string_view bytes);
    // Nothing at all for an empty string.
    void optional_text(std::string_view key, std::string_view bytes) {
        if (!bytes.empty()) text(key, bytes);
    }
    void number(std::string_view key, int64_t value);
    void number(std::string_view key, uint64_t value);
    void number(std::string_view key, uint32_t value) { number(key, uint64_t{value}); }
    void number(std::string_view key, int value) { number(key, int64_t{value}); }
    void boolean(std::string_view key, bool value);
    void null(std::string_view key);
    // Already JSON.
    void raw(std::string_view key, std::string_view json);

    // Ends the document, whatever is open, with a member "error" of the outermost object: {"kind":...,
    // "message":
    // ...}. Nothing when the document is already complete; with use_lines() a document of its own then.
    void fail(std::string_view kind, std::string_view message);

    bool started() const { return started_; }
    bool complete() const { return started_ && open_.empty(); }

  private:
    void open(std::string_view key, char bracket);
    void end(char bracket);
    void item(std::string_view key);  // comma, line break and key
    void string(std::string_view bytes);

    struct Level {
        bool object;
        bool empty;
    };
    Output& out_;
    std::vector<Level> open_;
    bool started_ = false;
    bool lines_ = false;
};

std::string base64(std::string_view bytes);

}  // namespace inspect::cli
