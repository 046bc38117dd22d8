// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/context.h"
#include "cli/text.h"

namespace inspect::cli {
namespace {

constexpr std::chrono::milliseconds kFirst{500};  // short copies show nothing
constexpr std::chrono::milliseconds kInterval{100};

}  // namespace

std::string progress_line(uint64_t count, const std::string& path, size_t columns) {
    std::string head = std::to_string(count) + " ";
    std::string tail = escape_message(path);
    size_t room = columns > head.size() ? columns - head.size() : 0;
    if (tail.size() > room) {
        size_t dots = room < 3 ? room : 3;
        tail.erase(0, tail.size() - (room - dots));
        // Not in the middle of a character.
        while (!tail.empty() && (tail[0] & 0xc0) == 0x80) tail.erase(0, 1);
        tail.insert(0, dots, '.');
    }
    return head + tail;
}

Progress::Progress(bool wanted)
    : enabled_(wanted && isatty(2) == 1), next_(std::chrono::steady_clock::now() + kFirst) {}

Progress::~Progress() { wipe(); }

bool Progress::due(size_t& columns) {
    const auto now = std::chrono::steady_clock::now();
    if (!enabled_ || now < next_) return false;
    next_ = now + kInterval;
    winsize size = {};
    columns = ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1U : 79;
    shown_ = true;
    return true;
}

void Progress::step(const std::string& path) {
    ++count_;
    size_t columns = 0;
    if (due(columns)) write_stderr("\r\033[K" + progress_line(count_, path, columns));
}

void Progress::show(const std::string& line) {
    size_t columns = 0;
    if (due(columns)) write_stderr("\r\033[K" + line.substr(0, columns));
}

void Progress::wipe() {
    if (shown_) write_stderr("\r\033[K");
    shown_ = false;
}

}  // namespace inspect::cli
