// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/image.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <inspect/error.h>

#include "base/checked.h"
#include "base/log.h"
#include "block/backup_open.h"
#include "block/format.h"
#include "block/iovec.h"
#include "block/json_name.h"
#include "block/nbd_open.h"
#include "block/nbd_uri.h"
#include "block/overlay.h"
#include "block/qcow2/qcow2.h"
#include "block/qcow2_repair.h"
#include "block/qsd.h"
#include "block/qsd_location.h"
#include "block/raw.h"
#include "block/recovery.h"
#include "block/sparse_copy.h"

namespace inspect {

namespace {

// Of the formats that qemu-storage-daemon reads, those whose images can't name another file, so that an image
// that only looks like one may be opened.
constexpr std::string_view kSelfContained[] = {"vdi", "vpc", "vhdx", "parallels"};

std::string quote(const std::string& text) { return "'" + text + "'"; }

bool is_remote(std::string_view location) { return NbdUri::looks_like(location) || qsd_is_remote(location); }

QsdCache qsd_cache(CacheMode mode) {
    switch (mode) {
        case CacheMode::kWriteback:
            return QsdCache::kWriteback;
        case CacheMode::kNone:
            return QsdCache::kNone;
        case CacheMode::kWritethrough:
            return QsdCache::kWritethrough;
        case CacheMode::kDirectsync:
            return QsdCache::kDirectsync;
        case CacheMode::kUnsafe:
            return QsdCache::kUnsafe;
    }
    throw Error(ErrorKind::kInternal, "an unknown cache mode");
}

bool past_page_cache(CacheMode mode) { return mode == CacheMode::kNone || mode == CacheMode::kDirectsync; }

}  // namespace

// Builds the node of an image and of everything that it stands on.
class Image::Opener {
  public:
    explicit Opener(Image& image) : image_(image), spec_(image.spec_) {}

    void open() {
        require_valid(spec_);
        std::string format = spec_.format;
        const bool write_directly =
            image_.options_.writable && image_.options_.write_mode == WriteMode::kDirect;
        if (image_.options_.writable && !spec_.snapshot.empty())
            throw Error(ErrorKind::kUsage,
                        "a snapshot in " + quote(spec_.path) + " can be read, but not be changed");
        if (BackupLocation::looks_like(spec_.path)) {
            image_.node_ = backup();
            format = "raw";
        } else if (is_remote(spec_.path)) {
            if (format.empty()) format = "raw";
            image_.node_ = remote(spec_.path, format, write_directly);
        } else {
            DiskNode file = local(spec_.path, image_.options_.writable);
            image_.detected_ = format.empty();
            if (image_.detected_) format = detect(file);
            if (format == "qcow2" && spec_.repair != Repair::kNone) file = repaired(std::move(file));
            image_.node_ = top(std::move(file), format, write_directly);
        }
        image_.format_ = format;
        if (format != "qcow2" && !spec_.snapshot.empty())
            throw Error(ErrorKind::kUnsupported, quote(spec_.path) + " is a " + format +
                                                     " image: only qcow2 images have internal snapshots");
        image_.node_.sync_writes = write_directly && (spec_.cache == CacheMode::kWritethrough ||
                                                      spec_.cache == CacheMode::kDirectsync);
        image_.node_.ignore_flush = write_directly && spec_.cache == CacheMode::kUnsafe;
        image_.node_.guard_first_sector = write_directly && image_.detected_ && format == "raw";
        image_.size_ = image_.node_.open()->size();
        if (image_.size_ == 0)
            throw Error(ErrorKind::kCorrupt, quote(spec_.path) + " is empty, not a disk image");
    }

