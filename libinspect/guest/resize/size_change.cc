// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Sizes as the user writes them: "2G", "+512M", "-10%".
#include <cmath>
#include <string>

#include <inspect/resize.h>

#include "base/checked.h"
#include "guest/printable.h"

namespace inspect {

namespace {

constexpr uint64_t kMost = uint64_t{1} << 63;
constexpr uint64_t kWholePercent = 1000;  // thousandths of a percent
constexpr uint64_t kWhole = 100 * kWholePercent;

[[noreturn]] void reject(std::string_view text, const std::string& why) {
    throw Error(ErrorKind::kUsage, "the size " + quoted(text) + " " + why);
}

// The factor of a unit; nullopt: there is no such unit.
std::optional<uint64_t> unit_bytes(std::string_view unit) {
    if (unit.empty() || unit == "b" || unit == "B") return 1;
    if (unit == "s") return 512;
    constexpr std::string_view kLetters = "KMGTP";
    const char letter = unit[0] == 'k' ? 'K' : unit[0];
    const size_t index = kLetters.find(letter);
    if (index == std::string_view::npos) return std::nullopt;
    unit.remove_prefix(1);
    if (!unit.empty() && unit != "B" && unit != "iB") return std::nullopt;
    return uint64_t{1} << (10 * (index + 1));
}

// "12.5" times `factor`, rounded down. nullopt: no number, or too big.
std::optional<uint64_t> scaled(std::string_view number, uint64_t factor) {
    uint64_t whole = 0;
    size_t at = 0;
    for (; at < number.size() && number[at] >= '0' && number[at] <= '9'; ++at) {
        auto tens = checked_mul<uint64_t>(whole, 10);
        auto sum =
            tens ? checked_add<uint64_t>(*tens, static_cast<uint64_t>(number[at] - '0')) : std::nullopt;
        if (!sum) return std::nullopt;
        whole = *sum;
    }
    if (at == 0) return std::nullopt;
    auto result = checked_mul(whole, factor);
    if (!result || at == number.size()) return result;
    if (number[at] != '.' || number.size() == at + 1) return std::nullopt;
    uint64_t part = factor;  // the digits after the point, each worth a tenth of the one before it
    uint64_t sum = 0;
    for (++at; at < number.size(); ++at) {
        if (number[at] < '0' || number[at] > '9') return std::nullopt;
        const uint64_t digit = static_cast<uint64_t>(number[at] - '0');
        sum += part / 10 * digit + part % 10 * digit / 10;
        part /= 10;
    }
    return checked_add(*result, sum);
}

}  // namespace

SizeChange SizeChange::parse(std::string_view text) {
    SizeChange change;
    std::string_view rest = text;
    if (rest.starts_with('+') || rest.starts_with('-')) {
        change.kind = Kind::kBy;
        change.negative = rest[0] == '-';
        rest.remove_prefix(1);
    }
    const size_t digits = rest.find_first_not_of("0123456789.");
    const std::string_view number = rest.substr(0, digits);
    const std::string_view unit = digits == rest.npos ? std::string_view{} : rest.substr(digits);
    std::optional<uint64_t> factor = kWholePercent;
    change.percent = unit == "%";
    if (!change.percent) factor = unit_bytes(unit);
    if (number.empty() || !factor)
        reject(text, "is not understood: write a number with K, M, G, T or %, such as 20G, +512M or -10%");
    const std::optional<uint64_t> amount = scaled(number, *factor);
    if (!amount || *amount >= kMost) reject(text, "is no number or too big");
    if (*amount == 0) reject(text, "is 0");
    change.amount = *amount;
    return change;
}

uint64_t SizeChange::apply(uint64_t size) const {
    uint64_t by = amount;
    if (percent) {
        const long double exact = static_cast<long double>(size) * static_cast<long double>(amount) / kWhole;
        if (!(exact < static_cast<long double>(kMost)))
            throw Error(ErrorKind::kUsage, "the new size is too big");
        by = static_cast<uint64_t>(std::floor(exact));
    }
    uint64_t result = by;
    if (kind == Kind::kBy && negative) {
        if (by >= size)
            throw Error(ErrorKind::kUsage, "nothing would be left of the size of " + std::to_string(size) +
                                               " bytes: " + std::to_string(by) + " are to be taken from it");
        result = size - by;
    } else if (kind == Kind::kBy) {
        result = checked_add(size, by).value_or(kMost);
    }
    if (result == 0 || result >= kMost) throw Error(ErrorKind::kUsage, "the new size is 0 or too big");
    return result;
}

}  // namespace inspect
