// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inspect/image.h: an image as an NBD export.
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include <inspect/image.h>

#include "block/image.h"
#include "block/nbd_listen.h"
#include "block/nbd_server.h"
#include "block/nbd_uri.h"
#include "block/overlay.h"

namespace inspect {

namespace {

// Removes the socket's name again.
class SocketName {
  public:
    explicit SocketName(std::string path) : path_(std::move(path)) {}
    ~SocketName() {
        if (!path_.empty()) ::unlink(path_.c_str());
    }
    SocketName(const SocketName&) = delete;
    SocketName& operator=(const SocketName&) = delete;

  private:
    std::string path_;
};

}  // namespace

bool serve_image(const DiskSpec& disk, const ServeOptions& options) {
    auto image = Image::open(disk, {.writable = options.writable, .write_mode = options.write_mode});
    auto device = image->node().open();
    if (options.writable && image->overlay() != nullptr) {
        const uint64_t size = device->size();
        auto store = std::make_shared<OverlayStore>(dup_fd(image->overlay()->memory_fd()),
                                                    dup_fd(image->overlay()->spill_fd()), size);
        device = std::make_unique<Overlay>(std::move(device), std::move(store));
    }
    NbdServerOptions server_options;
    server_options.name = options.export_name;
    server_options.description = disk.path.substr(0, 4096);
    server_options.read_only = !options.writable;
    server_options.end_with_last_client = options.once;
    NbdServer server(*device, server_options);
    const bool by_name = !options.socket_path.empty();
    Fd listening = by_name ? listen_on_unix_socket(options.socket_path) : listen_on_loopback(options.port);
    {
        SocketName name(by_name ? options.socket_path : "");
        if (options.on_ready) {
            const std::string path = percent_encoded(options.export_name);
            options.on_ready(
                by_name ? "nbd+unix:///" + path + "?socket=" +
                              percent_encoded(
                                  std::filesystem::absolute(options.socket_path).lexically_normal().string())
                        : "nbd://127.0.0.1:" + std::to_string(local_port(listening.get())) + "/" + path);
        }
        server.serve(listening.get(), options.stop_fd);
    }
    if (!options.writable) return false;
    device->flush();
    device.reset();
    return image->commit();
}

}  // namespace inspect