  private:
    DiskNode top(DiskNode file, const std::string& format, bool write_directly) {
        switch (parse_image_format(format)) {
            case ImageFormat::kRaw:
                require_a_sector(file);
                file.writable = write_directly;
                if (write_directly) file.fd = image_.files_[0]->write_fd();
                return file;
            case ImageFormat::kQcow2: {
                const bool may_open_others = !image_.detected_ || spec_.allow_backing;
                if (Qcow2Header::is_luks(*file.open())) {
                    if (!spec_.snapshot.empty())
                        throw Error(ErrorKind::kUnsupported, "a snapshot in " + quote(spec_.path) +
                                                                 ", which is encrypted, can't be opened");
                    image_.encrypted_ = true;
                    image_.files_.clear();  // with their locks, which the daemon takes itself
                    return daemon(spec_.path, format, image_.options_.writable, may_open_others,
                                  keys_for(spec_.path));
                }
                if (write_directly) {
                    file.writable = true;
                    file.fd = image_.files_[0]->write_fd();
                }
                return qcow2(std::move(file), spec_.path, may_open_others, write_directly, 0);
            }
            case ImageFormat::kOther:
                break;
        }
        if (image_.detected_ && !spec_.allow_backing &&
            std::find(std::begin(kSelfContained), std::end(kSelfContained), format) ==
                std::end(kSelfContained)) {
            throw Error(ErrorKind::kDenied,
                        quote(spec_.path) + " looks like a " + format +
                            " image, which may name other files of this host; give --format=" + format +
                            " if that is what it is, or --format=raw if it isn't");
        }
        // The daemon takes the locks itself.
        image_.files_.clear();
        image_.encrypted_ = format == "luks";
        return daemon(spec_.path, format, image_.options_.writable, !image_.detected_ || spec_.allow_backing,
                      image_.encrypted_ ? keys_for(spec_.path) : std::vector<EncryptionKey>());
    }

    DiskNode local(const std::string& path, bool writable) {
        ImageFileOptions options;
        options.writable = writable;
        options.journalled = image_.options_.write_mode == WriteMode::kAtomic;
        options.force_share = spec_.force_share;
        options.direct_io = past_page_cache(spec_.cache);
        auto file = std::make_unique<ImageFile>(path, options);
        for (const auto& other : image_.files_) {
            if (other->status().st_dev == file->status().st_dev &&
                other->status().st_ino == file->status().st_ino)
                throw Error(ErrorKind::kCorrupt, "the chain of backing files of " + quote(spec_.path) +
                                                     " comes back to " + quote(path));
        }
        if (file->size() == 0) throw Error(ErrorKind::kCorrupt, quote(path) + " is empty, not a disk image");
        DiskNode node;
        node.name = path;
        node.fd = file->read_fd();
        const OverlayStore* pending = file->pending();
        image_.files_.push_back(std::move(file));
        if (!pending) return node;
        DiskNode shown;
        shown.kind = DiskNode::Kind::kOverlay;
        shown.name = path;
        shown.memory = pending->memory_fd();
        shown.spill = pending->spill_fd();
        shown.file = std::make_unique<DiskNode>(std::move(node));
        return shown;
    }

    void require_a_sector(const DiskNode& file) {
        const uint64_t size = file.open()->size();
        if (size < kFormatSector)
            throw Error(ErrorKind::kCorrupt, quote(file.name) + " has only " + std::to_string(size) +
                                                 " bytes, too few for a disk image");
    }

    // The qcow2 image in `file`, the session's own, after qemu-img has repaired it, if it is marked for that.
    DiskNode repaired(DiskNode file) {
        const Qcow2Header header = parse_header(file);
        if (!header.marked_corrupt() && !header.dirty()) return file;
        const ImageFile& image = *image_.files_[0];
        if (spec_.read_only)
            throw Error(ErrorKind::kDenied, quote(spec_.path) + " is to be read only, not to be repaired");
        if (image.pending() != nullptr)
            throw Error(ErrorKind::kBusy, quote(spec_.path) +
                                              " can't be repaired before a change that was cut short is "
                                              "finished, and others use it now");
        const std::string path = image.resolved_path();
        std::string data_file;
        if (header.external_data()) {
            if (image_.detected_ && !spec_.allow_backing) require_self_contained(header, path);
            data_file = data_file_name(header, path);
        }
        image_.files_.clear();  // with their locks, which qemu-img takes itself
        repair_qcow2(path, data_file, spec_.repair);
        return local(spec_.path, image_.options_.writable);
    }

    // The format that the first sector shows; "raw" when it shows none.
    std::string detect(const DiskNode& file) {
        std::array<std::byte, kFormatSector> sector{};
        auto device = file.open();
        const auto start = std::span(sector).first(std::min<uint64_t>(sector.size(), device->size()));
        device->read(0, start);
        const auto format = foreign_format(start);
        return format ? std::string(*format) : "raw";
    }

