// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/clone.h: what clones are called.
#include <optional>

#include <inspect/clone.h>

namespace inspect {

namespace {

constexpr size_t kMaxName = 200;  // a file's name has 255 bytes; an ending and a temporary one need room
constexpr uint64_t kMaxClones = 100'000;
constexpr unsigned kMaxWidth = 20;

// A pattern, taken apart at its %d.
struct Pattern {
    std::string before, after;
    bool numbered = false;
    bool zeros = false;
    unsigned width = 0;
};

Error wrong(std::string_view pattern, const std::string& why) {
    return Error(ErrorKind::kUsage, "the name pattern '" + std::string(pattern) + "' " + why);
}

Pattern parse_pattern(std::string_view text) {
    Pattern pattern;
    for (size_t i = 0; i < text.size(); ++i) {
        std::string& part = pattern.numbered ? pattern.after : pattern.before;
        if (text[i] != '%') {
            part += text[i];
            continue;
        }
        if (++i < text.size() && text[i] == '%') {
            part += '%';
            continue;
        }
        if (pattern.numbered) throw wrong(text, "has more than one number");
        if (i < text.size() && text[i] == '0') {
            pattern.zeros = true;
            ++i;
        }
        for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
            pattern.width = pattern.width * 10 + static_cast<unsigned>(text[i] - '0');
            if (pattern.width > kMaxWidth) throw wrong(text, "has too wide a number");
        }
        if (i >= text.size() || text[i] != 'd')
            throw wrong(text, "has a '%' that is neither %d, %03d nor %%");
        pattern.numbered = true;
    }
    return pattern;
}

std::string name_of(const Pattern& pattern, uint64_t number) {
    std::string digits = std::to_string(number);
    if (digits.size() < pattern.width)
        digits.insert(0, pattern.width - digits.size(), pattern.zeros ? '0' : ' ');
    return pattern.before + (pattern.numbered ? digits + pattern.after : "");
}

}  // namespace

std::vector<std::string> clone_names(std::string_view pattern, uint64_t start, uint64_t count) {
    if (count == 0) throw Error(ErrorKind::kUsage, "no clones at all were asked for");
    if (count > kMaxClones || start > UINT64_MAX - kMaxClones)
        throw Error(ErrorKind::kUsage, "at most " + std::to_string(kMaxClones) + " clones are made at once");
    const Pattern parsed = parse_pattern(pattern);
    if (count > 1 && !parsed.numbered)
        throw wrong(pattern, "makes equal names: it needs a number, %d or %03d");
    std::vector<std::string> names;
    for (uint64_t i = 0; i < count; ++i) {
        std::string name = name_of(parsed, start + i);
        if (name.empty() || name == "." || name == ".." || name.size() > kMaxName ||
            name.find('/') != name.npos || name.find('\0') != name.npos)
            throw wrong(pattern, "makes '" + name + "', which can't be a file's name");
        names.push_back(std::move(name));
    }
    return names;
}

CloneTarget clone_target(const std::string& directory, const std::string& name,
                         const std::vector<std::string>& formats) {
    CloneTarget target{name, {}};
    const std::string start = directory.ends_with('/') ? directory + name : directory + "/" + name;
    for (size_t i = 0; i < formats.size(); ++i) {
        const std::string number = i == 0 ? "" : "-" + std::to_string(i + 1);
        // A logical volume has no ending.
        const bool volume = directory.starts_with("/dev/");
        const std::string ending = volume ? "" : formats[i] == "raw" ? ".img" : "." + formats[i];
        target.paths.push_back(start + number + ending);
    }
    return target;
}

CloneMethod parse_clone_method(std::string_view name) {
    for (const CloneMethod method : {CloneMethod::kAuto, CloneMethod::kReflink, CloneMethod::kOverlay,
                                     CloneMethod::kCopy, CloneMethod::kLvmSnapshot})
        if (name == clone_method_name(method)) return method;
    throw Error(ErrorKind::kUsage,
                "the method is 'auto', 'reflink', 'overlay', 'copy' or 'lvm-snapshot', not '" +
                    std::string(name) + "'");
}

std::string_view clone_method_name(CloneMethod method) noexcept {
    switch (method) {
        case CloneMethod::kAuto:
            return "auto";
        case CloneMethod::kReflink:
            return "reflink";
        case CloneMethod::kOverlay:
            return "overlay";
        case CloneMethod::kCopy:
            return "copy";
        case CloneMethod::kLvmSnapshot:
            return "lvm-snapshot";
    }
    return "";
}

}  // namespace inspect
