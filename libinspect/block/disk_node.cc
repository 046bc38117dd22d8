// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/disk_node.h"

#include <charconv>
#include <limits>

#include <inspect/error.h>

#include "base/fd.h"
#include "block/nbd_device.h"
#include "block/overlay.h"
#include "block/qcow2/qcow2.h"
#include "block/raw.h"
#include "block/undo_device.h"
#include "block/write_policy.h"

namespace inspect {

namespace {

constexpr std::string_view kKindNames[] = {"raw", "qcow2", "nbd", "overlay", "undo"};

bool is_plain(unsigned char c) {
    return c > 0x20 && c < 0x7f && c != ',' && c != '(' && c != ')' && c != '%';
}

std::string encode_name(std::string_view name) {
    constexpr char kHex[] = "0123456789abcdef";
    std::string out;
    for (unsigned char c : name) {
        if (is_plain(c)) {
            out += static_cast<char>(c);
        } else {
            out += {'%', kHex[c >> 4], kHex[c & 15]};
        }
    }
    return out;
}

class Parser {
  public:
    explicit Parser(std::string_view text) : text_(text) {}

    DiskNode whole() {
        DiskNode result = node(0);
        if (at_ != text_.size()) reject();
        return result;
    }

  private:
    [[noreturn]] void reject() const {
        throw Error(ErrorKind::kUsage, "not understood in the description of a disk: '" +
                                           std::string(text_.substr(at_, 40)) + "'");
    }

    bool take(char c) {
        if (at_ >= text_.size() || text_[at_] != c) return false;
        ++at_;
        return true;
    }

    std::string_view word() {
        const size_t begin = at_;
        while (at_ < text_.size() && std::string_view(",()=").find(text_[at_]) == std::string_view::npos)
            ++at_;
        return text_.substr(begin, at_ - begin);
    }

    template <typename T>
    T number() {
        const std::string_view digits = word();
        T value = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        if (error != std::errc() || end != digits.data() + digits.size() || value < 0) reject();
        return value;
    }

    std::string name() {
        std::string out;
        while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != ')') {
            char c = text_[at_++];
            if (c == '%') {
                unsigned value = 0;
                const std::string_view digits = text_.substr(at_, 2);
                const auto [end, error] =
                    std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
                if (error != std::errc() || digits.size() != 2 || end != digits.data() + 2) reject();
                c = static_cast<char>(value);
                at_ += 2;
            }
            out += c;
        }
        return out;
    }

    std::unique_ptr<DiskNode> child(unsigned depth) { return std::make_unique<DiskNode>(node(depth + 1)); }

    DiskNode node(unsigned depth) {
        if (depth > DiskNode::kMaxDepth) reject();
        DiskNode result;
        const std::string_view kind = word();
        size_t index = 0;
        while (index < std::size(kKindNames) && kKindNames[index] != kind) ++index;
        if (index == std::size(kKindNames) || !take('(')) reject();
        result.kind = static_cast<DiskNode::Kind>(index);
        if (!take(')')) {
            do {
                member(result, depth);
            } while (take(','));
            if (!take(')')) reject();
        }
        return result;
    }

    void member(DiskNode& node, unsigned depth) {
        const std::string_view key = word();
        if (!take('=')) {
            if (key == "writable") {
                node.writable = true;
            } else if (key == "sync-writes") {
                node.sync_writes = true;
            } else if (key == "ignore-flush") {
                node.ignore_flush = true;
            } else if (key == "guard-first-sector") {
                node.guard_first_sector = true;
            } else if (key == "structured") {
                node.terms.structured_replies = true;
            } else {
                reject();
            }
        } else if (key == "name") {
            node.name = name();
        } else if (key == "snapshot") {
            node.snapshot = name();
        } else if (key == "fd") {
            node.fd = number<int>();
        } else if (key == "memory") {
            node.memory = number<int>();
        } else if (key == "spill") {
            node.spill = number<int>();
        } else if (key == "journal") {
            node.journal = number<int>();
        } else if (key == "file") {
            node.file = child(depth);
        } else if (key == "backing") {
            node.backing = child(depth);
        } else if (key == "data-file") {
            node.data_file = child(depth);
        } else if (key == "size") {
            node.terms.size = number<uint64_t>();
        } else if (key == "flags") {
            node.terms.transmission_flags = number<uint16_t>();
        } else if (key == "minimum") {
            node.terms.minimum_block = number<uint32_t>();
        } else if (key == "payload") {
            node.terms.maximum_payload = number<uint32_t>();
        } else if (key == "allocation") {
            node.terms.base_allocation = true;
            node.terms.allocation_context = number<uint32_t>();
        } else {
            reject();
        }
    }