    DiskNode qcow2(DiskNode file, const std::string& path, bool may_open_others, bool writable,
                   unsigned depth) {
        const Qcow2Header header = parse_header(file);
        try {
            header.require_intact(depth == 0 && image_.options_.writable);
        } catch (const Error& error) {
            throw error.with_context(quote(path));
        }
        DiskNode node;
        node.kind = DiskNode::Kind::kQcow2;
        node.name = path;
        node.writable = writable;
        if (depth == 0 && !spec_.snapshot.empty()) node.snapshot = spec_.snapshot;
        node.file = std::make_unique<DiskNode>(std::move(file));
        if (!may_open_others) require_self_contained(header, path);
        if (header.external_data()) {
            node.data_file = std::make_unique<DiskNode>(data_file(header, path, depth == 0, writable));
        }
        if (header.backing_name) node.backing = std::make_unique<DiskNode>(backing(header, path, depth + 1));
        return node;
    }

    // A name in a header: as it is, or what it means if it is a "json:" name.
    static JsonImageName plain_name(const std::string& name) {
        if (is_json_name(name)) return parse_json_name(name);
        return {name, ""};
    }

    static Qcow2Header parse_header(const DiskNode& file) {
        try {
            return Qcow2Header::parse(*file.open());
        } catch (const Error& error) {
            throw error.with_context(quote(file.name));
        }
    }

    // For an image whose format was detected.
    static void require_self_contained(const Qcow2Header& header, const std::string& path) {
        if (!header.backing_name && !header.external_data()) return;
        throw Error(ErrorKind::kDenied,
                    quote(path) + " looks like a qcow2 image that stands on another file (" +
                        quote(header.backing_name.value_or(header.data_file_name.value_or(""))) +
                        "); as its format was only detected, that file is not opened: give "
                        "--format=qcow2 or --allow-backing if this is meant, or --format=raw");
    }

    static std::string data_file_name(const Qcow2Header& header, const std::string& path) {
        if (!header.data_file_name)
            throw Error(ErrorKind::kCorrupt, quote(path) + " doesn't say where its data file is");
        const JsonImageName given = plain_name(*header.data_file_name);
        const ResolvedImageName name = resolve_image_name(path, given.name);
        if (!name.is_path || (!given.format.empty() && given.format != "raw"))
            throw Error(ErrorKind::kUnsupported,
                        "the data file of " + quote(path) + " is no local raw file: " + quote(name.name));
        return name.name;
    }

    DiskNode data_file(const Qcow2Header& header, const std::string& path, bool of_the_image,
                       bool write_directly) {
        DiskNode node = local(data_file_name(header, path), of_the_image && image_.options_.writable);
        if (of_the_image) image_.data_file_ = image_.files_.back().get();
        node.writable = write_directly;
        if (write_directly) node.fd = image_.files_.back()->write_fd();
        return node;
    }

    DiskNode backing(const Qcow2Header& header, const std::string& path, unsigned depth) {
        if (depth >= DiskNode::kMaxDepth)
            throw Error(ErrorKind::kUnsupported, quote(spec_.path) + " stands on a chain of more than " +
                                                     std::to_string(DiskNode::kMaxDepth) + " images");
        try {
            const JsonImageName given = plain_name(*header.backing_name);
            const ResolvedImageName name = resolve_image_name(path, given.name);
            std::string format = header.backing_format.value_or(given.format);
            if (!given.format.empty() && given.format != format)
                throw Error(ErrorKind::kCorrupt,
                            "its format is said to be " + format + ", and " + given.format + " in its name");
            if (!name.is_path) return remote(name.name, format.empty() ? "raw" : format, false);
            DiskNode file = local(name.name, false);
            const bool detected = format.empty();
            if (detected) format = detect(file);
            switch (parse_image_format(format)) {
                case ImageFormat::kRaw:
                    return file;
                case ImageFormat::kQcow2:
                    if (Qcow2Header::is_luks(*file.open())) {
                        image_.files_.pop_back();
                        return daemon(name.name, format, false, !detected || spec_.allow_backing,
                                      keys_for(name.name));
                    }
                    return qcow2(std::move(file), name.name, !detected || spec_.allow_backing, false, depth);
                case ImageFormat::kOther:
                    break;
            }
            image_.files_.pop_back();
            return daemon(name.name, format, false, true);
        } catch (const Error& error) {
            throw error.with_context("the backing file of " + quote(path));
        }
    }

