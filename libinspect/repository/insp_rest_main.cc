// SPDX-License-Identifier: LGPL-2.1-or-later
//
// insp-rest FD: makes the HTTP requests that come over the socket FD, one after the other, by libcurl. It
// ends with the socket. See repository/rest_storage.h for why it is a program of its own.
#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <inspect/error.h>

#include "base/fd.h"
#include "repository/rest_protocol.h"

namespace {

using namespace inspect;
using namespace inspect::repository::rest;

constexpr long kConnectTimeout = 30;
// A transfer that is slower than that many bytes a second for so many seconds has failed.
constexpr long kSlowest = 100, kSlowFor = 60;
constexpr char kListType[] = "Accept: application/vnd.x.restic.rest.v2";

struct Transfer {
    std::vector<std::byte> received;
    std::span<const std::byte> to_send;
};

size_t receive(char* data, size_t size, size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    const auto bytes = std::as_bytes(std::span(data, size * count));
    if (transfer.received.size() + bytes.size() > kMaxBody) return 0;
    transfer.received.insert(transfer.received.end(), bytes.begin(), bytes.end());
    return bytes.size();
}

size_t send(char* data, size_t size, size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    const size_t length = std::min(size * count, transfer.to_send.size());
    std::memcpy(data, transfer.to_send.data(), length);
    transfer.to_send = transfer.to_send.subspan(length);
    return length;
}

class Client {
  public:
    Client() : curl_(::curl_easy_init(), ::curl_easy_cleanup) {
        if (!curl_) throw std::bad_alloc();
    }

    // The HTTP status; 0, and the reason in transfer.received, when there was none.
    long perform(const Request& request, const std::string& url, Transfer& transfer) {
        CURL* const curl = curl_.get();
        ::curl_easy_reset(curl);  // keeps the connection
        char message[CURL_ERROR_SIZE] = "";
        const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(
            ::curl_slist_append(::curl_slist_append(nullptr, "Expect:"),
                                request.list != 0 ? kListType : "Content-Type: application/octet-stream"),
            ::curl_slist_free_all);
        ::curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
        ::curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        ::curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
        ::curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeout);
        ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, kSlowest);
        ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kSlowFor);
        ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
        ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
        ::curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
        if (const char* user = std::getenv("RESTIC_REST_USERNAME"))
            ::curl_easy_setopt(curl, CURLOPT_USERNAME, user);
        if (const char* password = std::getenv("RESTIC_REST_PASSWORD"))
            ::curl_easy_setopt(curl, CURLOPT_PASSWORD, password);
        set_method(request, transfer);
        const CURLcode code = ::curl_easy_perform(curl);
        long status = 0;
        if (code == CURLE_OK) {
            ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
            return status;
        }
        const std::string why = *message != '\0' ? message : ::curl_easy_strerror(code);
        const auto bytes = std::as_bytes(std::span(why));
        transfer.received.assign(bytes.begin(), bytes.end());
        return 0;
    }

  private:
    void set_method(const Request& request, Transfer& transfer) {
        CURL* const curl = curl_.get();
        switch (request.method) {
            case Method::kGet:
                if (request.range_length != 0) {
                    const std::string range = std::to_string(request.range_offset) + "-" +
                                              std::to_string(request.range_offset + request.range_length - 1);
                    ::curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
                }
                break;
            case Method::kHead:
                ::curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
                break;
            case Method::kPost:
                ::curl_easy_setopt(curl, CURLOPT_POST, 1L);
                ::curl_easy_setopt(curl, CURLOPT_READFUNCTION, send);
                ::curl_easy_setopt(curl, CURLOPT_READDATA, &transfer);
                ::curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                                   static_cast<curl_off_t>(request.body_length));
                break;
            case Method::kDelete:
                ::curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, "DELETE");
                break;
        }
    }

    std::unique_ptr<CURL, void (*)(CURL*)> curl_;
};

// False at the end of the socket.
bool serve_one(int socket, Client& client) {
    const char* what = "talk to insp";
    Request request{};
    if (read_full(socket, std::as_writable_bytes(std::span(&request, 1)), what) != sizeof request)
        return false;
    if (request.url_length > kMaxUrl || request.body_length > kMaxBody) return false;
    std::string url(request.url_length, '\0');
    std::vector<std::byte> body(request.body_length);
    if (read_full(socket, std::as_writable_bytes(std::span(url)), what) != url.size() ||
        read_full(socket, body, what) != body.size())
        return false;
    Transfer transfer{{}, body};
    Answer answer{};
    answer.status = static_cast<uint32_t>(client.perform(request, url, transfer));
    answer.body_length = transfer.received.size();
    write_full(socket, std::as_bytes(std::span(&answer, 1)), what);
    write_full(socket, transfer.received, what);
    return true;
}

}  // namespace

int main(int argc, char* argv[]) {
    const int socket = argc == 2 ? std::atoi(argv[1]) : -1;
    if (socket < 3 || ::curl_global_init(CURL_GLOBAL_DEFAULT) != 0) return 2;
    try {
        Client client;
        while (serve_one(socket, client)) continue;
    } catch (const std::exception&) {
        return 1;  // insp has gone
    }
    return 0;
}