    std::string_view text_;
    size_t at_ = 0;
};

std::unique_ptr<BlockDevice> open_child(const std::unique_ptr<DiskNode>& node) {
    return node ? node->open() : nullptr;
}

std::unique_ptr<BlockDevice> open_qcow2(const DiskNode& node) {
    Qcow2Files files;
    files.file = open_child(node.file);
    if (!files.file) throw Error(ErrorKind::kUsage, "a qcow2 image stands on a file");
    const Qcow2Header header = Qcow2Header::parse(*files.file);
    files.backing = open_child(node.backing);
    files.data_file = open_child(node.data_file);
    return std::make_unique<Qcow2Device>(
        header, std::move(files), Qcow2Options{.read_only = !node.writable, .snapshot = node.snapshot});
}

}  // namespace

std::string DiskNode::encode() const {
    std::string out;
    auto add = [&out](const std::string& member) {
        if (out.back() != '(') out += ',';
        out += member;
    };
    out = std::string(kKindNames[static_cast<size_t>(kind)]) + "(";
    if (!name.empty()) add("name=" + encode_name(name));
    if (writable) add("writable");
    if (fd >= 0) add("fd=" + std::to_string(fd));
    if (kind == Kind::kNbd) {
        add("size=" + std::to_string(terms.size));
        add("flags=" + std::to_string(terms.transmission_flags));
        add("minimum=" + std::to_string(terms.minimum_block));
        add("payload=" + std::to_string(terms.maximum_payload));
        if (terms.structured_replies) add("structured");
        if (terms.base_allocation) add("allocation=" + std::to_string(terms.allocation_context));
    }
    if (file) add("file=" + file->encode());
    if (backing) add("backing=" + backing->encode());
    if (data_file) add("data-file=" + data_file->encode());
    if (snapshot) add("snapshot=" + encode_name(*snapshot));
    if (memory >= 0) add("memory=" + std::to_string(memory));
    if (spill >= 0) add("spill=" + std::to_string(spill));
    if (journal >= 0) add("journal=" + std::to_string(journal));
    if (sync_writes) add("sync-writes");
    if (ignore_flush) add("ignore-flush");
    if (guard_first_sector) add("guard-first-sector");
    return out + ")";
}

DiskNode DiskNode::parse(std::string_view text) { return Parser(text).whole(); }

std::vector<int> DiskNode::descriptors() const {
    std::vector<int> all;
    for (int descriptor : {fd, memory, spill, journal})
        if (descriptor >= 0) all.push_back(descriptor);
    for (const auto* child : {&file, &backing, &data_file}) {
        if (!*child) continue;
        const std::vector<int> below = (*child)->descriptors();
        all.insert(all.end(), below.begin(), below.end());
    }
    return all;
}

std::unique_ptr<BlockDevice> DiskNode::open() const {
    std::unique_ptr<BlockDevice> device;
    switch (kind) {
        case Kind::kRaw:
            device = std::make_unique<RawDevice>(dup_fd(fd), !writable, name);
            break;
        case Kind::kQcow2:
            device = open_qcow2(*this);
            break;
        case Kind::kNbd:
            device = std::make_unique<NbdDevice>(
                dup_fd(fd), terms, NbdDeviceOptions{.name = name, .read_only = !writable, .hang_up = false});
            break;
        case Kind::kOverlay: {
            auto lower = open_child(file);
            if (!lower) throw Error(ErrorKind::kUsage, "an overlay stands on a device");
            auto store = std::make_shared<OverlayStore>(dup_fd(memory), dup_fd(spill), lower->size());
            device = std::make_unique<Overlay>(std::move(lower), std::move(store));
            break;
        }
        case Kind::kUndo: {
            auto lower = open_child(file);
            if (!lower) throw Error(ErrorKind::kUsage, "an undo journal is about a device");
            device = std::make_unique<UndoDevice>(std::move(lower),
                                                  std::make_unique<PosixJournalFile>(dup_fd(journal)));
            break;
        }
    }
    if (sync_writes || ignore_flush || guard_first_sector)
        device = std::make_unique<WritePolicy>(
            std::move(device), WritePolicy::Rules{sync_writes, ignore_flush, guard_first_sector});
    return device;
}

}  // namespace inspect