    DiskNode remote(const std::string& location, const std::string& format, bool write_directly) {
        const bool writable = image_.options_.writable && &location == &spec_.path;
        if (!NbdUri::looks_like(location)) return daemon(location, format, writable, true);
        DiskNode node = connection(open_nbd(location, !writable), location, writable);
        if (format == "raw") return node;
        if (format != "qcow2")
            throw Error(ErrorKind::kUnsupported, "an NBD export that holds a " + format + " image");
        if (write_directly || writable)
            throw Error(ErrorKind::kUnsupported,
                        "a qcow2 image in the NBD export " + quote(location) +
                            " can only be read; let the server serve what is in it (qemu-nbd -f qcow2)");
        return qcow2(std::move(node), location, true, false, 0);
    }

    // The keys for an encrypted image.
    std::vector<EncryptionKey> keys_for(const std::string& path) const {
        const std::string name = path.substr(path.rfind('/') + 1);
        std::vector<EncryptionKey> keys;
        for (const EncryptionKey& key : spec_.keys)
            if (key.id == "all" || key.id == path || key.id == name) keys.push_back(key);
        if (!keys.empty()) return keys;
        throw Error(ErrorKind::kDenied,
                    quote(path) + " is encrypted (LUKS): give its key (--key " + name + ":key:...)");
    }

    DiskNode daemon(const std::string& location, const std::string& format, bool writable,
                    bool may_open_others, const std::vector<EncryptionKey>& keys = {}) {
        QsdImage image;
        image.allow_other_files = may_open_others;
        image.format = format;
        image.location = location;
        image.read_only = !writable;
        image.cache = qsd_cache(spec_.cache);
        image.force_share = spec_.force_share;
        image.keys = keys;
        return connection(open_with_qsd(image), location, writable);
    }

    DiskNode backup() {
        if (image_.options_.writable)
            throw Error(ErrorKind::kDenied, quote(spec_.path) +
                                                " is a backup, which can't be changed; 'insp backup restore' "
                                                "makes an image of it");
        auto server = std::make_unique<BackupServer>(
            spec_.path, repository::Access{{}, spec_.password_file, spec_.password_command});
        DiskNode node;
        node.kind = DiskNode::Kind::kNbd;
        node.name = spec_.path;
        node.terms = server->terms();
        image_.sockets_.push_back(server->take_socket());
        node.fd = image_.sockets_.back().get();
        image_.backups_.push_back(std::move(server));
        return node;
    }

    DiskNode connection(std::unique_ptr<NbdBridge> bridge, const std::string& name, bool writable) {
        DiskNode node;
        node.kind = DiskNode::Kind::kNbd;
        node.name = name;
        node.writable = writable;
        node.terms = bridge->connection().terms();
        image_.sockets_.push_back(bridge->connection().release());
        node.fd = image_.sockets_.back().get();
        image_.bridges_.push_back(std::move(bridge));
        return node;
    }

