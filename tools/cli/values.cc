// SPDX-License-Identifier: GPL-2.0-or-later
//
// The values of options: numbers, words, sizes, modes, times.
#include "cli/values.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "cli/text.h"

namespace inspect::cli {
namespace {

// Takes exactly `digits` decimal digits from the front.
bool take_number(std::string_view& text, size_t digits, int& value) {
    if (text.size() < digits) return false;
    value = 0;
    for (size_t i = 0; i < digits; ++i) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (text[i] - '0');
    }
    text.remove_prefix(digits);
    return true;
}

bool take(std::string_view& text, char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
}

// ".123456789" (one to nine digits) as nanoseconds; nothing there is 0.
bool take_fraction(std::string_view& text, int64_t& ns) {
    ns = 0;
    if (!take(text, '.')) return true;
    int64_t unit = 100'000'000;
    size_t digits = 0;
    for (; !text.empty() && text[0] >= '0' && text[0] <= '9' && digits < 9; ++digits) {
        ns += (text[0] - '0') * unit;
        unit /= 10;
        text.remove_prefix(1);
    }
    return digits > 0;
}

std::optional<int64_t> join(int64_t seconds, int64_t ns) {
    int64_t out;
    if (__builtin_mul_overflow(seconds, int64_t{1'000'000'000}, &out) ||
        __builtin_add_overflow(out, ns, &out))
        return std::nullopt;
    return out;
}

std::optional<int64_t> parse_epoch(std::string_view text) {
    int64_t seconds = 0;
    bool negative = text.starts_with('-');
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    int64_t ns = 0;
    if (!take_fraction(text, ns) || !text.empty()) return std::nullopt;
    return join(seconds, negative ? -ns : ns);
}

}  // namespace

std::optional<uint64_t> number_of(const Arguments& arguments, const char* option, uint64_t most) {
    const std::optional<std::string> text = arguments.value(option);
    if (!text) return std::nullopt;
    const std::optional<uint64_t> number = parse_number(*text);
    if (!number || *number > most)
        throw UsageError(std::string("--") + option + " is a number up to " + std::to_string(most) +
                         ", not '" + *text + "'");
    return number;
}

std::string one_of(const Arguments& arguments, const char* option,
                   std::initializer_list<std::string_view> words, std::string_view otherwise) {
    const std::optional<std::string> word = arguments.value(option);
    if (!word) return std::string(otherwise);
    if (std::ranges::find(words, *word) != words.end()) return *word;
    std::string message = std::string("--") + option + " is ";
    for (size_t i = 0; i < words.size(); ++i) {
        if (i > 0) message += i + 1 == words.size() ? " or " : ", ";
        message += "'" + std::string(words.begin()[i]) + "'";
    }
    throw UsageError(message + ", not '" + *word + "'");
}

std::optional<uint64_t> parse_number(std::string_view text) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

std::optional<uint64_t> parse_size(std::string_view text, uint64_t unit) {
    uint64_t number = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (!text.empty()) {
        constexpr std::string_view kSuffixes = "KMGT";
        char letter = text[0] == 'k' || text[0] == 'm' || text[0] == 'g' || text[0] == 't'
                          ? static_cast<char>(text[0] - 'a' + 'A')
                          : text[0];
        size_t power = kSuffixes.find(letter);
        if (power == std::string_view::npos) return std::nullopt;
        unit = uint64_t{1} << (10 * (power + 1));
        text.remove_prefix(1);
        if (!text.empty() && text != "B" && text != "iB") return std::nullopt;
    }
    uint64_t bytes;
    if (__builtin_mul_overflow(number, unit, &bytes)) return std::nullopt;
    return bytes;
}

std::optional<uint32_t> parse_octal_mode(std::string_view text) {
    uint32_t mode = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (error != std::errc() || end != text.data() + text.size() || mode > 07777) return std::nullopt;
    return mode;
}

std::optional<int64_t> parse_time(std::string_view text) {
    if (take(text, '@')) return parse_epoch(text);
    int year = 0;
    int month = 0;
    int day = 0;
    if (!take_number(text, 4, year) || !take(text, '-') || !take_number(text, 2, month) || !take(text, '-') ||
        !take_number(text, 2, day))
        return std::nullopt;
    if (month < 1 || month > 12 || day < 1) return std::nullopt;
    constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > kDays[month - 1] + (month == 2 && leap ? 1 : 0)) return std::nullopt;
    struct tm fields = {};
    fields.tm_year = year - 1900;
    fields.tm_mon = month - 1;
    fields.tm_mday = day;
    fields.tm_isdst = -1;
    int64_t ns = 0;
    if (take(text, 'T') || take(text, ' ')) {
        if (!take_number(text, 2, fields.tm_hour) || !take(text, ':') || !take_number(text, 2, fields.tm_min))
            return std::nullopt;
        if (take(text, ':') && (!take_number(text, 2, fields.tm_sec) || !take_fraction(text, ns)))
            return std::nullopt;
    }
    if (fields.tm_hour > 23 || fields.tm_min > 59 || fields.tm_sec > 60) return std::nullopt;
    if (text.empty()) return join(mktime(&fields), ns);
    int64_t offset = 0;
    if (!take(text, 'Z')) {
        bool west = text.starts_with('-');
        if (!west && !text.starts_with('+')) return std::nullopt;
        text.remove_prefix(1);
        int hours = 0;
        int minutes = 0;
        if (!take_number(text, 2, hours)) return std::nullopt;
        take(text, ':');
        if (!take_number(text, 2, minutes) || hours > 14 || minutes > 59) return std::nullopt;
        offset = (hours * 60 + minutes) * 60 * (west ? -1 : 1);
    }
    if (!text.empty()) return std::nullopt;
    return join(timegm(&fields) - offset, ns);
}

}  // namespace inspect::cli
