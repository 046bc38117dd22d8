// SPDX-License-Identifier: LGPL-2.1-or-later
//
// JSON as a repository has it: indexes and directories of many megabytes are read as a stream of values,
// each with its path in the document, and never become a tree in memory. nlohmann's parser does the reading.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inspect::repository {

// Paths are the members' names joined by dots, elements of an array are "[]": "packs[].blobs[].id".
class JsonVisitor {
  public:
    virtual ~JsonVisitor() = default;
    virtual void text(std::string_view path, std::string& value);
    // Negative and fractional numbers, true, false and null are left out, as nothing here has a use for them.
    virtual void number(std::string_view path, uint64_t value);
    virtual void boolean(std::string_view path, bool value);
    virtual void begin_object(std::string_view path);
    virtual void end_object(std::string_view path);
};

// Throws Error(kCorrupt) for what is no JSON, nests deeper than 32 levels or has a name longer than 4096
// bytes; what the visitor throws passes through. Thread-safe.
void parse_json(std::string_view text, JsonVisitor& visitor);

// The values of a small document by their paths.
class JsonFields final : public JsonVisitor {
  public:
    // Throws what parse_json() does; kCorrupt also when there are more than 100,000 values.
    explicit JsonFields(std::string_view text);

    // "" and 0 when there is none: the last of several.
    std::string text(std::string_view path) const;
    std::optional<uint64_t> number(std::string_view path) const;
    bool boolean(std::string_view path) const;
    std::vector<std::string> texts(std::string_view path) const;
    // Throw Error(kCorrupt), which names the path, when there is none.
    std::string require_text(std::string_view path) const;
    uint64_t require_number(std::string_view path) const;

  private:
    void text(std::string_view path, std::string& value) override;
    void number(std::string_view path, uint64_t value) override;
    void boolean(std::string_view path, bool value) override;
    void count();

    std::map<std::string, std::vector<std::string>, std::less<>> texts_;
    std::map<std::string, uint64_t, std::less<>> numbers_;
    std::map<std::string, bool, std::less<>> booleans_;
    size_t values_ = 0;
};

// Writes one document; the caller calls in the right order. Names and numbers are the caller's, texts may be
// any bytes: what is no UTF-8 becomes U+FFFD.
class JsonBuilder {
  public:
    // An object or array; `name` is empty in arrays and at the top.
    JsonBuilder& begin_object(std::string_view name = {});
    JsonBuilder& end_object();
    JsonBuilder& begin_array(std::string_view name = {});
    JsonBuilder& end_array();
    JsonBuilder& text(std::string_view name, std::string_view value);
    JsonBuilder& number(std::string_view name, uint64_t value);
    JsonBuilder& boolean(std::string_view name, bool value);
    // A text that has nothing to escape, such as an id: for long arrays.
    JsonBuilder& plain(std::string_view name, std::string_view value);

    std::string take() { return std::move(out_); }

  private:
    void separate(std::string_view name);
    std::string out_;
};

// RFC 4648, section 4.
std::string encode_base64(std::string_view bytes);
// Throws Error(kCorrupt).
std::string decode_base64(std::string_view text);

}  // namespace inspect::repository