    Image& image_;
    const DiskSpec& spec_;
};

Image::Image(DiskSpec spec, const ImageOptions& options) : spec_(std::move(spec)), options_(options) {}

std::unique_ptr<Image> Image::open(const DiskSpec& spec, const ImageOptions& options) {
    std::unique_ptr<Image> image(new Image(spec, options));
    Opener(*image).open();
    image->spec_.keys.clear();
    if (image->files_.empty() && image->backups_.empty()) image->settle_remote_journal();
    image->session_size_ = image->new_size_ = image->size_;
    if (!image->written_directly()) image->make_overlay();
    return image;
}

bool Image::written_directly() const noexcept {
    return options_.writable && options_.write_mode == WriteMode::kDirect;
}

void Image::make_overlay() {
    OverlayStore::Options store{options_.memory_limit, {}};
    if (writable() && !files_.empty()) {
        const std::string& path = files_[0]->resolved_path();
        store.spill_directories.push_back(path.substr(0, path.rfind('/')));
    }
    // One that the disk grows in has whole blocks.
    const uint64_t size = session_size_ > size_ ? align_up(session_size_, OverlayStore::kBlockSize) : size_;
    overlay_ = std::make_shared<OverlayStore>(OverlayStore::create(size, store));
}

bool Image::resizable() const noexcept {
    if ((!overlay_ && !undo_journal_) || files_.empty()) return false;
    if (files_[0]->is_block_device()) return overlay_ && volume_.has_value();
    if (data_file_ != nullptr && data_file_->is_block_device()) return false;
    return undo_journal_ || node_.kind == DiskNode::Kind::kQcow2 || node_.kind == DiskNode::Kind::kRaw;
}

void Image::find_volume() {
    if (written_directly() || node_.kind != DiskNode::Kind::kRaw || files_.empty() ||
        !files_[0]->is_block_device())
        return;
    volume_ = find_host_volume(files_[0]->status().st_rdev, path());
}

void Image::require_possible(uint64_t size) const {
    require_resizable();
    if (volume_) inspect::require_resizable(*volume_, size);
}

void Image::require_resizable() const {
    if (resizable()) return;
    throw Error(ErrorKind::kUnsupported, "the size of " + quote(path()) +
                                             " can't be changed here: it can be for files that are raw or "
                                             "qcow2 images and, with --write-mode=atomic, for raw images on "
                                             "logical volumes of this host's");
}

void Image::grow_session(uint64_t size) {
    require_resizable();
    session_size_ = std::max(size, size_);
    if (!undo_journal_) return make_overlay();
    const auto device = node_.open();
    device->resize(session_size_);
    device->flush();
}

void Image::set_new_size(uint64_t size) {
    require_resizable();
    if (size > session_size_)
        throw Error(ErrorKind::kUsage, "the session's disk is smaller than what the image is to be");
    new_size_ = size;
}

// What a commit to storage that is not a local file of ours left, if it was this user's on this host.
void Image::settle_remote_journal() {
    const bool atomic_writer = writable() && options_.write_mode == WriteMode::kAtomic;
    const std::string journal_path = remote_journal_path(path(), atomic_writer);
    if (writable()) remote_lock_.emplace(remote_journal_path(path(), true) + ".lock", path());
    PosixJournalFile journal(journal_path, ::geteuid(), ::getegid());
    FoundJournal found(journal, nullptr);
    if (found.state() == JournalState::kNone) return;
    auto device = node_.open();
    if (writable()) {
        const Recovery recovery = found.recover(*device);
        log(LogLevel::kVerbose, "a change to " + quote(path()) + " that was cut short was " +
                                    (recovery == Recovery::kFinished ? "finished" : "discarded"));
        return;
    }
    if (found.state() != JournalState::kCommitted) return;
    pending_ = std::make_shared<OverlayStore>(OverlayStore::create(size_, {options_.memory_limit, {}}));
    BlockDevice& before = *device;
    Overlay overlay(std::move(device), pending_);
    found.show(before, overlay);
    DiskNode shown;
    shown.kind = DiskNode::Kind::kOverlay;
    shown.name = path();
    shown.memory = pending_->memory_fd();
    shown.spill = pending_->spill_fd();
    shown.file = std::make_unique<DiskNode>(std::move(node_));
    node_ = std::move(shown);
    log(LogLevel::kVerbose,
        "a change to " + quote(path()) + " that was cut short is shown, but not finished");
}

Image::~Image() {
    take_back();
    sockets_.clear();  // hangs up, so that the programs at the other ends end
    bridges_.clear();
    backups_.clear();
}

uint32_t Image::logical_block_size() const noexcept {
    return files_.empty() ? 512 : files_[0]->logical_block_size();
}

void Image::find_zeros(const std::function<void()>& may_stop) {
    if (!overlay_) return;
    give_back_ = !files_.empty() && !files_[0]->is_block_device();
    // Less than a cluster is not given back, and smaller holes would leave a raw file in pieces.
    constexpr uint64_t kLeast = 64 << 10;
    uint64_t unit = kLeast;
    if (node_.kind == DiskNode::Kind::kQcow2)
        unit = std::max(unit, Qcow2Header::parse(*node_.file->open()).cluster_size());
    inspect::find_zeros(*node_.open(), *overlay_, unit, may_stop);
}

std::unique_ptr<BlockDevice> Image::contents() const {
    if (!overlay_) return node_.open();
    return std::make_unique<Overlay>(node_.open(), overlay_);
}

}  // namespace inspect
