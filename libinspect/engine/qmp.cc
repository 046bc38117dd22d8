// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/qmp.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include <inspect/error.h>

#include "engine/vmm_child.h"

namespace inspect {

using nlohmann::json;

namespace {

constexpr int kTimeoutMs = 20'000;
constexpr size_t kMaxLine = 64 * 1024;

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorKind::kEngine, "QEMU's monitor " + what); }

json parse(const std::string& line) {
    json message = json::parse(line, nullptr, false);
    if (!message.is_object()) fail("said something that is no JSON object");
    return message;
}

// A member that is a string; empty where there is none.
std::string text_of(const json& object, const char* member) {
    const auto found = object.find(member);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

std::string Qmp::line() {
    for (;;) {
        if (const size_t end = received_.find('\n'); end != received_.npos) {
            std::string text = received_.substr(0, end);
            received_.erase(0, end + 1);
            return text;
        }
        if (received_.size() > kMaxLine) fail("says too much");
        pollfd waits[] = {{socket_.get(), POLLIN, 0}, {interrupt_fd_, POLLIN, 0}};
        const int ready = ::poll(waits, std::size(waits), kTimeoutMs);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) fail("does not answer");
        if (waits[1].revents != 0) throw Error(ErrorKind::kCancelled, "interrupted");
        char buffer[4096];
        const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (n > 0) {
            received_.append(buffer, static_cast<size_t>(n));
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            fail("hung up");
        }
    }
}

void Qmp::send(std::string request, int fd) {
    iovec piece = {request.data(), request.size()};
    msghdr message = {};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    if (fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    ssize_t n;
    do {
        n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    // Commands are smaller than any socket's buffer.
    if (n != static_cast<ssize_t>(request.size())) fail("hung up");
}

void Qmp::execute(const std::string& command, const std::string& arguments) {
    send(
        R"({"execute":")" + command + '"' + (arguments.empty() ? "" : R"(,"arguments":)" + arguments) + "}\n",
        -1);
    await_answer(command);
}

void Qmp::give_fd(const std::string& name, int fd) {
    send(R"({"execute":"getfd","arguments":{"fdname":")" + name + "\"}}\n", fd);
    await_answer("getfd");
}

void Qmp::await_answer(const std::string& command) {
    for (;;) {
        const json message = parse(line());
        if (message.contains("return")) return;
        const auto error = message.find("error");
        if (error == message.end()) continue;
        const std::string why = error->is_object() ? text_of(*error, "desc") : "";
        fail("refused " + command + ": " + printable_console(why));
    }
}

void Qmp::await_event(const std::string& name, const std::string& status) {
    for (;;) {
        const json message = parse(line());
        if (text_of(message, "event") != name) continue;
        if (status.empty()) return;
        const auto data = message.find("data");
        const std::string now = data != message.end() && data->is_object() ? text_of(*data, "status") : "";
        if (now == status) return;
        if (now == "failed") fail("told that it failed: " + name);
    }
}

}  // namespace inspect
