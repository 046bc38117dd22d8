// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/guest.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "cli/text.h"

namespace inspect::cli {
namespace {

const std::chrono::steady_clock::time_point kProgramStart = std::chrono::steady_clock::now();

uint64_t elapsed_ns() {
    return static_cast<uint64_t>((std::chrono::steady_clock::now() - kProgramStart).count());
}

// What libinspect takes; said here so that it is wrong usage, not a failure half-way.
constexpr uint64_t kMinMemory = UINT64_C(64) << 20;
constexpr uint64_t kMaxMemory = UINT64_C(3) << 30;

uint32_t sector_size_of(const std::optional<std::string>& value) {
    if (!value || *value == "512") return 512;
    if (*value == "4096") return 4096;
    throw UsageError("--blocksize is 512 or 4096, not '" + *value + "'");
}

uint64_t memory_of(const Arguments& arguments) {
    std::optional<std::string> text = arguments.value("memory");
    if (!text) return 0;
    std::optional<uint64_t> bytes = parse_size(*text, uint64_t{1} << 20);
    if (!bytes) throw UsageError("--memory '" + *text + "' is not a size");
    if (*bytes < kMinMemory || *bytes > kMaxMemory) throw UsageError("--memory is from 64 MiB to 3 GiB");
    return *bytes;
}

// Empty when it isn't given: then the library looks at $INSP_ENGINE.
std::string engine_of(const Arguments& arguments) {
    const std::string engine = arguments.value("engine").value_or("");
    if (arguments.has("engine") && engine != "auto" && engine != "kvm" && engine != "qemu")
        throw UsageError("--engine is 'auto', 'kvm' or 'qemu', not '" + engine + "'");
    return engine;
}

Repair repair_of(const Arguments& arguments) {
    if (!arguments.has("repair")) return Repair::kNone;
    if (arguments.has("ro")) throw UsageError("--repair changes the images: it can't be used with --ro");
    const std::string what = arguments.value("repair").value_or("all");
    if (what == "leaks") return Repair::kLeaks;
    if (what == "all") return Repair::kAll;
    throw UsageError("--repair is 'leaks' or 'all', not '" + what + "'");
}

// Each line is a key. The text is overwritten, as each of the keys will be.
std::vector<EncryptionKey> read_keys_from_stdin() {
    constexpr size_t kMost = 1 << 20;
    std::string text(kMost + 1, '\0');  // at once: one that grows would leave copies behind
    struct Wipe {
        std::string& text;
        ~Wipe() { ::explicit_bzero(text.data(), text.size()); }
    } wipe{text};
    size_t size = 0;
    for (ssize_t n; (n = ::read(STDIN_FILENO, text.data() + size, text.size() - size)) != 0;) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw Error::from_errno("cannot read the keys from stdin", errno);
        size += static_cast<size_t>(n);
        if (size > kMost) throw UsageError("--keys-from-stdin: more than 1 MiB of keys");
    }
    std::vector<EncryptionKey> keys;
    for (size_t at = 0; at < size;) {
        const size_t end = std::min(text.find('\n', at), size);
        keys.push_back({"all", text.substr(at, end - at)});
        at = end + 1;
    }
    return keys;
}

}  // namespace

std::vector<EncryptionKey> keys_of(const Arguments& arguments) {
    std::vector<EncryptionKey> keys;
    for (const std::string& text : arguments.values("key")) {
        try {
            for (EncryptionKey& key : EncryptionKey::parse(text)) keys.push_back(std::move(key));
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::kUsage) throw;
            throw UsageError("--key: " + error.message());
        }
    }
    if (!arguments.has("keys-from-stdin")) return keys;
    static const std::vector<EncryptionKey> read = read_keys_from_stdin();  // a command may ask twice
    keys.insert(keys.end(), read.begin(), read.end());
    return keys;
}

