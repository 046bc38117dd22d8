// SPDX-License-Identifier: GPL-2.0-or-later
//
// Bytes and numbers as text: what --long, --csv and messages have in common. All functions are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inspect::cli {

// The length of the valid UTF-8 sequence at the front of `bytes` (1 to 4), 0 where there is none. Overlong
// forms, surrogates and what is above U+10FFFF are not valid (Unicode 15, table 3-7).
size_t utf8_sequence_length(std::string_view bytes);
bool is_utf8(std::string_view bytes);
// What is not valid as U+FFFD, one a byte.
std::string valid_utf8(std::string_view bytes);

// For a line on a terminal: control characters (C0, DEL, C1) become \n, \t, \x1b; so do bytes that are not
// UTF-8. Not reversible: a backslash stays as it is.
std::string escape_message(std::string_view bytes);
// The same, but bytes that are not UTF-8 stay: for names, which have an encoding of their own.
std::string escape_control(std::string_view bytes);

// "512", "1.0K", "7.3G": powers of 1024, rounded up as ls(1) and df(1) do.
std::string human_size(uint64_t bytes);

// A field of RFC 4180 CSV: quoted where it has a space, comma, quote, CR or LF.
std::string csv_field(std::string_view text);

// "drwxr-sr-t"
std::string mode_string(uint32_t mode);
// '-', 'd', 'c', 'b', 'p', 'l', 's', 'u' for an st_mode, as virt-ls has it.
char type_letter(uint32_t mode);
// "file", "directory", "symlink", "character-device", "block-device", "fifo", "socket", "unknown"
std::string_view type_word(uint32_t mode);
// The S_IF* bits of a directory entry's DT_* type; 0 where it is unknown.
uint32_t mode_of_dirent_type(uint8_t type);

// "2023-01-02 03:04:05" in the local time zone.
std::string local_time(int64_t time_ns);
// "2023-01-02T03:04:05.000000000Z"
std::string utc_time(int64_t time_ns);

// Rows as aligned columns, `gap` between them; numbers to the right where `right` says so. Every row ends in
// '\n'.
std::string table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right,
                  std::string_view gap = "  ");

// ---- values of options. nullopt: not understood.

// Decimal digits, and nothing else.
std::optional<uint64_t> parse_number(std::string_view text);
// A number with an optional suffix K, M, G, T (powers of 1024, "iB" or "B" may follow); without a suffix in
// units of `unit` bytes.
std::optional<uint64_t> parse_size(std::string_view text, uint64_t unit);
// Octal permissions, 0 to 07777.
std::optional<uint32_t> parse_octal_mode(std::string_view text);
// "@SECONDS[.FRACTION]", or "YYYY-MM-DD[(T| )HH:MM[:SS[.FRACTION]]][Z|(+|-)HH[:]MM]"; local time where no
// zone is given. Nanoseconds since the epoch.
std::optional<int64_t> parse_time(std::string_view text);

}  // namespace inspect::cli
