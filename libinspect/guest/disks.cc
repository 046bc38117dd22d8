// SPDX-License-Identifier: LGPL-2.1-or-later
#include "guest/disks.h"

#include <algorithm>
#include <string>

#include "engine/engine_choice.h"

namespace inspect {

namespace {

void require_sane(const SessionOptions& options) {
    if (options.disks.empty()) throw Error(ErrorKind::kUsage, "no disk image was given");
    const EngineKind engine = parse_engine(options.engine);
    if (const size_t most = max_disks(engine); options.disks.size() > most)
        throw Error(ErrorKind::kUsage, std::to_string(options.disks.size()) + " disks were given; at most " +
                                           std::to_string(most) + " can be opened at once" +
                                           (engine == EngineKind::kQemu ? " with the engine qemu" : ""));
    for (const DiskSpec& spec : options.disks) require_valid(spec);
}

}  // namespace

Disks::Disks(const SessionOptions& options) {
    require_sane(options);
    for (const DiskSpec& spec : options.disks) {
        ImageOptions image_options;
        image_options.writable = options.writable && !options.scratch && !spec.read_only;
        image_options.write_mode = options.write_mode;
        std::unique_ptr<Image> image = Image::open(spec, image_options);
        // What a block device can't do smaller, the guest's kernel must not try.
        uint32_t sector_size = std::max(spec.sector_size, image->logical_block_size());
        disks_.push_back({std::move(image), sector_size});
    }
}

std::vector<EngineDisk> Disks::engine_disks() const {
    std::vector<EngineDisk> result;
    for (const Disk& disk : disks_) {
        EngineDisk engine;
        engine.node = disk.image->node().encode();
        engine.node_fds = disk.image->node().descriptors();
        if (const OverlayStore* overlay = disk.image->overlay()) {
            engine.overlay_memory_fd = overlay->memory_fd();
            engine.overlay_spill_fd = overlay->spill_fd();
            if (disk.image->session_size() > disk.image->size()) engine.size = disk.image->session_size();
        }
        engine.sector_size = disk.sector_size;
        engine.read_only = false;
        engine.serial = "insp-disk" + std::to_string(result.size());
        result.push_back(std::move(engine));
    }
    return result;
}

void Disks::find_zeros(const std::function<void()>& may_stop) {
    for (const Disk& disk : disks_)
        if (disk.image->writable()) disk.image->find_zeros(may_stop);
}

bool Disks::commit() {
    std::vector<Image*> writable;
    for (const Disk& disk : disks_)
        if (disk.image->writable()) writable.push_back(disk.image.get());
    return Image::commit(writable);
}

}  // namespace inspect
