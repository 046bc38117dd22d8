// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/disk_server.h"

#include <sys/socket.h>

#include <system_error>
#include <utility>

#include <inspect/error.h>

#include "base/checked.h"
#include "block/nbd_server.h"
#include "block/overlay.h"
#include "block/overlay_store.h"
#include "vmm/guest_disk.h"

namespace inspect {

std::unique_ptr<BlockDevice> open_disk(const VmmArguments::Disk& disk) {
    auto device = disk.node.open();
    if (disk.overlay_memory < 0) return device;
    const bool grows = disk.size > device->size();
    const uint64_t size = grows ? align_up(disk.size, OverlayStore::kBlockSize) : device->size();
    auto store = std::make_shared<OverlayStore>(Fd(disk.overlay_memory), Fd(disk.overlay_spill), size);
    auto overlay = std::make_unique<Overlay>(std::move(device), std::move(store));
    if (grows) overlay->resize(disk.size);
    return overlay;
}

struct DiskServer::Disk {
    Disk(const VmmArguments::Disk& disk, VmmStatus& status)
        : socket(disk.nbd),
          device(open_disk(disk), disk.block_size, disk.read_only, status),
          server(device, {.read_only = disk.read_only, .minimum_block = disk.block_size}) {}

    int socket;
    GuestDisk device;
    NbdServer server;
    Gate begun;
    std::thread thread;
};

DiskServer::DiskServer(const std::vector<VmmArguments::Disk>& disks, VmmStatus& status) {
    for (const VmmArguments::Disk& disk : disks) disks_.emplace_back(disk, status);
    try {
        for (Disk& disk : disks_) {
            disk.thread = std::thread([this, &disk] {
                disk.begun.open();
                go_.wait();
                disk.server.serve_connection(disk.socket);
            });
            disk.begun.wait();
        }
    } catch (const std::system_error&) {
        end_threads();
        throw Error(ErrorKind::kEngine, "the system has no thread left for a disk");
    }
}

DiskServer::~DiskServer() { end_threads(); }

void DiskServer::serve() { go_.open(); }

void DiskServer::end_threads() {
    for (Disk& disk : disks_) ::shutdown(disk.socket, SHUT_RD);
    go_.open();
    for (Disk& disk : disks_) {
        if (disk.thread.joinable()) disk.thread.join();
    }
}

void DiskServer::stop() {
    end_threads();
    for (Disk& disk : disks_) disk.device.flush();
}

}  // namespace inspect
