// SPDX-License-Identifier: LGPL-2.1-or-later
//
// include/inspect/appliance.h: the appliance's whereabouts, and its snapshots.
#include <fcntl.h>

#include <inspect/appliance.h>

#include "base/log.h"
#include "engine/appliance_files.h"
#include "engine/appliance_options.h"
#include "engine/cache.h"
#include "engine/engine_choice.h"

namespace inspect {

namespace {

std::string read_text_file(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return {};
    std::string text(1 << 20, '\0');
    text.resize(
        read_full(fd.get(), std::as_writable_bytes(std::span(text)), "read the appliance's manifest"));
    return text;
}

// The value of a string member of a flat JSON text, for display alone; empty when it isn't there.
std::string json_string(const std::string& text, const std::string& member) {
    size_t at = text.find("\"" + member + "\"");
    if (at == std::string::npos) return {};
    size_t open = text.find('"', text.find(':', at));
    if (open == std::string::npos) return {};
    size_t close = text.find('"', open + 1);
    return close == std::string::npos ? std::string() : text.substr(open + 1, close - open - 1);
}

}  // namespace

EngineOptions appliance_options(const SessionOptions& options) {
    EngineOptions engine;
    engine.engine = parse_engine(options.engine);
    engine.memory_bytes = options.memory_bytes;
    engine.use_snapshot = options.use_snapshot;
    engine.verbose = options.verbose;
    engine.appliance_directory = options.appliance_directory;
    engine.cache_directory = options.cache_directory;
    engine.disks.resize(options.disks.size());
    if (options.verbose) set_log_level(LogLevel::kVerbose);
    return engine;
}

ApplianceInfo appliance_info(const SessionOptions& options) {
    ApplianceInfo info;
    ApplianceFiles files = open_appliance(options.appliance_directory);
    info.directory = files.directory;
    info.size_bytes = files.size_bytes;
    info.version = INSP_VERSION;
    info.manifest_json = read_text_file(files.directory + "/manifest.json");
    info.kernel = json_string(info.manifest_json, "kernel");
    info.cache_directory = Cache::directory(options.cache_directory);
    Cache cache(info.cache_directory);
    std::string current;
    try {
        current = snapshot_key(appliance_options(options));
    } catch (const Error&) {  // without KVM no snapshot is current, but there may be some
    }
    for (const Cache::Listed& listed : cache.list_snapshots())
        info.snapshots.push_back({listed.path, listed.size_bytes, listed.key == current});
    return info;
}

bool appliance_warm(const SessionOptions& options) { return make_snapshot(appliance_options(options)); }

uint64_t appliance_clear(const SessionOptions& options) {
    return Cache(Cache::directory(options.cache_directory)).clear();
}

}  // namespace inspect
