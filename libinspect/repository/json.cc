// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/json.h"

#include <openssl/evp.h>

#include <nlohmann/json.hpp>

#include <inspect/error.h>

namespace inspect::repository {

namespace {

constexpr size_t kMaxDepth = 32, kMaxName = 4096, kMaxValues = 100'000;

[[noreturn]] void damaged_json(const std::string& why) {
    throw Error(ErrorKind::kCorrupt, "its JSON " + why);
}

// Gives nlohmann's events on, with the path that leads to them.
class Events final : public nlohmann::json_sax<nlohmann::json> {
  public:
    explicit Events(JsonVisitor& visitor) : visitor_(visitor) {}

    bool null() override { return true; }
    bool boolean(bool value) override {
        visitor_.boolean(path_, value);
        return true;
    }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t value) override {
        visitor_.number(path_, value);
        return true;
    }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t& value) override {
        visitor_.text(path_, value);
        return true;
    }
    bool binary(binary_t&) override { return true; }
    bool start_object(size_t) override {
        visitor_.begin_object(path_);
        push();
        return true;
    }
    bool key(string_t& name) override {
        if (name.size() > kMaxName) damaged_json("has a name that is too long");
        path_.resize(ends_.back());
        if (!path_.empty()) path_ += '.';
        // A name must not look like a path of several.
        for (char c : name) path_ += c == '.' || c == '[' || c == ']' ? '?' : c;
        return true;
    }
    bool end_object() override {
        pop();
        visitor_.end_object(path_);
        return true;
    }
    bool start_array(size_t) override {
        push();
        path_ += "[]";
        return true;
    }
    bool end_array() override {
        pop();
        return true;
    }
    bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
        damaged_json("can't be understood from its byte " + std::to_string(position) + " on");
    }

  private:
    void push() {
        if (ends_.size() >= kMaxDepth) damaged_json("nests too deeply");
        ends_.push_back(path_.size());
    }
    void pop() {
        path_.resize(ends_.back());
        ends_.pop_back();
    }

    JsonVisitor& visitor_;
    std::string path_;
    std::vector<size_t> ends_;  // how long the path was outside of each object or array that is open
};

}  // namespace

void JsonVisitor::text(std::string_view, std::string&) {}
void JsonVisitor::number(std::string_view, uint64_t) {}
void JsonVisitor::boolean(std::string_view, bool) {}
void JsonVisitor::begin_object(std::string_view) {}
void JsonVisitor::end_object(std::string_view) {}

void parse_json(std::string_view text, JsonVisitor& visitor) {
    Events events(visitor);
    nlohmann::json::sax_parse(text.begin(), text.end(), &events);
}

JsonFields::JsonFields(std::string_view text) { parse_json(text, *this); }

void JsonFields::count() {
    if (++values_ > kMaxValues) damaged_json("has too many values");
}
void JsonFields::text(std::string_view path, std::string& value) {
    count();
    texts_[std::string(path)].push_back(std::move(value));
}
void JsonFields::number(std::string_view path, uint64_t value) {
    count();
    numbers_[std::string(path)] = value;
}
void JsonFields::boolean(std::string_view path, bool value) {
    count();
    booleans_[std::string(path)] = value;
}

std::string JsonFields::text(std::string_view path) const {
    const auto found = texts_.find(path);
    return found == texts_.end() ? "" : found->second.back();
}
std::optional<uint64_t> JsonFields::number(std::string_view path) const {
    const auto found = numbers_.find(path);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
}
bool JsonFields::boolean(std::string_view path) const {
    const auto found = booleans_.find(path);
    return found != booleans_.end() && found->second;
}
std::vector<std::string> JsonFields::texts(std::string_view path) const {
    const auto found = texts_.find(path);
    return found == texts_.end() ? std::vector<std::string>() : found->second;
}
std::string JsonFields::require_text(std::string_view path) const {
    const auto found = texts_.find(path);
    if (found == texts_.end()) damaged_json("has no '" + std::string(path) + "'");
    return found->second.back();
}
uint64_t JsonFields::require_number(std::string_view path) const {
    const auto found = number(path);
    if (!found) damaged_json("has no '" + std::string(path) + "'");
    return *found;
}

void JsonBuilder::separate(std::string_view name) {
    if (!out_.empty() && out_.back() != '{' && out_.back() != '[') out_ += ',';
    if (!name.empty()) (((out_ += '"') += name) += "\":");
}
JsonBuilder& JsonBuilder::begin_object(std::string_view name) {
    separate(name);
    out_ += '{';
    return *this;
}
JsonBuilder& JsonBuilder::end_object() {
    out_ += '}';
    return *this;
}
JsonBuilder& JsonBuilder::begin_array(std::string_view name) {
    separate(name);
    out_ += '[';
    return *this;
}
JsonBuilder& JsonBuilder::end_array() {
    out_ += ']';
    return *this;
}
JsonBuilder& JsonBuilder::text(std::string_view name, std::string_view value) {
    separate(name);
    out_ += nlohmann::json(std::string(value)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return *this;
}
JsonBuilder& JsonBuilder::number(std::string_view name, uint64_t value) {
    separate(name);
    out_ += std::to_string(value);
    return *this;
}
JsonBuilder& JsonBuilder::boolean(std::string_view name, bool value) {
    separate(name);
    out_ += value ? "true" : "false";
    return *this;
}
JsonBuilder& JsonBuilder::plain(std::string_view name, std::string_view value) {
    separate(name);
    ((out_ += '"') += value) += '"';
    return *this;
}

std::string encode_base64(std::string_view bytes) {
    std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
    const int length = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                         reinterpret_cast<const unsigned char*>(bytes.data()),
                                         static_cast<int>(bytes.size()));
    out.resize(static_cast<size_t>(length));
    return out;
}

std::string decode_base64(std::string_view text) {
    if (text.size() % 4 != 0 || text.size() > 1U << 20)
        throw Error(ErrorKind::kCorrupt, "it has damaged base64");
    std::string out(text.size() / 4 * 3, '\0');
    const int length =
        ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                          reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
    // What stands for the padding is decoded as zeros.
    const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
    if (length < 0 || static_cast<size_t>(length) != out.size() || padding > out.size())
        throw Error(ErrorKind::kCorrupt, "it has damaged base64");
    out.resize(out.size() - padding);
    return out;
}

}  // namespace inspect::repository