// `added_by`: the option whose images are wanted.
std::vector<DiskSpec> specs_of(const Arguments& arguments, std::string_view added_by) {
    const bool first = added_by == "add";
    std::vector<DiskSpec> disks;
    DiskSpec next;  // what holds for the images to come
    std::optional<CacheMode> cache;
    next.allow_backing = arguments.has("allow-backing");
    next.force_share = arguments.has("force-share");
    next.password_file = arguments.value("password-file").value_or("");
    next.password_command = arguments.value("password-command").value_or("");
    next.repair = repair_of(arguments);
    next.keys = keys_of(arguments);
    const std::string uri = arguments.value("connect").value_or("");
    const char* unused = nullptr;  // an option that no image came after
    auto add_domain = [&](const std::vector<DiskSpec>& found) {
        for (DiskSpec disk : found) {
            disk.force_share = next.force_share;
            disk.repair = next.repair;
            disk.keys = next.keys;
            disk.sector_size = next.sector_size;
            if (cache) disk.cache = *cache;
            disks.push_back(std::move(disk));
        }
        unused = nullptr;
    };
    for (const auto& [option, value] : arguments.given()) {
        const std::string_view key = option_key(*option);
        if (key == "format") {
            next.format = value.value_or("");
            unused = "--format";
        } else if (key == "blocksize") {
            next.sector_size = sector_size_of(value);
            unused = "--blocksize";
        } else if (key == "disk-snapshot") {
            next.snapshot = *value;
            unused = "--disk-snapshot";
        } else if (key == "cache") {
            cache = next.cache = parse_cache_mode(*value);
            unused = "--cache";
        } else if (key == "add" || key == kSecondGuest) {
            next.path = *value;
            if (key == added_by) disks.push_back(next);
            unused = nullptr;
        } else if (key == "domain" && first) {
            add_domain(domain_disks(*value, uri));
        } else if (key == "domain-xml" && first) {
            add_domain(domain_xml_disks(*value, uri));
        }
    }
    if ((arguments.command().shared_options & kDiskOperand) && disks.empty() &&
        !arguments.operands().empty()) {
        next.path = arguments.operands()[0];
        disks.push_back(next);
        unused = nullptr;
    }
    // In the wrong order it would be ignored, and an image's format would be guessed after all.
    if (unused != nullptr)
        throw UsageError(std::string(unused) + " acts on the images after it: write it before -a");
    return disks;
}

std::vector<DiskSpec> disk_specs(const Arguments& arguments) { return specs_of(arguments, "add"); }
std::vector<DiskSpec> second_disk_specs(const Arguments& arguments) {
    return specs_of(arguments, kSecondGuest);
}

WriteMode write_mode_of(const Arguments& arguments) {
    const std::string mode = arguments.value("write-mode").value_or("atomic");
    if (mode == "atomic") return WriteMode::kAtomic;
    if (mode == "direct") return WriteMode::kDirect;
    throw UsageError("--write-mode is 'atomic' or 'direct', not '" + mode + "'");
}

SessionOptions session_options(const Arguments& arguments, Access access) {
    SessionOptions options;
    options.disks = disk_specs(arguments);
    options.write_mode = write_mode_of(arguments);
    options.engine = engine_of(arguments);
    options.memory_bytes = memory_of(arguments);
    if (access == Access::kChange && arguments.has("ro"))
        throw UsageError("this command changes the guest: it can't be used with --ro");
    options.writable = access == Access::kChange;
    options.keys = keys_of(arguments);
    options.use_snapshot = !arguments.has("no-snapshot");
    options.verbose = arguments.has("verbose");
    return options;
}

SessionOptions appliance_options(const Arguments& arguments) {
    SessionOptions options;
    options.disks.resize(1);  // as most guests have it
    options.engine = engine_of(arguments);
    options.memory_bytes = memory_of(arguments);
    options.verbose = arguments.has("verbose");
    return options;
}

