// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Trees out of the guest and into it.
#include "guest/host_tree_reader.h"
#include "guest/host_tree_writer.h"
#include "guest/names.h"
#include "guest/printable.h"
#include "guest/session_impl.h"

namespace inspect {

void Session::copy_out(const std::string& guest_path, const std::string& host_directory,
                       const CopyOptions& options) {
    require_guest_path(guest_path);
    std::string name(last_name(guest_path));
    if (name == "." || name == "..")
        throw Error(ErrorKind::kUsage, quoted(guest_path) + " has no name that its copy could get");
    HostTreeWriter writer(host_directory, name, options, impl_->warner(options));
    proto::Request request;
    request.mutable_read_tree()->set_path(guest_path);
    impl_->call_in_tree(std::move(request),
                        {.on_item = [&](const proto::Item& item) { writer.item(item); },
                         .on_data = [&](std::span<const std::byte> bytes) { writer.data(bytes); }});
    writer.finish();
}

void Session::copy_in(const std::string& host_path, const std::string& guest_directory,
                      const CopyOptions& options) {
    require_guest_path(guest_directory);
    HostTreeReader reader(host_path, options, impl_->warner(options));
    proto::Request request;
    request.mutable_write_tree()->set_path(guest_directory);
    impl_->call_changing(std::move(request),
                         {.upload = [&](Connection::Upload& upload) { reader.send(upload); }});
}

}  // namespace inspect
