// SPDX-License-Identifier: LGPL-2.1-or-later
#include "repository/snapshot.h"

#include <algorithm>

#include <inspect/error.h>

#include "repository/json.h"

namespace inspect::repository {

bool Snapshot::has_tag(std::string_view tag) const { return std::ranges::find(tags, tag) != tags.end(); }

Snapshot parse_snapshot(std::string_view text) {
    const JsonFields fields(text);
    Snapshot snapshot;
    const auto tree = ObjectId::parse(fields.require_text("tree"));
    const auto time = Timestamp::parse(fields.require_text("time"));
    if (!tree || !time) throw Error(ErrorKind::kCorrupt, "as a snapshot it makes no sense");
    snapshot.tree = *tree;
    snapshot.time = *time;
    snapshot.parent = ObjectId::parse(fields.text("parent"));
    snapshot.paths = fields.texts("paths[]");
    snapshot.hostname = fields.text("hostname");
    snapshot.username = fields.text("username");
    snapshot.tags = fields.texts("tags[]");
    snapshot.program_version = fields.text("program_version");
    return snapshot;
}

std::string format_snapshot(const Snapshot& snapshot) {
    JsonBuilder json;
    json.begin_object().text("time", snapshot.time.text());
    if (snapshot.parent) json.text("parent", snapshot.parent->hex());
    json.text("tree", snapshot.tree.hex()).begin_array("paths");
    for (const std::string& path : snapshot.paths) json.text({}, path);
    json.end_array().text("hostname", snapshot.hostname).text("username", snapshot.username);
    if (!snapshot.tags.empty()) {
        json.begin_array("tags");
        for (const std::string& tag : snapshot.tags) json.text({}, tag);
        json.end_array();
    }
    if (!snapshot.program_version.empty()) json.text("program_version", snapshot.program_version);
    return json.end_object().take();
}

}  // namespace inspect::repository
