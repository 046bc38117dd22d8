// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The operations of a Session that are one request each.
#include <utility>

#include "guest/names.h"
#include "guest/printable.h"
#include "guest/session_impl.h"
#include "guest/wire_convert.h"

namespace inspect {

namespace {

constexpr size_t kUploadBuffer = 256 << 10;

// What an answer must have to be one to this request.
void require_part(bool present, const char* what) {
    if (!present) throw ProtocolError(std::string("an answer without ") + what);
}

void require_suffix(const std::string& suffix) {
    if (suffix.find('/') != suffix.npos || suffix.find('\0') != suffix.npos)
        throw Error(ErrorKind::kUsage, quoted(suffix) + " can't be a backup's suffix");
}

proto::WriteFile::Mode to_wire(WriteOptions::Mode mode) {
    switch (mode) {
        case WriteOptions::Mode::kReplace:
            return proto::WriteFile::REPLACE;
        case WriteOptions::Mode::kAppend:
            return proto::WriteFile::APPEND;
        case WriteOptions::Mode::kEdit:
            return proto::WriteFile::EDIT;
        case WriteOptions::Mode::kCreate:
            return proto::WriteFile::CREATE;
    }
    throw Error(ErrorKind::kUsage, "a write mode that there is not");
}

void set_text(std::string& field, const std::string& value, const char* what) {
    if (value.find('\0') != value.npos) throw Error(ErrorKind::kUsage, quoted(value) + " can't be " + what);
    field = value;
}

}  // namespace

// ---- looking at the disks

FilesystemReport Session::filesystems() {
    proto::Request request;
    request.mutable_list_filesystems();
    proto::Response answer = impl_->call(std::move(request));
    require_part(answer.has_filesystems(), "a list of file systems");
    return to_filesystem_report(answer.filesystems());
}

std::vector<size_t> Session::set_identifiers(const std::vector<NewIdentifier>& identifiers) {
    impl_->require_writable();
    if (identifiers.empty()) return {};
    proto::Request request;
    for (const NewIdentifier& identifier : identifiers) {
        using What = NewIdentifier::What;
        auto& item = *request.mutable_set_identifiers()->add_identifiers();
        item.set_what(identifier.what == What::kTable       ? proto::SetIdentifiers::TABLE
                      : identifier.what == What::kPartition ? proto::SetIdentifiers::PARTITION
                                                            : proto::SetIdentifiers::CONTENTS);
        item.set_device(identifier.device);
        item.set_value(identifier.value);
    }
    const proto::Response answer = impl_->call(std::move(request));
    require_part(answer.has_identifiers(), "what became of the identifiers");
    std::vector<size_t> left;
    for (const uint32_t place : answer.identifiers().left()) {
        if (place >= identifiers.size()) throw ProtocolError("an identifier that was not asked for");
        left.push_back(place);
    }
    return left;
}

std::vector<OperatingSystem> Session::inspect() {
    proto::Request request;
    request.mutable_inspect();
    proto::Response answer = impl_->call(std::move(request));
    require_part(answer.has_inspect(), "operating systems");
    return to_operating_systems(answer.inspect());
}

void Session::mount_os(const std::string& root) {
    proto::Request request;
    proto::MountOs& mount = *request.mutable_mount_os();
    set_text(*mount.mutable_root(), root, "a device");
    mount.set_read_only(!impl_->options.writable);
    impl_->queue_mount(std::move(request));
}

void Session::mount(const MountSpec& spec) {
    require_guest_path(spec.mountpoint);
    proto::Request request;
    proto::Mount& mount = *request.mutable_mount();
    set_text(*mount.mutable_device(), spec.device, "a device");
    set_text(*mount.mutable_mountpoint(), spec.mountpoint, "a mount point");
    set_text(*mount.mutable_options(), spec.options, "mount options");
    set_text(*mount.mutable_fstype(), spec.fstype, "a file system's type");
    mount.set_read_only(!impl_->options.writable);
    impl_->queue_mount(std::move(request));
}

// ---- reading

FileStat Session::stat(const std::string& path, bool follow_symlink) {
    require_guest_path(path);
    proto::Request request;
    request.mutable_stat()->set_path(path);
    request.mutable_stat()->set_follow(follow_symlink);
    proto::Response answer = impl_->call_in_tree(std::move(request));
    require_part(answer.has_stat(), "a file's status");
    return to_stat(answer.stat());
}

void Session::list_directory(const std::string& path, bool recursive, bool with_stat,
                             const std::function<void(const DirectoryEntry&)>& entry) {
    require_guest_path(path);
    proto::Request request;
    proto::ListDirectory& list = *request.mutable_list_directory();
    list.set_path(path);
    list.set_recursive(recursive);
    list.set_with_stat(with_stat);
    auto on_item = [&](const proto::Item& item) {
        require_part(item.has_entry(), "a directory entry");
        entry(to_directory_entry(item.entry()));
    };
    impl_->call_in_tree(std::move(request), {.on_item = on_item});
}

void Session::read_file(const std::string& path, const Sink& sink, uint64_t offset, uint64_t length) {
    require_guest_path(path);
    proto::Request request;
    proto::ReadFile& read = *request.mutable_read_file();
    read.set_path(path);
    read.set_offset(offset);
    read.set_length(length);
    uint64_t room = length == 0 ? UINT64_MAX : length;
    auto on_data = [&](std::span<const std::byte> bytes) {
        if (bytes.size() > room) throw ProtocolError("more of a file than was asked for");
        room -= bytes.size();
        sink(bytes);
    };
    impl_->call_in_tree(std::move(request), {.on_data = on_data});
}

// ---- changing

void Session::write_file(const std::string& path, const Source& source, const WriteOptions& options) {
    require_guest_path(path);
    require_suffix(options.backup_suffix);
    proto::Request request;
    proto::WriteFile& write = *request.mutable_write_file();
    write.set_path(path);
    write.set_mode(to_wire(options.mode));
    if (options.permissions) write.set_permissions(*options.permissions);
    set_text(*write.mutable_owner(), options.owner, "an owner");
    set_text(*write.mutable_backup_suffix(), options.backup_suffix, "a backup's suffix");
    auto upload = [&](Connection::Upload& out) {
        std::vector<std::byte> buffer(kUploadBuffer);
        while (!out.ended()) {
            size_t count = source(buffer);
            if (count > buffer.size())
                throw Error(ErrorKind::kUsage, "a source gave more bytes than there was room for");
            if (count == 0 || !out.data(std::span(buffer).first(count))) break;
        }
    };
    impl_->call_changing(std::move(request), {.upload = upload});
}

bool Session::edit_file(const std::string& path, const std::string& expression,
                        const std::string& backup_suffix) {
    require_guest_path(path);
    require_suffix(backup_suffix);
    proto::Request request;
    proto::EditFile& edit = *request.mutable_edit_file();
    edit.set_path(path);
    edit.set_expression(expression);
    set_text(*edit.mutable_backup_suffix(), backup_suffix, "a backup's suffix");
    proto::Response answer = impl_->call_changing(std::move(request));
    require_part(answer.has_edit(), "an edit's outcome");
    return answer.edit().changed();
}

void Session::make_directory(const std::string& path, bool parents, std::optional<uint32_t> permissions) {
    require_guest_path(path);
    proto::Request request;
    proto::MakeDirectory& make = *request.mutable_make_directory();
    make.set_path(path);
    make.set_parents(parents);
    if (permissions) make.set_permissions(*permissions);
    impl_->call_changing(std::move(request));
}

void Session::remove(const std::string& path, bool recursive, bool force) {
    require_guest_path(path);
    proto::Request request;
    proto::Remove& remove = *request.mutable_remove();
    remove.set_path(path);
    remove.set_recursive(recursive);
    remove.set_force(force);
    impl_->call_changing(std::move(request));
}

void Session::scrub(const std::string& path) {
    require_guest_path(path);
    proto::Request request;
    request.mutable_scrub()->set_path(path);
    impl_->call_changing(std::move(request));
}

void Session::rename(const std::string& from, const std::string& to, bool no_clobber) {
    require_guest_path(from);
    require_guest_path(to);
    proto::Request request;
    proto::Rename& rename = *request.mutable_rename();
    rename.set_from(from);
    rename.set_to(to);
    rename.set_no_clobber(no_clobber);
    impl_->call_changing(std::move(request));
}

void Session::chmod(const std::string& path, const std::string& mode, bool recursive) {
    require_guest_path(path);
    proto::Request request;
    proto::Chmod& chmod = *request.mutable_chmod();
    chmod.set_path(path);
    set_text(*chmod.mutable_mode(), mode, "a mode");
    chmod.set_recursive(recursive);
    impl_->call_changing(std::move(request));
}

void Session::chown(const std::string& path, const std::string& owner, bool recursive, bool no_dereference) {
    require_guest_path(path);
    proto::Request request;
    proto::Chown& chown = *request.mutable_chown();
    chown.set_path(path);
    set_text(*chown.mutable_owner(), owner, "an owner");
    chown.set_recursive(recursive);
    chown.set_no_dereference(no_dereference);
    impl_->call_changing(std::move(request));
}

void Session::link(const std::string& target, const std::string& path, bool symbolic, bool force) {
    require_guest_path(path);
    if (!symbolic) require_guest_path(target);
    if (target.empty() || target.size() > kMaxLinkTarget || target.find('\0') != target.npos)
        throw Error(ErrorKind::kUsage, quoted(target) + " can't be a link's target");
    proto::Request request;
    proto::Link& link = *request.mutable_link();
    link.set_target(target);
    link.set_path(path);
    link.set_symbolic(symbolic);
    link.set_force(force);
    impl_->call_changing(std::move(request));
}

void Session::touch(const std::string& path, const TouchOptions& options) {
    require_guest_path(path);
    proto::Request request;
    proto::Touch& touch = *request.mutable_touch();
    touch.set_path(path);
    touch.set_no_create(options.no_create);
    touch.set_access(options.access);
    touch.set_modification(options.modification);
    if (options.time_ns) touch.set_time_ns(*options.time_ns);
    impl_->call_changing(std::move(request));
}

// ---- around it

std::vector<std::byte> Session::random_bytes(uint32_t count) {
    if (count > 256) throw Error(ErrorKind::kUsage, "at most 256 random bytes can be asked for at once");
    proto::Request request;
    request.mutable_random_bytes()->set_count(count);
    proto::Response answer = impl_->call(std::move(request));
    require_part(answer.has_random() && answer.random().size() == count, "the random bytes");
    auto bytes = std::as_bytes(std::span(answer.random()));
    return {bytes.begin(), bytes.end()};
}

void Session::ping() {
    proto::Request request;
    request.mutable_ping();
    impl_->call(std::move(request));
}

}  // namespace inspect