StatsFormat stats_format(const Arguments& arguments) {
    if (!arguments.has("stats")) return StatsFormat::kNone;
    std::string format = arguments.value("stats").value_or("table");
    if (format == "table") return StatsFormat::kTable;
    if (format == "json") return StatsFormat::kJson;
    throw UsageError("--stats is 'table' or 'json', not '" + format + "'");
}

Guest::Guest(Context& context, Access access) : Guest(context, access, [](SessionOptions&) {}) {}

Guest::Guest(Context& context, Access access, const std::function<void(SessionOptions&)>& adjust)
    : context_(context), stats_(stats_format(context.args)) {
    try {
        SessionOptions options = session_options(context.args, access);
        adjust(options);
        if (context.args.command().shared_options & kMountOptions) {
            for (const std::string& text : context.args.values("mount"))
                mounts_.push_back(MountSpec::parse(text));
            if (!mounts_.empty() && context.args.has("root"))
                throw UsageError(
                    "--root chooses an operating system, -m mounts without one: give one of them");
        }
        for (const DiskSpec& disk : options.disks) context.trace("add", "\"" + disk.path + "\"");
        session_ = std::make_unique<Session>(std::move(options));
    } catch (const Error& error) {
        // Until now it is the command line that is wrong; later, what the guest has to say to it.
        if (error.kind() == ErrorKind::kUsage) throw UsageError(error.message());
        throw;
    }
    signals_.attach(session_.get());
}

Guest::Guest(Context& context, SessionOptions options)
    : context_(context), stats_(StatsFormat::kNone), session_(std::make_unique<Session>(std::move(options))) {
    signals_.attach(session_.get());
}

Guest::~Guest() {
    signals_.attach(nullptr);
    report_warnings();
    if (stats_ == StatsFormat::kNone) return;
    try {
        write_stderr(format_stats(session_->stats(), elapsed_ns(), stats_));
    } catch (const std::exception& error) {
        context_.error(error.what());
    }
}

Session& Guest::call(const char* function, std::initializer_list<std::string_view> arguments) {
    if (context_.args.has("x")) {
        std::string text;
        for (std::string_view argument : arguments) {
            if (!text.empty()) text += ", ";
            text += '"';
            text += argument;
            text += '"';
        }
        context_.trace(function, text);
    }
    return *session_;
}

void Guest::mount() {
    for (const MountSpec& spec : mounts_)
        call("mount", {spec.device, spec.mountpoint, spec.options, spec.fstype}).mount(spec);
    if (mounts_.empty()) {
        std::string root = context_.args.value("root").value_or("");
        call("mount_os", {root}).mount_os(root);
    }
}

std::optional<FileStat> Guest::find(const std::string& path, bool follow_symlink) {
    // A mount that failed may show only now, and must not pass for a path that isn't there.
    if (!found_root_) call("stat", {"/"}).stat("/");
    found_root_ = true;
    try {
        return call("stat", {path}).stat(path, follow_symlink);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNotFound) throw;
        return std::nullopt;
    }
}

bool Guest::is_directory(const std::string& path) {
    std::optional<FileStat> stat = find(path, true);
    return stat && S_ISDIR(stat->mode);
}

void Guest::make_room_for_name(const std::string& path, bool replace) {
    std::optional<FileStat> stat = find(path, false);
    if (!stat) return;
    if (!replace) throw Error(ErrorKind::kDenied, "'" + path + "' exists already");
    if (S_ISDIR(stat->mode))
        throw Error(ErrorKind::kDenied, "'" + path + "' is a directory: it is not replaced");
    if (S_ISLNK(stat->mode) && is_directory(path)) call("remove", {path}).remove(path);
}

bool Guest::commit() {
    report_warnings();
    bool changed = call("commit").commit();
    context_.note(changed ? "the changes are in the images" : "nothing changed in the images");
    return changed;
}

void Guest::report_warnings() noexcept {
    try {
        for (const std::string& warning : session_->take_warnings()) context_.warning(warning);
    } catch (const std::exception& error) {
        context_.error(error.what());
    }
}

}  // namespace inspect::cli
